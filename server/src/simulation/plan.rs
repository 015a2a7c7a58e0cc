//! What a simulation is given: what may happen, chance, and the time.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use zeo_proto::marshal::Encoding;

use crate::commit::clock::Clock;
use crate::settings::Settings;

/// What happens in a world beside the usual.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// Clients may never finish what they have voted for.
    pub(super) stalls: bool,
    /// A client registers and then reads nothing.
    pub(super) sleepers: bool,
    /// At some time the disk fails.
    pub(super) disk_fails: bool,
    pub(super) client_conflict_resolution: bool,
    /// Others change the storage, too; it gives the tids.
    pub(super) others: bool,
    /// They do it on another machine, which has to be asked for what is there.
    pub(super) remote: bool,
    /// The connection to what others change breaks: nobody knows whether the transaction that was
    /// being appended is there.
    pub(super) breaks: bool,
    /// At times nobody knows what others have changed.
    pub(super) loses_track: bool,
    /// At some time the server stops, and waits for all that have voted.
    pub(super) stops: bool,
    /// The storage reports changes by others too late.
    pub(super) lies: bool,
}

impl Plan {
    /// The settings of the world's sessions.
    pub(super) fn settings(&self, seed: u64, timeout: Duration) -> Settings {
        Settings {
            encoding: if seed.is_multiple_of(2) {
                Encoding::Pickle
            } else {
                Encoding::Msgpack
            },
            read_only: false,
            max_message_size: 1 << 20,
            client_conflict_resolution: self.client_conflict_resolution,
            conflict_resolver: None,
            invalidation_age: None,
            invalidation_queue_size: 10,
            transaction_timeout: Some(timeout),
            ..Settings::default()
        }
    }
}

/// Numbers that depend on nothing but the seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A clock that stands still unless it is wound.
pub(super) struct StillClock {
    start: Instant,
    wound: Mutex<Duration>,
}

impl StillClock {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            wound: Mutex::default(),
        }
    }

    pub(super) fn wind(&self, by: Duration) {
        *self.wound.lock().unwrap() += by;
    }
}

impl Clock for StillClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + *self.wound.lock().unwrap()
    }

    fn instant(&self) -> Instant {
        self.start + *self.wound.lock().unwrap()
    }
}
