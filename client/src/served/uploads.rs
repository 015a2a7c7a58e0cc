//! Where the blobs of clients are kept until they are sent up.

use tempfile::TempDir;
use zeo_storage::Result;
use zeo_storage::blob::BlobDirectory;

use super::errors::broken;
use crate::blob_cache::BlobCache;
use crate::client_storage::ClientStorage;

/// What the names of directories for uploads begin with.
const PREFIX: &str = "rzeo-uploads-";

pub(super) struct Uploads {
    directory: BlobDirectory,
    /// It goes with this.
    _temporary: Option<TempDir>,
}

impl Uploads {
    /// For a storage that has blobs. They are received in a directory of this process's own, in the
    /// temporary directory of its cache, from where they need only be renamed. If the blob directory
    /// is the upstream server's, clients may share it, too: then theirs are taken from there.
    pub fn of(main: &ClientStorage) -> Result<Option<Self>> {
        let Ok(cache) = main.blob_cache() else {
            return Ok(None);
        };
        if cache.is_shared() {
            let directory = BlobDirectory::open_read_only(cache.directory())?;
            return Ok(Some(Self {
                directory,
                _temporary: None,
            }));
        }
        let temporary = make_in(cache)?;
        Ok(Some(Self {
            directory: BlobDirectory::open(temporary.path())?,
            _temporary: Some(temporary),
        }))
    }

    pub fn directory(&self) -> &BlobDirectory {
        &self.directory
    }
}

fn make_in(cache: &BlobCache) -> Result<TempDir> {
    let place = cache.temporary_directory();
    let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&place);
    made.map_err(|why| broken(format!("making a directory in {}: {why}", place.display())))
}
