//! The blobs of a database that lie in a directory of this server: what clients ask for, and uploads.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use zeo_proto::{Oid, Tid};

use crate::Result;
use crate::blob::{BlobDirectory, BlobFile, FoundFile, Staging};
use crate::disk::lock_file::LockFile;
use crate::disk::paths::failed;

/// Where in `blob-dir` they are. RelStorage, which may use the same one before or after us, has
/// numbers there.
const OURS: &str = "rzeo";
/// A file that was asked for so lately is not removed to make room.
const IN_USE: Duration = Duration::from_secs(60);

/// How many files are asked for at a time.
const ASKED_MAX: usize = 1000;

/// How much room a temporary one may take, in bytes, if nothing is said.
const TEMPORARY_SIZE: u64 = 1 << 30;

/// Blobs on disk, up to a size; the database has them all.
pub(super) struct BlobCache {
    directory: Arc<BlobDirectory>,
    limit: Option<u64>,
    /// Bytes that have come since the size was looked at.
    added: AtomicU64,
    /// Held by whoever makes room.
    sweeping: Mutex<()>,
    /// Those that are being fetched.
    fetched: Mutex<HashSet<(Oid, Tid)>>,
    arrival: Condvar,
    _lock: LockFile,
    /// Removed with this value.
    temporary: Option<TempDir>,
}

impl BlobCache {
    /// Opens what is in `blob_dir`, which is made if need be.
    ///
    /// # Errors
    /// `Io` that names the directory, or the process that uses it.
    pub fn open(blob_dir: &Path, limit: Option<u64>) -> Result<Self> {
        let path = blob_dir.join(OURS);
        fs::create_dir_all(&path).map_err(failed("making the blob directory", &path))?;
        let lock = LockFile::acquire(&path.join(".lock"), "this blob-dir open")?;
        let cache = Self {
            directory: Arc::new(BlobDirectory::open(&path)?.private()),
            limit,
            added: AtomicU64::new(0),
            sweeping: Mutex::default(),
            fetched: Mutex::default(),
            arrival: Condvar::new(),
            _lock: lock,
            temporary: None,
        };
        cache.sweep();
        Ok(cache)
    }

    /// One beside that of a server, which goes with this value.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn temporary(blob_dir: &Path, limit: Option<u64>) -> Result<Self> {
        fs::create_dir_all(blob_dir).map_err(failed("making the blob directory", blob_dir))?;
        let making = failed("making a directory in", blob_dir);
        let named = tempfile::Builder::new()
            .prefix("copy-")
            .tempdir_in(blob_dir);
        let directory = named.map_err(making)?;
        let mut cache = Self::open(directory.path(), limit.or(Some(TEMPORARY_SIZE)))?;
        cache.temporary = Some(directory);
        Ok(cache)
    }

    pub fn directory(&self) -> &BlobDirectory {
        &self.directory
    }

    /// The file of a blob, which `fetch` writes if it is not there. Several that ask for one at the
    /// same time get that of the first.
    ///
    /// # Errors
    /// Those of `fetch`, and `Io` that names the file.
    pub fn file(
        &self,
        (oid, serial): (Oid, Tid),
        fetch: impl FnOnce(&mut fs::File) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.directory.path_of(oid, serial);
        let mut fetched = self.fetched();
        loop {
            if is_there(&path) {
                return Ok(path);
            }
            if fetched.insert((oid, serial)) {
                break;
            }
            let waited = self.arrival.wait(fetched);
            fetched = waited.unwrap_or_else(PoisonError::into_inner);
        }
        drop(fetched);
        let done = self.fetch(oid, serial, fetch);
        self.fetched().remove(&(oid, serial));
        self.arrival.notify_all();
        done.map(|()| path)
    }

    fn fetch(
        &self,
        oid: Oid,
        serial: Tid,
        fetch: impl FnOnce(&mut fs::File) -> Result<()>,
    ) -> Result<()> {
        let (mut file, blob) = self.directory.new_file()?;
        fetch(&mut file)?;
        drop(file);
        self.add((oid, serial), Arc::new(blob))
    }

    /// Adds a file of a revision that is committed.
    ///
    /// # Errors
    /// `Io` that names the file.
    pub fn add(&self, (oid, serial): (Oid, Tid), file: Arc<BlobFile>) -> Result<()> {
        let length = fs::metadata(file.path()).map_or(0, |found| found.len());
        let staged = self.directory.stage(oid, Staging::Restored(serial), file)?;
        staged.place(serial, false)?;
        // Nothing remains to be done: a power cut may take it away again.
        staged.committed(serial);
        let added = self.added.fetch_add(length, Ordering::Relaxed) + length;
        if self.limit.is_some_and(|limit| added > limit / 10) {
            self.sweep();
        }
        Ok(())
    }

    /// Removes those that were not asked for the longest, if all take more than the limit.
    fn sweep(&self) {
        let Some(limit) = self.limit else { return };
        let Ok(_alone) = self.sweeping.try_lock() else {
            return;
        };
        self.added.store(0, Ordering::Relaxed);
        let (mut files, mut size) = (Vec::new(), 0);
        let _ = self.directory.walk(&mut |found| {
            if let FoundFile::Blob(path, ..) = found
                && let Ok(about) = fs::metadata(&path)
            {
                size += about.len();
                let asked = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push((asked, about.len(), path));
            }
            Ok::<_, std::convert::Infallible>(())
        });
        if size <= limit {
            return;
        }
        files.sort();
        for (asked, length, path) in files {
            let is_used = asked.elapsed().is_ok_and(|ago| ago < IN_USE);
            if size <= limit / 10 * 9 || is_used {
                break;
            }
            // Who has it open reads on.
            if self.remove_file(&path) {
                size -= length;
            }
        }
    }

    /// Removes the files of which `gone` says so; it is asked for many at a time.
    ///
    /// # Errors
    /// Those of `gone`.
    pub fn remove(&self, gone: impl Fn(&[(Oid, Tid)]) -> Result<Vec<(Oid, Tid)>>) -> Result<()> {
        let remove = |revisions: &mut Vec<(Oid, Tid)>| -> Result<()> {
            for (oid, serial) in gone(revisions)? {
                // What can't be removed is of no harm.
                self.remove_file(&self.directory.path_of(oid, serial));
            }
            revisions.clear();
            Ok(())
        };
        let mut revisions = Vec::new();
        self.directory.walk(&mut |found| {
            if let FoundFile::Blob(_, oid, serial) = found {
                revisions.push((oid, serial));
            }
            if revisions.len() < ASKED_MAX {
                return Ok(());
            }
            remove(&mut revisions)
        })?;
        remove(&mut revisions)
    }

    /// Removes a file, and directories that are empty then; false if that fails.
    fn remove_file(&self, path: &Path) -> bool {
        let is_removed = fs::remove_file(path).is_ok();
        if let Some(parent) = path.parent().filter(|_| is_removed) {
            self.directory.remove_empty(parent);
        }
        is_removed
    }

    fn fetched(&self) -> MutexGuard<'_, HashSet<(Oid, Tid)>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is such a file; it is marked as one that was asked for.
