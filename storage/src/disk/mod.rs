//! The file system as the switch of a pack, and blobs, use it: one operation at
//! a time, so that tests can stop or fail it at each, or cut the power.

pub mod backend;
pub(crate) mod file_id;
pub(crate) mod lock_file;
pub mod paths;
#[cfg(test)]
pub(crate) mod power;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::backend::{Backend, FileBackend};

/// What changes which files there are, and makes that durable.
pub(crate) trait FileSystem: Send + Sync {
    /// Creates a file that must not exist, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Removes a file; that it is not there is no failure.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file a second name, which must not exist.
    fn link(&self, path: &Path, name: &Path) -> io::Result<()>;
    /// Renames a file over another one, in one step.
    fn rename(&self, path: &Path, over: &Path) -> io::Result<()>;
    /// Makes all that was done beside `path` durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Makes the content of a file durable.
    fn sync_file(&self, file: &File) -> io::Result<()>;
    /// Makes all that was done on the file system of `path` durable.
    fn sync_all(&self, path: &Path) -> io::Result<()>;
    /// An open file as a backend; the path is for messages.
    fn backend(&self, file: File, path: PathBuf) -> Arc<dyn Backend> {
        Arc::new(FileBackend::new(file, path))
    }
}

/// The real one.
pub(crate) struct Disk;

impl FileSystem for Disk {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).open(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn link(&self, path: &Path, name: &Path) -> io::Result<()> {
        fs::hard_link(path, name)
    }

    fn rename(&self, path: &Path, over: &Path) -> io::Result<()> {
        fs::rename(path, over)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        sync_directory(path)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }
}

/// Whether a link was refused because there can be none: not on this file
/// system, or not for this user or file.
pub(crate) fn refuses_links(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), PermissionDenied | TooManyLinks | Unsupported)
}

/// Makes creations and renamings in the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
