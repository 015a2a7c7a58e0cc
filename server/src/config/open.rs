//! Opens the storages that the configuration names.

use std::path::PathBuf;
use std::sync::Arc;

use slog::{Logger, error, info, o, warn};
use zeo_storage::file_storage::Options;
use zeo_storage::log::{Level, Log};
use zeo_storage::mapping_storage::MappingStorage;
use zeo_storage::{DemoStorage, FileStorage, Storage, ZlibStorage};

use crate::schema::{StorageConfig, StorageKind};

/// A storage, and the name that clients ask for.
pub type NamedStorage = (String, Arc<dyn Storage>);

/// A storage that can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't open storage '{name}': {source}")]
pub struct OpenError {
    /// Its name.
    pub name: String,
    /// The cause.
    pub source: zeo_storage::Error,
}

/// Opens all of them. If one fails, those opened before are closed again.
pub fn open_all(configs: &[StorageConfig], log: &Logger) -> Result<Vec<NamedStorage>, OpenError> {
    let mut opened: Vec<NamedStorage> = Vec::new();
    for config in configs {
        info!(
            log,
            "opening storage '{}' using {}",
            config.name,
            config.kind.type_name()
        );
        match open(&config.kind, None, &storage_log(log)) {
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

/// Opens a storage, with blobs if it stands in a `<blobstorage>` with this
/// directory.
pub fn open(
    kind: &StorageKind,
    blob_dir: Option<&PathBuf>,
    log: &Log,
) -> zeo_storage::Result<Arc<dyn Storage>> {
    Ok(match kind {
        StorageKind::FileStorage(file) => {
            let options = Options {
                create: file.create,
                read_only: file.read_only,
                quota: file.quota,
                pack_gc: file.pack_gc,
                pack_keep_old: file.pack_keep_old,
                blob_dir: file.blob_dir.as_ref().or(blob_dir).cloned(),
                sync_every: file.sync_every,
                log: log.clone(),
            };
            Arc::new(FileStorage::open(&file.path, options)?)
        }
        StorageKind::MappingStorage { name } => {
            let storage = MappingStorage::with_blobs(name.clone(), blob_dir.cloned());
            Arc::new(storage?)
        }
        StorageKind::DemoStorage {
            name,
            base,
            changes,
        } => {
            let (base, changes) = (base.as_deref(), changes.as_deref());
            demo_storage(name.clone(), base, changes, blob_dir, log)?
        }
        StorageKind::ZlibStorage { transform, base } => {
            Arc::new(ZlibStorage::new(open(base, blob_dir, log)?, *transform))
        }
        StorageKind::BlobStorage { blob_dir, base } => open(base, Some(blob_dir), log)?,
    })
}

/// Opens base and changes. Blobs of a `<blobstorage>` around are those of the
/// changes.
fn demo_storage(
    name: Option<String>,
    base: Option<&StorageKind>,
    changes: Option<&StorageKind>,
    blob_dir: Option<&PathBuf>,
    log: &Log,
) -> zeo_storage::Result<Arc<dyn Storage>> {
    let base: Arc<dyn Storage> = match base {
        Some(base) => open(base, None, log)?,
        None => Arc::new(MappingStorage::new("MappingStorage")?),
    };
    let over = Arc::clone(&base);
    let demo = match changes {
        Some(changes) => {
            open(changes, blob_dir, log).map(|changes| DemoStorage::new(name, over, changes))
        }
        None => DemoStorage::in_memory(name, over),
    };
    match demo {
        Ok(demo) => Ok(Arc::new(demo)),
        Err(error) => {
            // The failure to open is what is reported.
            let _ = base.close();
            Err(error)
        }
    }
}

/// The messages of a storage, as Python's logger of FileStorage has them.
fn storage_log(log: &Logger) -> Log {
    let log = log.new(o!("logger" => "ZODB.FileStorage"));
    Arc::new(move |level, message| match level {
        Level::Info => info!(log, "{message}"),
        Level::Warning => warn!(log, "{message}"),
        Level::Error => error!(log, "{message}"),
    })
}
