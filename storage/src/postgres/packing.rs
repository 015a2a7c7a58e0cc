//! Whether a pack runs, and what ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::packing::state::PackState;
use crate::storage::PackProgress;
use crate::{Error, Result};

/// The pack that runs, if any.
#[derive(Default)]
pub(super) struct Packing {
    pub state: Arc<PackState>,
    closed: AtomicBool,
    packed: AtomicI64,
}

impl Packing {
    /// The last transaction up to which this server has packed, or 0.
    pub fn packed(&self) -> i64 {
        self.packed.load(Ordering::Acquire)
    }

    pub fn packed_up_to(&self, tid: i64) {
        self.packed.fetch_max(tid, Ordering::AcqRel);
    }

    pub fn progress(&self) -> Option<PackProgress> {
        self.state.progress()
    }

    pub fn cancel(&self) -> bool {
        self.state.cancel()
    }

    /// Has the pack that runs end, and waits for that, at most so long.
    pub fn ask_to_end(&self, time: Duration) {
        self.closed.store(true, Ordering::Release);
        self.state.wait_for_end_within(time);
    }

    /// Waits until it has ended.
    pub fn close(&self) {
        self.state.wait_for_end();
    }

    /// Fails when the pack is to end.
    ///
    /// # Errors
    /// `Cancelled`, or the storage is being closed.
    pub fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Database(
                "the pack was stopped: the storage is being closed".to_owned(),
            ));
        }
        if self.state.is_cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}
