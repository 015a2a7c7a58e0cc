//! How far a pack is.

use std::fmt;
use std::time::{Instant, SystemTime};

const MEGABYTE: u64 = 1_000_000;

/// How far a pack is; displayed, it is a text for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackProgress {
    /// When the pack began, by the wall clock.
    pub started: SystemTime,
    /// The same moment, to tell how long ago it is whatever happens to that clock.
    pub begun: Instant,
    /// What it is doing, as "copying".
    pub doing: &'static str,
    /// How much of this phase is done.
    pub done: u64,
    /// Of how much; `None`: that is not known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Unit,
}

/// What a pack counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Nothing yet.
    Nothing,
    /// Bytes of the file.
    Bytes,
    /// Objects.
    Objects,
}

impl PackProgress {
    /// A pack that begins now.
    pub fn starting() -> Self {
        Self {
            started: SystemTime::now(),
            begun: Instant::now(),
            doing: "starting",
            done: 0,
            total: None,
            unit: Unit::Nothing,
        }
    }
}

impl fmt::Display for PackProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = self.doing;
        match (self.unit, self.total) {
            (Unit::Nothing, _) => write!(f, "{doing}"),
            (Unit::Objects, _) => write!(f, "{doing}: {} objects", self.done),
            (Unit::Bytes, None) => write!(f, "{doing}: {} MB", self.done / MEGABYTE),
            (Unit::Bytes, Some(total)) => {
                let percent = u128::from(self.done) * 100 / u128::from(total.max(1));
                write!(f, "{doing}: {percent} % of {} MB", total / MEGABYTE)
            }
        }
    }
}
