//! Counters of one storage: what `server_status` and the `ruok` probe show.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use zeo_proto::{Tid, Value};

use crate::status::conflict_counts::ConflictCounts;

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

/// The local time as C's `ctime` writes it, without the newline.
fn ctime_now() -> String {
    jiff::ZonedDateTime::now()
        .strftime("%a %b %e %H:%M:%S %Y")
        .to_string()
}
