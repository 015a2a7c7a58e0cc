//! Counters by how something ended.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The possible outcomes of something.
pub trait Outcome: Copy + 'static {
    /// All of them, with their names, in the order of their numbers.
    const ALL: &'static [(Self, &'static str)];
    /// The place in [`Self::ALL`].
    fn number(self) -> usize;
}

/// How often each outcome happened.
#[derive(Debug)]
pub struct Outcomes<O> {
    counts: Vec<AtomicU64>,
    of: PhantomData<O>,
}

impl<O: Outcome> Default for Outcomes<O> {
    fn default() -> Self {
        Self {
            counts: O::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            of: PhantomData,
        }
    }
}

impl<O: Outcome> Outcomes<O> {
    /// Counts one.
    pub fn count(&self, outcome: O) {
        self.counts[outcome.number()].fetch_add(1, Relaxed);
    }

    /// The counts by name.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let names = O::ALL.iter().map(|&(_, name)| name);
        names.zip(counts).collect()
    }
}

/// Declares an enum of outcomes with their names.
macro_rules! outcomes {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $outcome:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$what])* $outcome,)*
        }

        impl Outcome for $name {
            const ALL: &'static [(Self, &'static str)] = &[$(($name::$outcome, $text),)*];

            fn number(self) -> usize {
                self as usize
            }
        }
    };
}

outcomes! {
    /// How a client that came back could verify its cache.
    Verification {
        /// From the invalidation queue.
        Queue = "queue",
        /// From the end of the storage.
        Storage = "storage",
        /// Not at all: it was away for too long, and drops its cache.
        TooOld = "too_old",
        /// Not at all: too many objects were changed.
        TooMuch = "too_much",
        /// Not at all: it has seen a transaction that the storage never had.
        Lost = "lost",
        /// Not at all: others have changed the storage, and it can't say what.
        Unknown = "unknown",
        /// The storage could not be read.
        Failed = "failed",
    }
}

outcomes! {
    /// How a pack ended.
    PackEnd {
        /// It is done, or there was nothing to do.
        Complete = "complete",
        /// It could not go on.
        Failed = "failed",
        /// An operator ended it.
        Cancelled = "cancelled",
    }
}

outcomes! {
    /// What may take too long.
    Operation {
        /// A load.
        Load = "load",
        /// From the vote to the answer to `tpc_finish`.
        Commit = "commit",
        /// A vote's wait for locks.
        LockWait = "lock_wait",
    }
}

outcomes! {
    /// Why a connection was refused for TLS.
    TlsRefusal {
        /// The client has no certificate, or one that is not trusted.
        Certificate = "certificate",
        /// The client speaks no TLS, and the address does.
        Plaintext = "plaintext",
        /// The handshake took too long.
        Timeout = "timeout",
        /// The client speaks TLS, and the address does not.
        TlsAtPlainAddress = "tls_at_plain_address",
        /// Anything else that ended a handshake.
        Other = "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_under_its_name() {
        let packs = Outcomes::<PackEnd>::default();
        packs.count(PackEnd::Failed);
        packs.count(PackEnd::Failed);
        packs.count(PackEnd::Cancelled);
        let counts = [("complete", 0), ("failed", 2), ("cancelled", 1)];
        assert_eq!(packs.all(), counts);
    }
}
