//! Opens the storages that the configuration names.

use std::sync::Arc;

use slog::{Logger, error, info, o, warn};
use zeo_storage::Storage;
use zeo_storage::config::{StorageConfig, open};
use zeo_storage::log::{Level, Log};

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

/// The messages of a storage, as Python's logger of FileStorage has them.
fn storage_log(log: &Logger) -> Log {
    let log = log.new(o!("logger" => "ZODB.FileStorage"));
    Arc::new(move |level, message| match level {
        Level::Info => info!(log, "{message}"),
        Level::Warning => warn!(log, "{message}"),
        Level::Error => error!(log, "{message}"),
    })
}
