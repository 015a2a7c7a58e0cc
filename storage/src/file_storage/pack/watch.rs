//! What a pack says of itself while it works, and what ends it early.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::file_storage::storage::FileStorage;
use crate::log::Level;
use crate::{Error, Result};

/// How often the log hears of a long pack.
const TELL: Duration = Duration::from_secs(10);
const MEGABYTE: u64 = 1_000_000;

/// Looks at a pack at work.
pub(super) struct Watch<'a> {
    storage: &'a FileStorage,
    told_at: Instant,
    noted: u64,
}

impl<'a> Watch<'a> {
    pub fn new(storage: &'a FileStorage) -> Self {
        Self {
            storage,
            told_at: Instant::now(),
            noted: 0,
        }
    }

    /// Fails when the storage is being closed or has stopped writing.
    pub fn check(&self) -> Result<()> {
        check(self.storage)
    }

    /// Takes note of `done` of `total` bytes, and fails like [`Self::check`].
    pub fn bytes(&mut self, doing: &str, done: u64, total: u64) -> Result<()> {
        if done.abs_diff(self.noted) < MEGABYTE {
            return Ok(());
        }
        self.noted = done;
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        let megabytes = total / MEGABYTE;
        self.note(format!("{doing}: {percent} % of {megabytes} MB"))
    }

    /// Takes note of so many objects, and fails like [`Self::check`].
    pub fn objects(&mut self, doing: &str, count: u64) -> Result<()> {
        self.note(format!("{doing}: {count} objects"))
    }

    fn note(&mut self, progress: String) -> Result<()> {
        if self.told_at.elapsed() >= TELL {
            self.told_at = Instant::now();
            self.say(&progress);
        }
        self.storage.packing.set_progress(progress);
        self.check()
    }

    /// Tells the log.
    pub fn say(&self, what: &str) {
        let name = &self.storage.name;
        self.storage
            .say(Level::Info, &format!("packing {name}: {what}"));
    }
}

pub(super) fn check(storage: &FileStorage) -> Result<()> {
    if storage.closed.load(Ordering::Acquire) {
        return Err(Error::Pack(
            "the pack ends because the storage is closed".to_owned(),
        ));
    }
    storage.check_writable()
}
