//! A new file that takes the place of another one when it is whole.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::data_file::DataFile;
use crate::Result;
use crate::disk::paths::{beside, failed, remove, rename, unfinished};
use crate::file_storage::files::{index_of, indexes};
use crate::file_storage::{FileStorage, Options};

/// What a storage may have beside its file, and the file itself.
const SUFFIXES: [&str; 5] = ["", ".lock", ".index", ".index.index_tmp", ".pack"];

/// A FileStorage that is made beside the place of its file, as `.part`. Dropped
/// before it has that place, it is removed, with what belongs to it; but not
/// its blobs.
pub struct Replacement {
    part: PathBuf,
    /// The place, as it was named.
    path: PathBuf,
    /// Where that really is.
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
            path: path.to_owned(),
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
        let index = beside(&self.part, ".index");
        remove_indexes(&self.path, &self.target)?;
        rename(&self.part, &self.target)?;
        if index.exists() {
            install_index(&index, &self.path)?;
        }
        drop(self.unfinished);
        Ok(())
    }
}

/// Removes the indexes of a file that is going to be replaced, and is called
/// `path` and at `target`: no index ever stands beside a file that it is not of.
pub(crate) fn remove_indexes(path: &Path, target: &Path) -> Result<()> {
    indexes(path, target)?
        .iter()
        .try_for_each(|index| remove(index))
}

/// Copies an index to where a server looks for it that opens the file as `path`.
pub(crate) fn install_index(source: &Path, path: &Path) -> Result<()> {
    let index = index_of(path)?;
    let temporary = beside(&index, ".index_tmp");
    std::fs::copy(source, &temporary).map_err(failed("copying", source))?;
    let synced = File::open(&temporary).and_then(|file| file.sync_all());
    synced.map_err(failed("syncing", &temporary))?;
    rename(&temporary, &index)
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
