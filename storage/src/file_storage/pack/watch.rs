//! What a pack says of itself while it works, and what ends it early.

use std::time::{Duration, Instant};

use super::state::PackState;
use crate::Result;
use crate::log::{Level, Log};
use crate::observer::Observer;

/// How often the log hears of a long pack.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
const MEGABYTE: u64 = 1_000_000;

/// Looks at a pack at work.
pub(super) struct Watch<'a> {
    /// The name of the storage.
    name: &'a str,
    log: &'a Log,
    packing: &'a PackState,
    /// Fails when the pack is to end.
    stop: &'a dyn Fn() -> Result<()>,
    observer: &'a mut dyn Observer,
    /// What the observer was told last.
    doing: &'static str,
    told_at: Instant,
    noted: u64,
}

impl<'a> Watch<'a> {
    pub fn new(
        name: &'a str,
        log: &'a Log,
        packing: &'a PackState,
        stop: &'a dyn Fn() -> Result<()>,
        observer: &'a mut dyn Observer,
    ) -> Self {
        Self {
            name,
            log,
            packing,
            stop,
            observer,
            doing: "",
            told_at: Instant::now(),
            noted: 0,
        }
    }

    /// Fails when the storage is being closed or has stopped writing.
    pub fn check(&self) -> Result<()> {
        (self.stop)()
    }

    /// Takes note of `done` of `total` bytes, and fails like [`Self::check`],
    /// or when the observer cancels.
    pub fn bytes(&mut self, doing: &'static str, done: u64, total: u64) -> Result<()> {
        self.begin(doing, Some(total));
        self.observer.set(done)?;
        if done.abs_diff(self.noted) < MEGABYTE {
            return Ok(());
        }
        self.noted = done;
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        let megabytes = total / MEGABYTE;
        self.note(format!("{doing}: {percent} % of {megabytes} MB"))
    }

    /// Takes note of so many objects, and fails like [`Self::bytes`].
    pub fn objects(&mut self, doing: &'static str, count: u64) -> Result<()> {
        self.begin(doing, None);
        self.observer.set(count)?;
        self.note(format!("{doing}: {count} objects"))
    }

    fn begin(&mut self, doing: &'static str, total: Option<u64>) {
        if self.doing != doing {
            self.doing = doing;
            self.observer.begin(doing, total);
        }
    }

    fn note(&mut self, progress: String) -> Result<()> {
        if self.told_at.elapsed() >= TELL_INTERVAL {
            self.told_at = Instant::now();
            self.say(&progress);
        }
        self.packing.set_progress(progress);
        self.check()
    }

    /// Tells the log.
    pub fn say(&self, what: &str) {
        (self.log)(Level::Info, &format!("packing {}: {what}", self.name));
    }
}
