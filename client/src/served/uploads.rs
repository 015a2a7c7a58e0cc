//! Where the blobs of clients are kept until they are sent up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use zeo_storage::blob::BlobDirectory;
use zeo_storage::{LockFile, Result};

use super::errors::broken;
use crate::blob_cache::BlobCache;
use crate::client_storage::ClientStorage;
use crate::lock::locked;

/// What the names of directories for uploads begin with.
const PREFIX: &str = "rzeo-uploads-";
/// What is behind the name of such a directory in that of its lock file.
const LOCK: &str = ".lock";

pub(super) struct Uploads {
    directory: BlobDirectory,
    own: Mutex<Option<Own>>,
}

/// A directory of this process, and its lock file: the directory is only there while somebody has the
/// lock, or was killed with it. Dropping this removes both.
struct Own {
    path: PathBuf,
    _lock: LockFile,
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
            let own = Mutex::default();
            return Ok(Some(Self { directory, own }));
        }
        remove_left(cache);
        let own = Own::make_in(cache)?;
        Ok(Some(Self {
            directory: BlobDirectory::open(&own.path)?.private(),
            own: Mutex::new(Some(own)),
        }))
    }

    pub fn directory(&self) -> &BlobDirectory {
        &self.directory
    }

    /// Removes what is there.
    pub fn close(&self) {
        drop(locked(&self.own).take());
    }
}

impl Own {
    fn make_in(cache: &BlobCache) -> Result<Self> {
        let name = format!("{PREFIX}{:016x}", fastrand::u64(..));
        let path = cache.temporary_directory().join(name);
        let lock = LockFile::acquire(&lock_of(&path), "uploads")?;
        fs::create_dir(&path).map_err(|why| broken(format!("making {}: {why}", path.display())))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn lock_of(directory: &Path) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(LOCK);
    name.into()
}

fn remove(directory: &Path) {
    // What can't be removed is tried again at the next start.
    if fs::remove_dir_all(directory).is_ok() {
        let _ = fs::remove_file(lock_of(directory));
    }
}

/// Removes what processes have left that were killed.
fn remove_left(cache: &BlobCache) {
    let Ok(found) = fs::read_dir(cache.temporary_directory()) else {
        return;
    };
    for entry in found.flatten() {
        let name = entry.file_name();
        let is_one = name.to_string_lossy().starts_with(PREFIX) && entry.path().is_dir();
        if is_one && let Ok(Some(_lock)) = LockFile::try_acquire(&lock_of(&entry.path())) {
            remove(&entry.path());
        }
    }
}
