//! Counters of one storage: what `server_status` and the `ruok` probe show.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zeo_proto::{Tid, Value};

use crate::status::conflict_counts::ConflictCounts;
use crate::status::histogram::Histogram;
use crate::status::outcomes::{Operation, Outcomes, PackEnd, Verification};
use crate::status::throttle::Throttle;

/// Counters that any thread may change. (ZEO `monitor.StorageStats`.)
#[derive(Debug)]
pub struct Stats {
    /// Clients registered.
    pub connections: AtomicU64,
    /// Objects loaded.
    pub loads: AtomicU64,
    /// Objects stored, deleted and restored; without blobs, as Python counts.
    pub stores: AtomicU64,
    /// Transactions finished.
    pub commits: AtomicU64,
    /// Transactions aborted by their clients, or because these disconnected.
    pub aborts: AtomicU64,
    /// Transactions begun and not ended.
    pub active_txns: AtomicU64,
    /// Votes that failed with a conflict.
    pub conflicts: AtomicU64,
    /// Conflicts that the server resolved.
    pub conflicts_resolved: AtomicU64,
    /// The conflicts of each class.
    pub conflict_classes: ConflictCounts,
    /// Votes that wait for locks.
    pub waiting: AtomicU64,
    /// How long operations took.
    pub durations: Durations,
    /// Whether the log writer is at work.
    pub log_writer: Work,
    /// How clients that came back could verify their caches.
    pub verifications: Outcomes<Verification>,
    /// Packs that have ended.
    pub packs: Outcomes<PackEnd>,
    /// Operations that took longer than the settings' thresholds.
    pub slow: Outcomes<Operation>,
    /// Which lines of the log may tell of those.
    pub slow_lines: Throttle<Operation>,
    /// When the transaction that has held its locks longest got them: the bits of
    /// the seconds since 1970; 0 when no transaction holds locks.
    lock_time: AtomicU64,
    has_timeout: bool,
    start: String,
}

impl Stats {
    /// All zero, started now. `has_timeout`: transactions have a deadline.
    pub fn new(has_timeout: bool) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            connections: zero(),
            loads: zero(),
            stores: zero(),
            commits: zero(),
            aborts: zero(),
            active_txns: zero(),
            conflicts: zero(),
            conflicts_resolved: zero(),
            conflict_classes: ConflictCounts::default(),
            waiting: zero(),
            durations: Durations::default(),
            log_writer: Work::default(),
            verifications: Outcomes::default(),
            packs: Outcomes::default(),
            slow: Outcomes::default(),
            slow_lines: Throttle::default(),
            lock_time: zero(),
            has_timeout,
            start: ctime_now(),
        }
    }

    /// Notes when the transaction that has held its locks longest got them;
    /// `None`: no transaction holds locks.
    pub fn set_lock_time(&self, since: Option<SystemTime>) {
        let seconds = since.map(|since| since.duration_since(UNIX_EPOCH).unwrap_or_default());
        let bits = seconds.map_or(0, |seconds| seconds.as_secs_f64().to_bits());
        self.lock_time.store(bits, Relaxed);
    }

    /// All counters by name, as Python's server calls them, and some that it does
    /// not have.
    pub fn status(&self, last: Tid) -> Vec<(&'static str, Value<'static>)> {
        let count = |counter: &AtomicU64| Value::Int(i128::from(counter.load(Relaxed)));
        let lock_time = match self.lock_time.load(Relaxed) {
            0 => Value::None,
            bits => Value::Float(f64::from_bits(bits)),
        };
        // As Python's server tells that there are none.
        let timeouts = if self.has_timeout {
            Value::Bool(true)
        } else {
            Value::str("stub")
        };
        let mut status = vec![
            ("connections", count(&self.connections)),
            ("loads", count(&self.loads)),
            ("stores", count(&self.stores)),
            ("commits", count(&self.commits)),
            ("aborts", count(&self.aborts)),
            ("active_txns", count(&self.active_txns)),
            ("lock_time", lock_time),
            ("conflicts", count(&self.conflicts)),
            ("conflicts_resolved", count(&self.conflicts_resolved)),
            ("start", Value::Str(self.start.clone().into())),
            ("waiting", count(&self.waiting)),
            ("timeout-thread-is-alive", timeouts),
            ("last-transaction", Value::Str(last.to_string().into())),
        ];
        // Until there are any, all is as Python's server tells it.
        let classes = self.conflict_classes.status();
        if !matches!(&classes, Value::Dict(counts) if counts.is_empty()) {
            status.push(("conflict_classes", classes));
        }
        status
    }
}

/// How long operations of one storage took.
#[derive(Debug, Default)]
pub struct Durations {
    /// Loads, one of a number of them.
    pub load: Histogram,
    /// Votes' waits for locks.
    pub vote_wait: Histogram,
    /// The server's checks of votes.
    pub prepare: Histogram,
    /// From the grant of locks to their end.
    pub lock_hold: Histogram,
    /// Writes and syncs of the log writer.
    pub sync: Histogram,
    /// From `tpc_finish` to its answer.
    pub finish: Histogram,
    /// From the vote to the answer to `tpc_finish`.
    pub commit: Histogram,
}

impl Durations {
    /// All of them by name.
    pub fn all(&self) -> [(&'static str, &Histogram); 7] {
        [
            ("load", &self.load),
            ("vote_wait", &self.vote_wait),
            ("prepare", &self.prepare),
            ("lock_hold", &self.lock_hold),
            ("sync", &self.sync),
            ("finish", &self.finish),
            ("commit", &self.commit),
        ]
    }
}

/// Whether a thread is at work, and since when.
#[derive(Debug)]
pub struct Work {
    created: Instant,
    /// One more than the nanoseconds from `created` to the beginning of its work; 0 when it rests.
    since: AtomicU64,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            created: Instant::now(),
            since: AtomicU64::new(0),
        }
    }
}

impl Work {
    /// The thread begins to work.
    pub fn begin(&self) {
        self.since.store(1 + self.now(), Relaxed);
    }

    /// The thread rests.
    pub fn end(&self) {
        self.since.store(0, Relaxed);
    }

    /// For how long it has been at work; `None` when it rests.
    pub fn busy(&self) -> Option<Duration> {
        let since = self.since.load(Relaxed).checked_sub(1)?;
        Some(Duration::from_nanos(self.now().saturating_sub(since)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

/// The local time as C's `ctime` writes it, without the newline.
fn ctime_now() -> String {
    jiff::ZonedDateTime::now()
        .strftime("%a %b %e %H:%M:%S %Y")
        .to_string()
}
