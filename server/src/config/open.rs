//! Opens the storages that the configuration names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use slog::{Logger, error, info, o, warn};
use zeo_storage::Storage;
use zeo_storage::config::{StorageConfig, StorageKind, open};
use zeo_storage::log::{Level, Log};
use zeo_storage::paths::resolve;

/// A storage, and the name that clients ask for.
pub type NamedStorage = (String, Arc<dyn Storage>);

/// A storage that can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't open storage '{name}': {source}")]
#[non_exhaustive]
pub struct OpenError {
    /// Its name.
    pub name: String,
    /// The cause.
    pub source: zeo_storage::Error,
}

/// A file or a blob directory that two storages would write to.
#[derive(Debug, thiserror::Error)]
#[error("the storages {} use the same {what}, {}: give each a {what} of its own",
    .names.join(" and "), .path.display())]
pub struct SharedFile {
    /// The storages' names, in quotes.
    names: Vec<String>,
    /// What it is.
    what: &'static str,
    /// The file.
    path: PathBuf,
}

/// A file that the server writes, and that has the name of a storage's data.
#[derive(Debug, thiserror::Error)]
#[error("the {what} {} is the data file of storage '{storage}': give it another name", .path.display())]
pub struct DataInTheWay {
    /// What it is, as "pid file".
    what: &'static str,
    /// The file.
    path: PathBuf,
    /// The storage's name.
    storage: String,
}

/// Checks that what else the server writes leaves the data alone: `written` are such files, each with
/// what it is. (Python's server removes the data for a pid file of that name.)
///
/// # Errors
/// The first file that is one of a storage's.
pub fn check_written<'a>(
    configs: &[StorageConfig],
    written: impl IntoIterator<Item = (&'static str, &'a Path)>,
) -> Result<(), DataInTheWay> {
    let mut owners = HashMap::new();
    for config in configs {
        for file in config.kind.files() {
            owners.insert(identity(&file.path), &config.name);
        }
    }
    for (what, path) in written {
        if let Some(&storage) = owners.get(&identity(path)) {
            let (path, storage) = (path.to_owned(), storage.clone());
            return Err(DataInTheWay {
                what,
                path,
                storage,
            });
        }
    }
    Ok(())
}

/// Checks that no file or blob directory is written to by two storages. The locks of files would
/// say so, too, but as if another process were at fault. Blob directories have no lock: both
/// storages number their objects from 1, so that a pack of one removes blobs of the other.
///
/// # Errors
/// The first such file or directory.
pub fn check_files(configs: &[StorageConfig]) -> Result<(), SharedFile> {
    let mut owners = HashMap::new();
    for config in configs {
        let files = config.kind.files();
        let files = files.iter().filter(|file| !file.read_only);
        let files = files.map(|file| ("file", file.path.as_path()));
        let blobs = config.kind.blob_dirs().into_iter();
        for (what, path) in files.chain(blobs.map(|path| ("blob directory", path))) {
            let name = format!("'{}'", config.name);
            if let Some(first) = owners.insert(identity(path), name.clone()) {
                let mut names = vec![first, name];
                names.dedup();
                let path = path.to_owned();
                return Err(SharedFile { names, what, path });
            }
        }
    }
    Ok(())
}

/// The file that a path leads to, which need not be there.
fn identity(path: &Path) -> PathBuf {
    let target = std::path::absolute(path).and_then(|path| resolve(&path));
    let target = target.unwrap_or_else(|_| path.to_owned());
    let directory = target
        .parent()
        .and_then(|parent| parent.canonicalize().ok());
    match (directory, target.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => target,
    }
}

/// Opens all of them. If one fails, those opened before are closed again.
///
/// # Errors
/// The first storage that can't be opened.
pub fn open_all(configs: &[StorageConfig], log: &Logger) -> Result<Vec<NamedStorage>, OpenError> {
    let mut opened: Vec<NamedStorage> = Vec::new();
    for config in configs {
        info!(
            log,
            "opening storage '{}' using {}",
            config.name,
            config.kind.type_name()
        );
        match open(&config.kind, None, &storage_log(&config.kind, log)) {
            Ok(storage) => opened.push((config.name.clone(), storage)),
            Err(source) => {
                for (_, storage) in opened {
                    // The failure to open is what is reported.
                    let _ = storage.close();
                }
                return Err(OpenError {
                    name: config.name.clone(),
                    source,
                });
            }
        }
    }
    Ok(opened)
}

/// The messages of a storage, as Python's loggers have them.
fn storage_log(kind: &StorageKind, log: &Logger) -> Log {
    let logger = match kind {
        StorageKind::Other(_) => "ZEO.ClientStorage",
        _ => "ZODB.FileStorage",
    };
    let log = log.new(o!("logger" => logger));
    Arc::new(move |level, message| match level {
        Level::Info => info!(log, "{message}"),
        Level::Warning => warn!(log, "{message}"),
        Level::Error => error!(log, "{message}"),
    })
}
