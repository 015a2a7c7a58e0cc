//! Locks of which no holder leaves anything half done, so that a panic elsewhere spoils nothing.

use std::sync::{Mutex, MutexGuard};

pub(super) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|why| why.into_inner())
}
