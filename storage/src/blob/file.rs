//! A blob file that is not committed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A blob file on its way. Unless it gets the name of a committed one, it is
/// removed when it is dropped: by an abort, a conflict, the end of its
/// session.
#[derive(Debug)]
pub struct BlobFile {
    path: PathBuf,
    /// What tells of a file that is not in `tmp`.
    note: Option<PathBuf>,
    placed: AtomicBool,
}

impl BlobFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self::with_note(path, None)
    }

    pub(super) fn with_note(path: PathBuf, note: Option<PathBuf>) -> Self {
        Self {
            path,
            note,
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

    /// It has its first one again.
    pub(super) fn taken_back(&self) {
        self.placed.store(false, Ordering::Release);
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
        if let Some(note) = &self.note {
            let _ = std::fs::remove_file(note);
        }
    }
}

impl PartialEq for BlobFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for BlobFile {}
