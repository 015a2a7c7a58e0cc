//! Session: how long loads and commits take, for histograms, and for the log if it was too long.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use slog::warn;
use zeo_proto::Oid;

use super::Session;
use crate::status::client::{Phase, TransactionStatus};
use crate::status::conflict_counts::one_line;
use crate::status::outcomes::Operation;
use crate::storages::ServedStorage;

/// One load of so many is measured for the histogram: two looks at the clock cost as much as a
/// hundredth of a load.
const LOADS_A_SAMPLE: u64 = 16;
/// How much of a transaction's user and description is logged, in characters.
const MAX_TEXT_CHARS: usize = 100;
/// How a transaction ends that is committed.
pub(super) const COMMITTED: &str = "committed";

/// When a load began.
pub(super) struct LoadBegun {
    /// To some milliseconds; enough to find those that took too long.
    about: Duration,
    /// Exactly, for the histogram.
    exactly: Option<Instant>,
}

impl Session {
    /// To be called before a load; [`Self::load_ends`] afterwards.
    pub(super) fn load_begins(&self) -> LoadBegun {
        let sampled = self.status.loads.get().is_multiple_of(LOADS_A_SAMPLE);
        LoadBegun {
            about: about_now(),
            exactly: sampled.then(Instant::now),
        }
    }

    /// A load has been answered.
    pub(super) fn load_ends(&self, storage: &ServedStorage, begun: LoadBegun, oid: Oid) {
        if let Some(exactly) = begun.exactly {
            storage.stats.durations.load.observe(exactly.elapsed());
        }
        let took = about_now().saturating_sub(begun.about);
        if self.settings.slow_load.is_some_and(|limit| took >= limit) {
            self.log_slow(storage, Operation::Load, || {
                format!("slow load: object {oid} took {:.2} s", took.as_secs_f64())
            });
        }
    }

    /// The vote has its locks, or waits no longer for them, after so long.
    pub(super) fn lock_wait_ended(&self, storage: &ServedStorage, waited: Option<Duration>) {
        let Some(waited) = waited else {
            return;
        };
        storage.stats.durations.vote_wait.observe(waited);
        let limit = self.settings.slow_lock_wait;
        if limit.is_some_and(|limit| waited >= limit) {
            self.log_slow(storage, Operation::LockWait, || {
                let text = (self.status.transaction()).map_or(String::new(), |t| what(&t));
                let waited = waited.as_secs_f64();
                format!("slow lock wait: a vote waited {waited:.2} s for its locks; {text}")
            });
        }
    }

    /// The transaction has ended, in this way.
    pub(super) fn transaction_ended(&self, storage: &ServedStorage, ending: &str) {
        let Some(transaction) = self.status.end() else {
            return;
        };
        let now = Instant::now();
        let since = |phase| Some(now.saturating_duration_since(transaction.began(phase)?));
        if transaction.phase == Phase::Waiting {
            self.lock_wait_ended(storage, since(Phase::Waiting));
        }
        let Some(took) = since(Phase::Waiting) else {
            // It has never voted.
            return;
        };
        if ending == COMMITTED {
            let durations = &storage.stats.durations;
            durations.commit.observe(took);
            if let Some(took) = since(Phase::Finishing) {
                durations.finish.observe(took);
            }
        }
        if self.settings.slow_commit.is_some_and(|limit| took >= limit) {
            self.log_slow(storage, Operation::Commit, || {
                let (took, phases) = (took.as_secs_f64(), phases(&transaction, now));
                let text = what(&transaction);
                format!("slow commit: {ending} {took:.2} s after its vote ({phases}); {text}")
            });
        }
    }

    /// Counts a slow operation and logs it, unless there were many lately.
    fn log_slow(
        &self,
        storage: &ServedStorage,
        operation: Operation,
        line: impl FnOnce() -> String,
    ) {
        storage.stats.slow.count(operation);
        if let Some(left_out) = storage.stats.slow_lines.admit(operation, Instant::now()) {
            let line = line();
            match left_out {
                0 => warn!(self.log, "{line}"),
                left_out => warn!(self.log, "{line} ({left_out} more like this not logged)"),
            }
        }
    }
}

/// A clock that moves every few milliseconds and costs next to nothing.
fn about_now() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// How long each phase took since the vote, as far as the transaction has come.
fn phases(transaction: &TransactionStatus, now: Instant) -> String {
    let names = [
        (Phase::Waiting, "waiting for locks"),
        (Phase::Preparing, "check"),
        (Phase::Voted, "the client's pause"),
        (Phase::Finishing, "write"),
    ];
    let begun: Vec<_> = names
        .iter()
        .filter_map(|&(phase, name)| Some((transaction.began(phase)?, name)))
        .collect();
    let ends = begun.iter().skip(1).map(|&(began, _)| began).chain([now]);
    let phases = begun.iter().zip(ends).map(|(&(began, name), end)| {
        let took = end.saturating_duration_since(began).as_secs_f64();
        format!("{name} {took:.2} s")
    });
    phases.collect::<Vec<_>>().join(", ")
}

/// What the transaction is about.
fn what(transaction: &TransactionStatus) -> String {
    let user = one_line(&transaction.user, MAX_TEXT_CHARS);
    let description = one_line(&transaction.description, MAX_TEXT_CHARS);
    format!("user '{user}', description '{description}'")
}
