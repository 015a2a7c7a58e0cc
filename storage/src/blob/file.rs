//! A blob file that is not committed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A blob file on its way. Unless it gets the name of a committed one, it is
/// removed when it is dropped: by an abort, a conflict, the end of its
/// session.
#[derive(Debug)]
pub struct BlobFile {
    at: Mutex<At>,
    /// What tells of a file that is not in `tmp`.
    note: Option<PathBuf>,
    /// Clients see the directory.
    is_shared: bool,
}

#[derive(Debug)]
struct At {
    path: PathBuf,
    naming: Naming,
}

/// How far a file has come to the name of a committed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// It has none.
    No,
    /// That is its second name.
    Linked,
    /// That is its only name.
    Renamed,
    /// Its transaction is written, and it does not go with this any more.
    Committed,
}

impl BlobFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self::with_note(path, None)
    }

    pub(super) fn with_note(path: PathBuf, note: Option<PathBuf>) -> Self {
        let naming = Naming::No;
        let at = Mutex::new(At { path, naming });
        Self {
            at,
            note,
            is_shared: false,
        }
    }

    /// The same, of a client that sees the directory.
    pub(super) fn of_shared_directory(mut self) -> Self {
        self.is_shared = true;
        self
    }

    /// Where it is until it is committed. A vote renames it.
    pub fn path(&self) -> PathBuf {
        self.at().path.clone()
    }

    /// Whether it may have a name in `tmp` and that of a committed file at the same time. Clients that
    /// see the directory find nothing in `tmp` after a commit; and `tmp` and the directory of its
    /// object must not be on two devices.
    pub(super) fn may_have_two_names(&self) -> bool {
        !self.is_shared && self.note.is_none()
    }

    pub(super) fn renamed(&self, path: &Path) {
        path.clone_into(&mut self.at().path);
    }

    pub(super) fn naming(&self) -> Naming {
        self.at().naming
    }

    pub(super) fn set_naming(&self, naming: Naming) {
        self.at().naming = naming;
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if self.naming() == Naming::No {
            // What can't be removed is removed at the next start.
            let _ = std::fs::remove_file(self.path());
        }
        if let Some(note) = &self.note {
            let _ = std::fs::remove_file(note);
        }
    }
}

impl PartialEq for BlobFile {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

impl Eq for BlobFile {}
