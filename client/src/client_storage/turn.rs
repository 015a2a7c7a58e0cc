//! A turn that one has at a time, in any thread.

use std::sync::{Condvar, Mutex};

use super::error::Error;
use crate::lock::locked;

#[derive(Default)]
pub(super) struct Turn {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Default)]
struct State {
    taken: bool,
    closed: bool,
    /// How many wait. (To wake up nobody is a system call, too.)
    waiting: usize,
}

impl Turn {
    /// Waits for the turn.
    ///
    /// # Errors
    ///
    /// The storage is closed.
    pub fn take(&self) -> Result<TurnGuard<'_>, Error> {
        let mut state = locked(&self.state);
        while state.taken && !state.closed {
            state.waiting += 1;
            state = self.over.wait(state).unwrap_or_else(|why| why.into_inner());
            state.waiting -= 1;
        }
        if state.closed {
            return Err(Error::Closed);
        }
        state.taken = true;
        Ok(TurnGuard(self))
    }

    /// There are no more turns.
    pub fn close(&self) {
        locked(&self.state).closed = true;
        self.over.notify_all();
    }
}

/// Who has the turn, until this is dropped.
pub(super) struct TurnGuard<'a>(&'a Turn);

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        let mut state = locked(&self.0.state);
        state.taken = false;
        if state.waiting > 0 {
            self.0.over.notify_one();
        }
    }
}
