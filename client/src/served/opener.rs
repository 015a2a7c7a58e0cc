//! `<clientstorage>` and `<zeoclient>` as storages that a server serves.

use std::path::Path;
use std::sync::Arc;

use zeo_storage::config::{Opener, Openers, Other, StorageKind};
use zeo_storage::log::Log;
use zeo_storage::zconfig::{ConfigError, Section};
use zeo_storage::{Error, Result, Storage};

use super::Served;
use crate::client_storage::Settings;
use crate::config;

/// A section, as it was read.
#[derive(Debug)]
struct Client {
    /// As Python calls what opens it.
    type_name: &'static str,
    settings: Settings,
}

/// Reads the section; to be given to [`Openers::with`].
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong with it.
pub fn read_section(
    section: &Section,
    _: &Openers,
) -> std::result::Result<StorageKind, ConfigError> {
    let type_name = match section.kind.as_str() {
        "zeoclient" => "ZEOClient",
        _ => "ClientStorageConfig",
    };
    let settings = config::storage_section(section, None)?;
    let client = Client {
        type_name,
        settings,
    };
    Ok(StorageKind::Other(Other(Arc::new(client))))
}

impl Opener for Client {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn has_blobs(&self) -> bool {
        self.settings.blob_dir.is_some()
    }

    fn open(&self, blob_dir: Option<&Path>, log: &Log) -> Result<Arc<dyn Storage>> {
        if blob_dir.is_some() {
            return Err(Error::Unsupported(
                "a storage of another server can't stand in a <blobstorage>: give it a blob-dir"
                    .to_owned(),
            ));
        }
        let mut settings = self.settings.clone();
        settings.log = Arc::clone(log);
        Ok(Arc::new(Served::open(settings)?))
    }
}
