//! What all clients together take of what there is not enough of for everybody: places, memory,
//! and room for data that is not committed yet.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Memory and data are counted in units of this many bytes, so that a small transaction is counted
/// once.
const GRAIN_BYTES: u64 = 64 << 10;
/// Refusals are logged at once, and then together once in so long.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Clients that have registered.
    Clients,
    /// Bytes of messages that are being received, and of transactions that are kept in memory.
    Memory,
    /// Bytes of transactions that have not voted, in memory and in temporary files.
    Uncommitted,
}

/// How much of each is in use.
#[derive(Debug, Default)]
pub struct Usage {
    used: [AtomicU64; 3],
    refused: Mutex<Refused>,
    /// The system has no thread to give.
    lacks_threads: AtomicBool,
}

#[derive(Debug, Default)]
struct Refused {
    /// Since it was told last.
    count: u64,
    told: Option<Instant>,
}

impl Usage {
    /// A share of a resource that has a limit; of size 0 at first.
    pub fn share(self: &Arc<Self>, resource: Resource, limit: u64) -> Share {
        Share {
            usage: Arc::clone(self),
            resource,
            limit,
            held: 0,
        }
    }

    /// How much of a resource is in use.
    #[cfg(test)]
    pub fn used(&self, resource: Resource) -> u64 {
        self.used[resource as usize].load(Relaxed)
    }

    /// Notes that a client was refused; returns how many were since that was told, if it is time
    /// to tell it again.
    pub fn refuse(&self, now: Instant) -> Option<u64> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.count += 1;
        let is_due = (refused.told).is_none_or(|told| now.duration_since(told) >= TELL_INTERVAL);
        is_due.then(|| {
            refused.told = Some(now);
            std::mem::take(&mut refused.count)
        })
    }

    /// Notes whether the system has given a thread; true when that has changed.
    pub fn note_thread(&self, given: bool) -> bool {
        self.lacks_threads.swap(!given, Relaxed) == given
    }
}

/// A part of a resource that somebody holds; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    usage: Arc<Usage>,
    resource: Resource,
    limit: u64,
    held: u64,
}

impl Share {
    /// Makes the share so large. False if there is not enough left: then it stays as it is.
    #[must_use]
    pub fn resize(&mut self, amount: u64) -> bool {
        let wanted = match self.resource {
            Resource::Clients => amount,
            Resource::Memory | Resource::Uncommitted => amount.next_multiple_of(GRAIN_BYTES),
        };
        if wanted == self.held {
            return true;
        }
        let used = &self.usage.used[self.resource as usize];
        if wanted < self.held {
            used.fetch_sub(self.held - wanted, Relaxed);
        } else {
            let more = wanted - self.held;
            let fits = |used: u64| used.checked_add(more).filter(|sum| *sum <= self.limit);
            if used.fetch_update(Relaxed, Relaxed, fits).is_err() {
                return false;
            }
        }
        self.held = wanted;
        true
    }

    /// The limit of all shares.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Gives all of it back.
    pub fn release(&mut self) {
        // What is given back always fits.
        let _ = self.resize(0);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

/// Half of the memory that this process may use: that of the machine, or of its control group.
pub fn half_of_memory() -> u64 {
    let total = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = total.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("0::"));
    let limit = |group: &str| {
        let file = format!("/sys/fs/cgroup/{}/memory.max", group.trim_matches('/'));
        fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    };
    let limit = group.and_then(limit);
    total.into_iter().chain(limit).min().unwrap_or(u64::MAX) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fit_into_the_limit_and_are_given_back() {
        let usage = Arc::new(Usage::default());
        let mut one = usage.share(Resource::Memory, 3 * GRAIN_BYTES);
        let mut other = usage.share(Resource::Memory, 3 * GRAIN_BYTES);
        assert!(one.resize(1) && one.resize(GRAIN_BYTES + 1) && other.resize(GRAIN_BYTES));
        assert!(!other.resize(GRAIN_BYTES + 1) && !other.resize(u64::MAX - GRAIN_BYTES));
        assert_eq!(usage.used(Resource::Memory), 3 * GRAIN_BYTES);
        assert!(one.resize(0) && other.resize(3 * GRAIN_BYTES));
        drop(other);
        assert_eq!(usage.used(Resource::Memory), 0);
        let mut place = usage.share(Resource::Clients, 1);
        assert!(place.resize(1) && place.resize(1));
        assert!(!usage.share(Resource::Clients, 1).resize(1));
    }

    #[test]
    fn refusals_are_told_together() {
        let (usage, start) = (Usage::default(), Instant::now());
        assert_eq!(usage.refuse(start), Some(1));
        assert_eq!(usage.refuse(start), None);
        assert_eq!(usage.refuse(start + TELL_INTERVAL), Some(2));
    }

    #[test]
    fn lack_of_threads_is_told_once() {
        let usage = Usage::default();
        let changes = [true, false, false, true, true].map(|given| usage.note_thread(given));
        assert_eq!(changes, [false, true, false, true, false]);
    }

    #[test]
    fn there_is_some_memory() {
        assert!((1 << 20..u64::MAX / 4).contains(&half_of_memory()));
    }
}