fn is_there(path: &Path) -> bool {
    let Ok(about) = fs::metadata(path) else {
        return false;
    };
    let is_marked = about
        .modified()
        .is_ok_and(|asked| asked.elapsed().is_ok_and(|ago| ago < IN_USE / 2));
    if !is_marked {
        // If that fails, it may go earlier than it should.
        let _ = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn bytes(length: usize) -> impl FnOnce(&mut fs::File) -> Result<()> {
        move |file| {
            file.write_all(&vec![b'x'; length])
                .map_err(failed("writing", Path::new("blob")))
        }
    }

    /// The oids of the files that are there.
    fn there(cache: &BlobCache) -> Vec<u64> {
        let mut oids = Vec::new();
        let _ = cache.directory.walk(&mut |found| {
            if let FoundFile::Blob(_, oid, _) = found {
                oids.push(oid.as_u64());
            }
            Ok::<_, std::convert::Infallible>(())
        });
        oids.sort_unstable();
        oids
    }

    #[test]
    fn a_file_is_fetched_once_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), Some(1000)).unwrap();
        for number in 1..=5 {
            let id = (Oid::new(number), Tid::new(7));
            let path = cache.file(id, bytes(180)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), 180);
            let again = cache.file(id, |_| panic!("it is there")).unwrap();
            assert_eq!(again, path);
            let old = SystemTime::now() - IN_USE * 10 + Duration::from_secs(number);
            fs::File::open(&path).unwrap().set_modified(old).unwrap();
        }
        // Asked for: it is the newest now.
        cache
            .file((Oid::new(1), Tid::new(7)), |_| panic!("it is there"))
            .unwrap();
        cache.file((Oid::new(6), Tid::new(7)), bytes(180)).unwrap();
        assert_eq!(there(&cache), [1, 3, 4, 5, 6]);

        let why = BlobCache::open(dir.path(), None).err().unwrap().to_string();
        assert!(why.contains("has this blob-dir open"), "{why}");
    }

    #[test]
    fn files_that_are_gone_elsewhere_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), None).unwrap();
        let count = u64::try_from(ASKED_MAX).unwrap() + 2;
        for number in 1..=count {
            cache
                .file((Oid::new(number), Tid::new(7)), bytes(1))
                .unwrap();
        }
        let odd = |asked: &[(Oid, Tid)]| {
            assert!(asked.len() <= ASKED_MAX);
            let ids = asked.iter().copied();
            Ok(ids.filter(|(oid, _)| oid.as_u64() % 2 == 1).collect())
        };
        cache.remove(odd).unwrap();
        assert_eq!(
            there(&cache),
            (1..=count / 2).map(|half| half * 2).collect::<Vec<_>>()
        );
        let parent = |number| {
            cache
                .directory
                .path_of(Oid::new(number), Tid::new(7))
                .parent()
                .unwrap()
                .exists()
        };
        assert!(!parent(1) && parent(2));
        assert!(cache.remove(|_| Err(crate::Error::Cancelled)).is_err());
    }

    #[test]
    fn what_could_not_be_fetched_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), None).unwrap();
        let id = (Oid::new(1), Tid::new(7));
        let failing = |_: &mut fs::File| Err(crate::Error::Database("gone".to_owned()));
        assert!(cache.file(id, failing).is_err());
        assert!(there(&cache).is_empty());
        let temporary = cache.directory.path().join("tmp");
        assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
        cache.file(id, bytes(1)).unwrap();
    }
}
