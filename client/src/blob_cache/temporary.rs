//! Files that are not in the cache yet.
//!
//! A file that is to come into a cache stands in `tmp` under a name of ours. Its process holds a
//! lock on it; so the next one that opens the cache can remove what a killed process has left.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeo_storage::Result;
use zeo_storage::paths::failed;

/// What the names of ours begin with; Python keeps others there.
const OURS: &str = "rzeo-";
/// How often a new file may be taken for a left one: each time by another process that opens the cache
/// just then, as many do when a site is started.
const TRIES: u32 = 1000;
const READ: u32 = 0o444;
const WRITE: u32 = 0o222;
/// The bits of a file's mode that are about permissions.
const MODE: u32 = 0o7777;

/// A file that is removed when this is dropped, unless it was placed.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    /// Holds the lock.
    pub file: File,
    placed: bool,
}

impl Temporary {
    /// A new, empty file in the directory.
    ///
    /// # Errors
    /// `Io` that names the directory.
    pub fn create(directory: &Path) -> Result<Self> {
        let made = Self::create_named(directory, OURS, ".tmp");
        made.map_err(failed("keeping a blob in", directory))
    }

    fn create_named(directory: &Path, prefix: &str, suffix: &str) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            let mut name = tempfile::Builder::new();
            let made = name.prefix(prefix).suffix(suffix).tempfile_in(directory)?;
            let (file, path) = made.keep()?;
            let made = Self {
                path,
                file,
                placed: false,
            };
            let is_locked = made.file.try_lock().is_ok();
            // Who removes what was left may have been here in between.
            if is_locked && made.file.metadata()?.nlink() > 0 {
                return Ok(made);
            }
            tries += 1;
            if tries == TRIES {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
        }
    }

    /// Moves a file into the directory; copies it, where it can't be renamed.
    ///
    /// # Errors
    /// `Io` that names the file.
    pub fn take(source: &Path, directory: &Path) -> Result<Self> {
        Self::take_named(source, directory, OURS, ".tmp")
    }

    /// As [`Self::take`], under a name that begins and ends like this.
    pub fn take_named(source: &Path, directory: &Path, prefix: &str, suffix: &str) -> Result<Self> {
        let taken = Self::create_named(directory, prefix, suffix);
        let taken = taken.and_then(|made| made.taking(source));
        taken.map_err(failed("taking the blob", source))
    }

    fn taking(mut self, source: &Path) -> io::Result<Self> {
        let is_plain = fs::symlink_metadata(source)?.is_file();
        let mut original = File::open(source)?;
        // Not if the program has locked it: then the lock is theirs.
        let _ = original.try_lock();
        if is_plain && fs::rename(source, &self.path).is_ok() {
            self.file = original;
            return Ok(self);
        }
        io::copy(&mut original, &mut self.file)?;
        fs::remove_file(source)?;
        Ok(self)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes away the permission to write; who may read the directory may read the file.
    /// (`ZODB.blob.set_not_writable`)
    pub fn protect(&self, directory: &Path) -> io::Result<()> {
        let readers = fs::metadata(directory)?.permissions().mode() & READ;
        let mode = self.file.metadata()?.permissions().mode() & MODE & !WRITE | readers;
        self.file.set_permissions(Permissions::from_mode(mode))
    }

    /// Gives the file its name. It is synced first: after a power cut, the file of a blob must not
    /// be shorter than the blob.
    pub fn place(mut self, target: &Path) -> io::Result<()> {
        self.file.sync_data()?;
        fs::rename(&self.path, target)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // A server may have taken it. What can't be removed is removed later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what processes that were killed have left in the directory.
///
/// # Errors
/// `Io` that names the directory.
pub(super) fn sweep(directory: &Path) -> Result<()> {
    let reading = failed("reading the directory", directory);
    for entry in fs::read_dir(directory).map_err(&reading)? {
        let entry = entry.map_err(&reading)?;
        let is_ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(OURS.as_bytes());
        if is_ours
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn count(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn what_was_left_is_removed_and_what_is_in_use_is_not() {
        let base = tempfile::tempdir().unwrap();
        let at = base.path();
        let used = Temporary::create(at).unwrap();
        fs::write(at.join("rzeo-left.tmp"), "some").unwrap();
        fs::write(at.join("BUCpython.tmp"), "some").unwrap();
        sweep(at).unwrap();
        assert!(used.path().exists() && at.join("BUCpython.tmp").exists());
        assert_eq!(count(at), 2);
        drop(used);
        assert_eq!(count(at), 1);
    }

    #[test]
    fn sources_are_moved_or_copied_and_keep_their_lock() {
        let base = tempfile::tempdir().unwrap();
        let (at, source) = (base.path().join("tmp"), base.path().join("source"));
        fs::create_dir(&at).unwrap();
        fs::write(&source, "some").unwrap();
        let inode = fs::metadata(&source).unwrap().ino();
        let taken = Temporary::take(&source, &at).unwrap();
        assert_eq!(fs::metadata(taken.path()).unwrap().ino(), inode);
        assert!(!source.exists());
        sweep(&at).unwrap();
        taken.protect(&at).unwrap();
        let target = base.path().join("target");
        taken.place(&target).unwrap();
        assert_eq!(
            (fs::read(&target).unwrap(), count(&at)),
            (b"some".to_vec(), 0)
        );
        assert_eq!(fs::metadata(&target).unwrap().mode() & WRITE, 0);

        // A link leads elsewhere: what it leads to is not moved.
        std::os::unix::fs::symlink(&target, &source).unwrap();
        let copied = Temporary::take(&source, &at).unwrap();
        assert_eq!(fs::read(copied.path()).unwrap(), b"some");
        assert!(target.exists() && !source.is_symlink());
        sweep(&at).unwrap();
        assert_eq!(count(&at), 1);

        let why = Temporary::take(&base.path().join("none"), &at).unwrap_err();
        assert!(why.to_string().contains("none"), "{why}");
        assert_eq!(count(&at), 1);
    }

    #[test]
    fn sweeping_disturbs_nobody() {
        let base = tempfile::tempdir().unwrap();
        let at = base.path();
        std::thread::scope(|threads| {
            let makers: Vec<_> = (0..2)
                .map(|_| {
                    threads.spawn(|| {
                        for round in 0..200 {
                            let mut made = Temporary::create(at).unwrap();
                            made.file.write_all(&[round]).unwrap();
                            assert_eq!(fs::read(made.path()).unwrap(), [round]);
                        }
                    })
                })
                .collect();
            while !makers.iter().all(|maker| maker.is_finished()) {
                sweep(at).unwrap();
            }
        });
        assert_eq!(count(at), 0);
    }
}
