//! Opens the storages that the configuration names.

use std::sync::Arc;

use slog::{Logger, info};
use zeo_storage::Storage;

use crate::schema::{StorageConfig, StorageKind};

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
pub fn open_all(
    configs: &[StorageConfig],
    log: &Logger,
) -> Result<Vec<(String, Arc<dyn Storage>)>, OpenError> {
    let mut opened: Vec<(String, Arc<dyn Storage>)> = Vec::new();
    for config in configs {
        info!(
            log,
            "opening storage '{}' using {}",
            config.name,
            config.kind.type_name()
        );
        match open(config, log) {
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

fn open(_config: &StorageConfig, _log: &Logger) -> zeo_storage::Result<Arc<dyn Storage>> {
    Err(zeo_storage::Error::Unsupported("".into()))
}
