//! Time, as the coordinator sees it; tests bring their own.

use std::time::{Instant, SystemTime};

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// The time of day, for tids. May jump.
    fn now(&self) -> SystemTime;
    /// For deadlines. Never goes back.
    fn instant(&self) -> Instant;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}
