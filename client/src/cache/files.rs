//! Opening a cache by its path: the lock, and what is done with a damaged file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeo_proto::Tid;
use zeo_storage::backend::{Backend, FileBackend};
use zeo_storage::log::{Level, Log};
use zeo_storage::{Error, LockFile};

use super::client_cache::Cache;
use super::error::{CacheError, failed};
use super::format::HEADER;
use super::open::{self, Failure, Opened};
use super::place;

impl Cache {
    /// Opens the cache file at `path`, or makes one; without a path, one that has no name and is
    /// gone with the process. It has `size` bytes (at least 12, at most 1 TiB), also if it had more
    /// or less before. A damaged file is set aside, as `PATH.bad`, and a new one is begun.
    ///
    /// `PATH.lock` is locked as long as the cache is open. If the environment variable
    /// `ZEO_CACHE_TRACE` is not empty, what happens is added to `PATH.trace`.
    ///
    /// # Errors
    /// [`CacheError::Locked`], or `Io`: the directory does not exist, the disk is full...
    pub fn open(path: Option<&Path>, size: u64, log: Log) -> Result<Self, CacheError> {
        let size = size.clamp(HEADER, place::MAX_FILE);
        let Some(path) = path else {
            return Self::temporary(size, log);
        };
        let lock = lock(path)?;
        let (file, is_new) = open_file(path).map_err(failed("opening", path))?;
        let backend: Arc<dyn Backend> = Arc::new(FileBackend::new(file, path.to_owned()));
        let opened = if is_new {
            open::create(&*backend, size, Tid::ZERO)
        } else {
            open::open(&*backend, size)
        };
        let (backend, opened) = match opened {
            Ok(opened) => (backend, opened),
            Err(Failure::Write(why)) => return Err(failed("writing", path)(why)),
            Err(why) => begin_anew(path, size, &why, &log)?,
        };
        let mut cache = Self::new(backend, size, opened, log);
        cache.lock = Some(lock);
        if std::env::var_os("ZEO_CACHE_TRACE").is_some_and(|value| !value.is_empty()) {
            cache.start_trace(&beside(path, ".trace"));
        }
        Ok(cache)
    }

    fn temporary(size: u64, log: Log) -> Result<Self, CacheError> {
        let path = Path::new("(a temporary file)");
        let file = tempfile::tempfile().map_err(failed("making", path))?;
        let file = FileBackend::new(file, path.to_owned());
        let mut cache = Self::over(Arc::new(file), size, log)?;
        cache.temporary = true;
        Ok(cache)
    }

    /// Opens the cache in a file that has no name, or makes one of an empty file. It is nobody
    /// else's. If it is damaged, it is begun anew, which the log is told as an error.
    ///
    /// # Errors
    /// `Io`.
    pub fn over(file: Arc<dyn Backend>, size: u64, log: Log) -> Result<Self, CacheError> {
        let size = size.clamp(HEADER, place::MAX_FILE);
        let path = file.path().to_owned();
        let is_empty = file.is_empty().map_err(failed("reading", &path))?;
        let opened = if is_empty {
            open::create(&*file, size, Tid::ZERO)
        } else {
            open::open(&*file, size).or_else(|why| {
                let text = format!(
                    "the cache {} is damaged ({why}): begun anew",
                    path.display()
                );
                log(Level::Error, &text);
                open::create(&*file, size, Tid::ZERO)
            })
        };
        let opened = opened.map_err(|why| failed("writing", &path)(io::Error::other(why)))?;
        Ok(Self::new(file, size, opened, log))
    }
}

fn lock(path: &Path) -> Result<LockFile, CacheError> {
    let lock_path = beside(path, ".lock");
    let lock = LockFile::acquire(&lock_path, "it open");
    lock.map_err(|why| match why {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
            let (path, holder) = (path.to_owned(), source.to_string());
            CacheError::Locked { path, holder }
        }
        Error::Io { doing, source, .. } => failed(doing, &lock_path)(source),
        other => failed("locking", &lock_path)(io::Error::other(other)),
    })
}

/// The file, and whether it was made.
fn open_file(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true);
    match options.clone().create_new(true).open(path) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result.map(|file| (file, true)),
    }
    let metadata = fs::metadata(path);
    if metadata.is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok((options.open(path)?, false))
}

/// Sets a damaged file aside.
fn begin_anew(
    path: &Path,
    size: u64,
    why: &Failure,
    log: &Log,
) -> Result<(Arc<dyn Backend>, Opened), CacheError> {
    let bad = beside(path, ".bad");
    let (shown, shown_bad) = (path.display(), bad.display());
    if fs::symlink_metadata(&bad).is_ok() {
        let text = format!(
            "the cache {shown} is damaged ({why}): it is removed, as {shown_bad} is there already"
        );
        log(Level::Error, &text);
        fs::remove_file(path).map_err(failed("removing", path))?;
    } else {
        let text = format!("the cache {shown} is damaged ({why}): it is kept as {shown_bad}");
        log(Level::Error, &text);
        fs::rename(path, &bad).map_err(failed("renaming", path))?;
    }
    let (file, _) = open_file(path).map_err(failed("making", path))?;
    let file: Arc<dyn Backend> = Arc::new(FileBackend::new(file, path.to_owned()));
    let opened = open::create(&*file, size, Tid::ZERO);
    let opened = opened.map_err(|why| failed("writing", path)(io::Error::other(why)))?;
    Ok((file, opened))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
