//! Whether a pack is running, its progress, and the transactions it waits for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::storage::{PackProgress, Unit};
use crate::{Error, Result};

/// How often a waiting pack looks whether it is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The packing of one storage.
#[derive(Debug, Default)]
pub(crate) struct PackState {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The pack that runs.
    running: Option<PackProgress>,
    /// It is to end.
    cancelled: bool,
    /// How many prepared transactions hold back-pointers.
    holders: usize,
}

/// The one pack that runs; ends when it is dropped.
pub(crate) struct Running(Arc<PackState>);

/// Held by a transaction from its first back-pointer until it is in the file
/// or aborted. No pack begins to read the file before: it would not see that
/// the record that is pointed to must be kept.
#[derive(Debug)]
pub(crate) struct BackPointers(Arc<PackState>);

impl PackState {
    /// Begins a pack, unless there is one.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<Running> {
        let mut state = self.state();
        if state.running.is_some() {
            return Err(Error::FileStorage("Already packing".to_owned()));
        }
        state.running = Some(PackProgress::starting());
        state.cancelled = false;
        Ok(Running(Arc::clone(self)))
    }

    /// The right to use back-pointers; `None` while a pack runs.
    pub(crate) fn back_pointers(self: &Arc<Self>) -> Option<BackPointers> {
        let mut state = self.state();
        if state.running.is_some() {
            return None;
        }
        state.holders += 1;
        Some(BackPointers(Arc::clone(self)))
    }

    /// How far the pack is, if one runs.
    pub(crate) fn progress(&self) -> Option<PackProgress> {
        self.state().running
    }

    /// Takes note of the progress of the pack that runs, and returns it whole.
    pub(crate) fn note(
        &self,
        doing: &'static str,
        done: u64,
        total: Option<u64>,
        unit: Unit,
    ) -> Option<PackProgress> {
        let mut state = self.state();
        let progress = state.running.as_mut()?;
        (progress.doing, progress.done) = (doing, done);
        (progress.total, progress.unit) = (total, unit);
        Some(*progress)
    }

    /// Tells the pack that runs to end; false if none does.
    pub(crate) fn cancel(&self) -> bool {
        let mut state = self.state();
        state.cancelled = state.running.is_some();
        state.cancelled
    }

    /// True when the pack that runs is to end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// Waits until no pack runs, at most so long.
    #[cfg(feature = "postgres")]
    pub(crate) fn wait_for_end_within(&self, time: Duration) {
        let state = self.state();
        let running = |state: &mut State| state.running.is_some();
        let waited = self.changed.wait_timeout_while(state, time, running);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until no pack runs.
    pub(crate) fn wait_for_end(&self) {
        let state = self.state();
        let waited = self
            .changed
            .wait_while(state, |state| state.running.is_some());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Waits until no prepared transaction holds back-pointers: new ones get
    /// no right to, and those that have it end in time, by the limit that the
    /// server sets. `stop` may end the waiting by an error.
    pub(crate) fn wait_for_back_pointers(&self, stop: impl Fn() -> Result<()>) -> Result<()> {
        loop {
            // Not under the lock: it asks for the state itself.
            stop()?;
            let state = self.0.state();
            if state.holders == 0 {
                return Ok(());
            }
            let waited = self.0.changed.wait_timeout(state, LOOK_INTERVAL);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state().running = None;
        self.0.changed.notify_all();
    }
}

impl Drop for BackPointers {
    fn drop(&mut self) {
        self.0.state().holders -= 1;
        self.0.changed.notify_all();
    }
}
