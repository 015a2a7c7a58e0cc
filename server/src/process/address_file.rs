//! The file that tells where the server listens, while it does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeo_storage::paths::resolve;

/// An address file that was written.
#[derive(Debug)]
pub struct AddressFile {
    path: PathBuf,
}

impl AddressFile {
    /// Writes the addresses, one a line, to the file `path`, which others see complete or not at
    /// all; what is there is replaced. A symbolic link stays, and the file is where it leads to.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(path: &Path, addresses: &[String]) -> io::Result<AddressFile> {
        let path = resolve(path)?;
        let text: String = addresses.iter().map(|line| format!("{line}\n")).collect();
        let mut new = OsString::from(&path);
        new.push(".new");
        fs::write(&new, text)?;
        fs::rename(&new, &path)?;
        Ok(AddressFile { path })
    }

    /// Deletes the file, if it is still there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_addresses_until_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("real"), directory.path().join("link"));
        std::os::unix::fs::symlink("real", &link).unwrap();
        let addresses = ["127.0.0.1:1".to_owned(), "[::1]:1".to_owned()];
        for name in [&path, &link] {
            let file = AddressFile::write(name, &addresses).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text, "127.0.0.1:1\n[::1]:1\n");
            assert!(link.is_symlink());
            file.remove().unwrap();
            assert!(!path.exists());
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        AddressFile::write(&path, &addresses).unwrap();
        let file = AddressFile::write(&path, &[]).unwrap();
        fs::remove_file(&path).unwrap();
        file.remove().unwrap();
        assert!(AddressFile::write(&directory.path().join("none/file"), &[]).is_err());
    }
}
