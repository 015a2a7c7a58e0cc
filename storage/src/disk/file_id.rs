//! Which file has a name.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file, whatever its name: a pack, for one, puts another file in the place
/// of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that has this name now, links followed; `None` when there is
    /// none, or that can't be told.
    pub fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}
