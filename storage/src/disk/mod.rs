//! The file system as the switch of a pack, and blobs, use it: one operation at
//! a time, so that tests can stop or fail it at each, or cut the power.

pub mod backend;
pub(crate) mod file_id;
pub(crate) mod lock_file;
pub mod paths;
#[cfg(test)]
pub(crate) mod power;
mod together;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::backend::{Backend, FileBackend};

/// What no commit waits for waits so long for others, to be synced with them.
const SETTLES_AFTER: Duration = Duration::from_secs(1);

/// A failure, with the path of what could not be synced.
pub(crate) type Failure = (PathBuf, io::Error);

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
    /// Makes the contents of these files durable, and the names in `directory`,
    /// if there is one. Tells of which file that failed.
    fn sync_files(&self, files: &[PathBuf], directory: Option<&Path>) -> Result<(), Failure> {
        self.sync_names(directory)?;
        files.iter().try_for_each(|path| self.sync_path(path))
    }
    /// One of these files.
    fn sync_path(&self, path: &Path) -> Result<(), Failure> {
        let synced = File::open(path).and_then(|file| self.sync_file(&file));
        synced.map_err(|error| (path.to_owned(), error))
    }
    /// The names in this directory.
    fn sync_names(&self, directory: Option<&Path>) -> Result<(), Failure> {
        let Some(directory) = directory else {
            return Ok(());
        };
        let synced = self.sync(&directory.join("any"));
        synced.map_err(|error| (directory.to_owned(), error))
    }
    /// How long names wait that are to become durable some time; `None`: until
    /// somebody asks for it.
    fn settles_after(&self) -> Option<Duration> {
        Some(SETTLES_AFTER)
    }
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

    fn sync_files(&self, files: &[PathBuf], directory: Option<&Path>) -> Result<(), Failure> {
        together::sync_files(self, files, directory)
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
