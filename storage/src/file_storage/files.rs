//! The files beside the data, and how they are changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::Result;
use crate::disk::FileSystem;
use crate::disk::lock_file::LockFile;
use crate::disk::paths::{beside, failed, resolve, resolve_beside};

/// Where indexes of the file may be that is called `path` and is at `data`:
/// beside both.
pub(crate) fn indexes(path: &Path, data: &Path) -> Result<Vec<PathBuf>> {
    let mut names = vec![beside(path, ".index")];
    if data != path {
        names.push(beside(data, ".index"));
    }
    let resolved = names
        .iter()
        .map(|name| resolve_beside(name, data).map_err(failed("opening", name)));
    resolved.collect()
}

/// Where the index of the file is that is called `path`: the first of [`indexes`].
pub(crate) fn index_of(path: &Path) -> Result<PathBuf> {
    let (index, data) = (beside(path, ".index"), resolve(path));
    data.and_then(|data| resolve_beside(&index, &data))
        .map_err(failed("opening", &index))
}

/// The name that the file at `data`, which is no link, is kept under when a
/// packed one takes its place.
pub(crate) fn old_of(data: &Path) -> Result<PathBuf> {
    let old = beside(data, ".old");
    resolve_beside(&old, data).map_err(failed("opening", &old))
}

/// Locks the file that is called `path`, as Python does, and where it really is, `data`: others may
/// open it there.
///
/// # Errors
/// Another process has one of the locks, or it can't be made.
pub(crate) fn lock(path: &Path, data: &Path) -> Result<Vec<LockFile>> {
    let what = "the storage open for writing";
    let mut locks = vec![LockFile::acquire(&beside(path, ".lock"), what)?];
    if data != path {
        locks.push(LockFile::acquire(&beside(data, ".lock"), what)?);
    }
    Ok(locks)
}

/// What stands on disk around the data.
pub(crate) struct Files {
    /// The absolute path of `Data.fs` as it was given. Index and lock stand
    /// beside it, where Python has them.
    pub path: PathBuf,
    /// The same path, or the target of a symbolic link. Packs work there, so
    /// that the packed file is on the volume of the old one.
    pub data: PathBuf,
    /// Held by writers until they close.
    pub locks: Mutex<Vec<LockFile>>,
    /// The position that the index on disk covers, once it is known.
    /// Whoever saves the index holds this.
    pub saved: Mutex<Option<u64>>,
    /// How the directory is changed by a pack.
    pub disk: Arc<dyn FileSystem>,
}
