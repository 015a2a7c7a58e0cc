//! A blob file that is not committed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A blob file on its way. Unless it gets the name of a committed one, it is
/// removed when it is dropped: by an abort, a conflict, the end of its
/// session.
#[derive(Debug)]
pub struct BlobFile {
    path: PathBuf,
    placed: AtomicBool,
}

impl BlobFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            placed: AtomicBool::new(false),
        }
    }

    /// Where it is until it is committed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It has another name now.
    pub(super) fn placed(&self) {
        self.placed.store(true, Ordering::Release);
    }

    pub(super) fn is_placed(&self) -> bool {
        self.placed.load(Ordering::Acquire)
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if !self.is_placed() {
            // What can't be removed is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl PartialEq for BlobFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for BlobFile {}
