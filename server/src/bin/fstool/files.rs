//! Small things about files and what is in them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::outcome::{Failure, Result};

/// Turns an error into one that names the file; `doing` is as "reading".
pub fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Failure + use<> {
    let file = path.to_owned();
    move |source| {
        Failure::Storage(zeo_storage::Error::Io {
            doing,
            file: file.clone(),
            source,
        })
    }
}

/// The path with something added to its end.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The directory that a file stands in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Makes creations and renamings in a directory durable.
pub fn sync_directory(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(failed("syncing the directory", directory))
}

/// Gives a file that was synced its name, and makes that durable.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(failed("renaming to", to))?;
    sync_directory(directory_of(to))
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed("removing", path)(why)),
        _ => Ok(()),
    }
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
