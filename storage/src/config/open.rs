//! Opens the storages that a configuration names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kind::StorageKind;
use crate::file_storage::Options;
use crate::log::Log;
use crate::mapping_storage::MappingStorage;
use crate::{DemoStorage, FileStorage, Result, Storage, ZlibStorage};

/// Opens a storage, with blobs if it stands in a `<blobstorage>` with this
/// directory.
///
/// # Errors
/// What the storage can't be opened for; those in it that were opened before are closed again.
pub fn open(kind: &StorageKind, blob_dir: Option<&Path>, log: &Log) -> Result<Arc<dyn Storage>> {
    Ok(match kind {
        StorageKind::FileStorage(file) => {
            let options = Options {
                create: file.create,
                read_only: file.read_only,
                quota: file.quota,
                pack_gc: file.pack_gc,
                pack_keep_old: file.pack_keep_old,
                blob_dir: file.blob_dir.as_deref().or(blob_dir).map(PathBuf::from),
                sync_every: file.sync_every,
                prepare_room: file.prepare_room,
                log: log.clone(),
            };
            Arc::new(FileStorage::open(&file.path, options)?)
        }
        StorageKind::MappingStorage { name } => {
            let storage = MappingStorage::with_blobs(name.clone(), blob_dir.map(PathBuf::from));
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
        StorageKind::Other(other) => other.0.open(blob_dir, log)?,
    })
}

/// Opens base and changes. Blobs of a `<blobstorage>` around are those of the
/// changes.
fn demo_storage(
    name: Option<String>,
    base: Option<&StorageKind>,
    changes: Option<&StorageKind>,
    blob_dir: Option<&Path>,
    log: &Log,
) -> Result<Arc<dyn Storage>> {
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
