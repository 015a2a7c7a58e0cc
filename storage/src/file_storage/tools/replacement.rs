//! A new file that takes the place of another one when it is whole.

use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::data_file::DataFile;
use crate::Result;
use crate::disk::paths::{beside, remove, rename, unfinished};
use crate::file_storage::{FileStorage, Options};

/// What a storage may have beside its file, and the file itself.
const SUFFIXES: [&str; 5] = ["", ".lock", ".index", ".index.index_tmp", ".pack"];

/// A FileStorage that is made beside the place of its file, as `.part`. Dropped
/// before it has that place, it is removed, with what belongs to it; but not
/// its blobs.
pub struct Replacement {
    part: PathBuf,
    target: PathBuf,
    unfinished: Vec<TempPath>,
}

impl Replacement {
    /// Opens a storage whose file is to have the place `path`, where another
    /// one may be.
    ///
    /// # Errors
    ///
    /// `InUse` when a server has the other file open; else those of opening the
    /// new one, as that another process is making it.
    pub fn create(path: &Path, options: Options) -> Result<(Self, FileStorage)> {
        let target = DataFile::replaceable(path)?;
        let part = beside(&target, ".part");
        // If this fails, they may be those of another process.
        let storage = FileStorage::open(&part, options)?;
        let unfinished = SUFFIXES.map(|suffix| unfinished(&beside(&part, suffix)));
        let replacement = Self {
            part,
            target,
            unfinished: unfinished.into_iter().collect::<Result<_>>()?,
        };
        Ok((replacement, storage))
    }

    /// Gives the file of the storage, which is closed, and its index their
    /// names, durably. No index ever stands beside a file that it is not of.
    ///
    /// # Errors
    ///
    /// `Io`; the new file has its place then, or is removed.
    pub fn put_in_place(self) -> Result<()> {
        let (index, old) = (beside(&self.part, ".index"), beside(&self.target, ".index"));
        remove(&old)?;
        rename(&self.part, &self.target)?;
        if index.exists() {
            rename(&index, &old)?;
        }
        drop(self.unfinished);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Storage;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn in_place_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.fs");
        std::fs::write(&path, "FS30").unwrap();
        std::fs::write(beside(&path, ".index"), "old").unwrap();
        let options = || Options {
            create: true,
            ..Options::default()
        };
        let (replacement, storage) = Replacement::create(&path, options()).unwrap();
        assert!(Replacement::create(&path, options()).is_err());
        assert!(names(directory.path()).contains(&"out.fs.part".to_owned()));
        storage.close().unwrap();
        drop((replacement, storage));
        assert_eq!(names(directory.path()), ["out.fs", "out.fs.index"]);
        assert_eq!(std::fs::read(beside(&path, ".index")).unwrap(), b"old");

        let (replacement, storage) = Replacement::create(&path, options()).unwrap();
        storage.close().unwrap();
        replacement.put_in_place().unwrap();
        assert_eq!(names(directory.path()), ["out.fs", "out.fs.index"]);
        assert_ne!(std::fs::read(beside(&path, ".index")).unwrap(), b"old");
    }
}
