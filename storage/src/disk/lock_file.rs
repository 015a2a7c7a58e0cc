//! Lock files: one process at a time, be it of this program or of Python
//! (`zc.lockfile`: an exclusive `flock`, the process id inside).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use fs2::FileExt;

use crate::Result;
use crate::disk::paths::failed;

/// A held lock; dropping it releases it. The file stays, as in Python. A second one on the same
/// file is refused in this process as in any other.
#[derive(Debug)]
pub struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock, or fails at once if somebody else has it. `what` says what they have then,
    /// as "the storage open for writing".
    ///
    /// # Errors
    /// `Io` that names the file: somebody else has the lock (its kind is `WouldBlock`, and it names
    /// the process), or the file can't be made.
    pub fn acquire(path: &Path, what: &str) -> Result<Self> {
        let lock = Self::try_acquire(path)?.ok_or_else(|| {
            let holder = match holder(path) {
                Some(pid) => format!("process {pid} has {what}"),
                None => format!("another process has {what}"),
            };
            io::Error::new(io::ErrorKind::WouldBlock, holder)
        });
        lock.map_err(failed("locking", path))
    }

    /// Takes the lock; `None` if somebody else has it.
    ///
    /// # Errors
    /// `Io` that names the file.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path);
        let mut file = file.map_err(failed("opening the lock file", path))?;
        match file.try_lock_exclusive() {
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            result => result.map_err(failed("locking", path))?,
        }
        write_pid(&mut file).map_err(failed("writing the lock file", path))?;
        Ok(Some(Self { _file: file }))
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
        let held = LockFile::acquire(&path, "it").unwrap();
        let pid = std::process::id();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!(" {pid}\n"));
        assert!(LockFile::try_acquire(&path).unwrap().is_none());
        let error = LockFile::acquire(&path, "the storage open").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("process {pid} has the storage open")),
            "{text}"
        );
        drop(held);
        LockFile::try_acquire(&path).unwrap().unwrap();
        let nowhere = dir.path().join("none/Data.fs.lock");
        let text = LockFile::try_acquire(&nowhere).unwrap_err().to_string();
        assert!(text.contains("none/Data.fs.lock"), "{text}");
    }
}
