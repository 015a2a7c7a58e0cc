//! The committed blobs that are to be settled, and whoever waits for them.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// So many do not wait any longer.
pub(super) const MANY: usize = 256;

/// A committed blob that has two names, of which the first may not be durable.
#[derive(Debug)]
pub(crate) struct Placed {
    /// That of its revision.
    pub target: PathBuf,
    /// That in `tmp`.
    pub staged: PathBuf,
}

/// The blobs that are to be settled.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    waiting: Mutex<Waiting>,
    pub changed: Condvar,
    /// Held while some are settled.
    settling: Mutex<()>,
    /// Why it could not be done. Then the names in `tmp` stay.
    pub failure: OnceLock<String>,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub blobs: Vec<Placed>,
    pub has_thread: bool,
}

impl Unsettled {
    pub fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// The right to settle some.
    pub fn alone(&self) -> MutexGuard<'_, ()> {
        lock(&self.settling)
    }

    /// Waits for a while, less if there are many. False, and the thread ends,
    /// when there are none.
    pub fn wait(&self, delay: Duration) -> bool {
        let few = |waiting: &mut Waiting| (1..MANY).contains(&waiting.blobs.len());
        let waited = self.changed.wait_timeout_while(self.waiting(), delay, few);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.has_thread = !waiting.blobs.is_empty();
        waiting.has_thread
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
