//! The lock file beside `Data.fs`: one writer at a time, be it this program
//! or Python (`zc.lockfile`: an exclusive `flock`, the process id inside).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fs2::FileExt;

use crate::Result;
use crate::disk::paths::{beside, failed};

/// A held lock; dropping it releases it. The file stays, as in Python.
#[derive(Debug)]
pub(crate) struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock of the file at `path`, as Python does, and that of where
    /// it really is, `data`: others may open it there.
    ///
    /// # Errors
    /// Another process has one of them, or it can't be made.
    pub fn acquire_all(path: &Path, data: &Path) -> Result<Vec<Self>> {
        let mut locks = vec![Self::acquire(beside(path, ".lock"))?];
        if data != path {
            locks.push(Self::acquire(beside(data, ".lock"))?);
        }
        Ok(locks)
    }

    /// Takes the lock, or fails at once if another process has it.
    pub fn acquire(path: PathBuf) -> Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path);
        let mut file = file.map_err(failed("opening the lock file", &path))?;
        lock(&file, &path).map_err(failed("locking", &path))?;
        write_pid(&mut file).map_err(failed("writing the lock file", &path))?;
        Ok(Self { _file: file })
    }
}

fn lock(file: &File, path: &Path) -> io::Result<()> {
    match file.try_lock_exclusive() {
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
            let holder = match holder(path) {
                Some(pid) => format!("process {pid} has the storage open for writing"),
                None => "another process has the storage open for writing".to_owned(),
            };
            Err(io::Error::new(io::ErrorKind::WouldBlock, holder))
        }
        result => result,
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!(" {}\n", std::process::id()).as_bytes())
}

/// The process id in the lock file.
fn holder(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(32)
        .read_to_string(&mut text)
        .ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_a_second_holder_and_names_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Data.fs.lock");
        std::fs::write(&path, " 1234567890\nsomething longer\n").unwrap();
        let held = LockFile::acquire(path.clone()).unwrap();
        let pid = std::process::id();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!(" {pid}\n"));
        let error = LockFile::acquire(path.clone()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {pid} has")), "{error}");
        drop(held);
        LockFile::acquire(path).unwrap();
    }
}
