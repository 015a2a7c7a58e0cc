//! What is to be done after a commit, by a thread that nobody waits for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What is to be done after commits.
#[derive(Default)]
pub(super) struct AfterCommit {
    state: Mutex<State>,
    changed: Condvar,
    over: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Locks are to be given back.
    unlock: bool,
    /// Other servers are to be notified.
    notify: bool,
}

impl AfterCommit {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There are locks to be given back.
    pub fn unlock(&self) {
        self.state().unlock = true;
        self.changed.notify_one();
    }

    /// Something is committed.
    pub fn committed(&self) {
        self.state().notify = true;
        self.changed.notify_one();
    }

    /// The threads are to end.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
        drop(self.state());
        self.changed.notify_one();
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Waits for something to do; whether other servers are to be notified. `None`: it is over.
    pub fn wait(&self) -> Option<bool> {
        let mut state = self.state();
        while !self.is_over() && !state.unlock && !state.notify {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let wanted = std::mem::take(&mut *state);
        (!self.is_over()).then_some(wanted.notify)
    }
}
