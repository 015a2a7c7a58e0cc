//! Coordinator: what it tells the monitor of itself.

use super::Coordinator;
use crate::messages::report::CoordinatorReport;

/// How many clients are named that one waits for.
const MAX_BEHIND: usize = 8;
/// How many steps through queues of locks are taken to find out who waits for whom: about a
/// millisecond.
const MAX_STEPS: usize = 100_000;

impl Coordinator {
    /// The state of locks and of the invalidation queue.
    pub(super) fn report(&self) -> CoordinatorReport {
        let now = self.parts.clock.instant();
        let holding = self.holders.iter();
        let holding = holding.map(|held| {
            let age = now.saturating_duration_since(held.granted);
            (held.client, age)
        });
        CoordinatorReport {
            holding: holding.collect(),
            waiting: self.locks.waits(MAX_BEHIND, MAX_STEPS),
            votes_waiting: self.locks.waiting(),
            queued_appends: self.log_writer.len(),
            queue: self.invalidations.report(),
        }
    }
}
