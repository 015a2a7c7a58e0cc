//! What a pack says of itself while it works, and what ends it early.

use std::time::{Duration, Instant};

use super::state::PackState;
use crate::Result;
use crate::log::{Level, Log};
use crate::observer::Observer;
use crate::storage::Unit;

/// How often the log hears of a long pack.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
const MEGABYTE: u64 = 1_000_000;

/// Looks at a pack at work.
pub(crate) struct Watch<'a> {
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
        self.note(doing, done, Some(total), Unit::Bytes)
    }

    /// Takes note of so many objects, and fails like [`Self::bytes`].
    pub fn objects(&mut self, doing: &'static str, count: u64) -> Result<()> {
        self.begin(doing, None);
        self.observer.set(count)?;
        self.note(doing, count, None, Unit::Objects)
    }

    fn begin(&mut self, doing: &'static str, total: Option<u64>) {
        if self.doing != doing {
            self.doing = doing;
            self.observer.begin(doing, total);
        }
    }

    fn note(
        &mut self,
        doing: &'static str,
        done: u64,
        total: Option<u64>,
        unit: Unit,
    ) -> Result<()> {
        let progress = self.packing.note(doing, done, total, unit);
        if let Some(progress) = progress
            && self.told_at.elapsed() >= TELL_INTERVAL
        {
            self.told_at = Instant::now();
            self.say(&progress.to_string());
        }
        self.check()
    }

    /// Tells the log.
    pub fn say(&self, what: &str) {
        (self.log)(Level::Info, &format!("packing {}: {what}", self.name));
    }
}
