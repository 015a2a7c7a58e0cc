//! The file that holds the server's process id.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use zeo_storage::paths::resolve;

/// More than an old pid file may have that a link leads to; else the link leads to another file, as
/// the data, which is not to be written over.
const MAX_OLD_BYTES: u64 = 64;

/// A pid file that was written.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Where it really is, if its name is a symbolic link.
    target: PathBuf,
}

impl PidFile {
    /// Writes this process's id and a newline to a new file at `path`; what is there is
    /// replaced. A symbolic link stays, and the file is where it leads to. A server that can't
    /// write it should say so and go on, as Python's does.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(path: &Path) -> io::Result<PidFile> {
        let target = resolve(path)?;
        if target == path {
            // Not into a file that others have open.
            remove(path)?;
        } else if fs::metadata(&target).is_ok_and(|found| found.len() > MAX_OLD_BYTES) {
            let what = format!("it leads to {}, which is no pid file", target.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        // A link is followed by the system, which refuses those that others planted.
        fs::write(path, format!("{}\n", process::id()))?;
        let path = path.to_owned();
        Ok(PidFile { path, target })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes the file, if it is still there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(self) -> io::Result<()> {
        remove(&self.target)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_pid_until_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ZEO.pid");
        fs::write(&path, "the file of a server that crashed").unwrap();
        let pid_file = PidFile::write(&path).unwrap();
        let text = fs::read_to_string(pid_file.path()).unwrap();
        assert_eq!(text, format!("{}\n", process::id()));
        pid_file.remove().unwrap();
        assert!(!path.exists());

        let pid_file = PidFile::write(&path).unwrap();
        fs::remove_file(&path).unwrap();
        pid_file.remove().unwrap();

        assert!(PidFile::write(&directory.path().join("none/ZEO.pid")).is_err());
    }

    #[test]
    fn a_link_to_what_is_no_pid_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("pid"), directory.path().join("data"));
        std::os::unix::fs::symlink("data", &path).unwrap();
        let data = [b'x'; 1000];
        fs::write(&target, data).unwrap();
        let error = PidFile::write(&path).unwrap_err();
        assert!(error.to_string().contains("no pid file"));
        assert_eq!(fs::read(&target).unwrap(), data);
    }

    #[test]
    fn a_link_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("pid"), directory.path().join("run"));
        std::os::unix::fs::symlink("run", &path).unwrap();
        for old in [None, Some("the file of a server that crashed")] {
            if let Some(old) = old {
                fs::write(&target, old).unwrap();
            }
            let pid_file = PidFile::write(&path).unwrap();
            let text = fs::read_to_string(&target).unwrap();
            assert_eq!(text, format!("{}\n", process::id()));
            pid_file.remove().unwrap();
            assert!(path.is_symlink() && !target.exists());
        }
    }
}
