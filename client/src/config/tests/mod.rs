//! What is accepted and refused here was compared with ZODB's and Zope's schemas, and with zodburi.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;

mod files;
mod uris;

/// Reads a text as a file; an error with the file's name shortened.
fn read(text: &str, wanted: Option<&str>) -> Result<DatabaseConfig, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zodb.conf");
    fs::write(&path, text).unwrap();
    let mut config = Config::file(&path);
    config.database = wanted.map(str::to_owned);
    let read = config.read();
    read.map_err(|why| why.to_string().replace(path.to_str().unwrap(), "zodb.conf"))
}

fn storage(kind: &str, lines: &str) -> Result<crate::client_storage::Settings, String> {
    let text = format!("%import ZEO\n<{kind}>\n{lines}\n</{kind}>\n");
    read(&text, None).map(|config| config.storage)
}

fn addresses(settings: &crate::client_storage::Settings) -> Vec<String> {
    settings.addresses.iter().map(ToString::to_string).collect()
}
