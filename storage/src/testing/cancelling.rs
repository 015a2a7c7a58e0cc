//! An observer that cancels after some calls.

use crate::log::Level;
use crate::observer::{Cancelled, Observer};

/// An observer that cancels, and writes down what it was told.
#[derive(Debug, Default)]
pub struct Cancelling {
    /// How many calls of `set` succeed.
    left: usize,
    /// The phases and lines, in order.
    pub heard: Vec<String>,
}

impl Cancelling {
    /// Cancels when so many calls of `set` have succeeded, and from then on.
    pub fn after(calls: usize) -> Self {
        Self {
            left: calls,
            heard: Vec::new(),
        }
    }
}

impl Observer for Cancelling {
    fn begin(&mut self, doing: &'static str, _total: Option<u64>) {
        self.heard.push(doing.to_owned());
    }

    fn set(&mut self, _done: u64) -> Result<(), Cancelled> {
        self.left = self.left.checked_sub(1).ok_or(Cancelled)?;
        Ok(())
    }

    fn say(&mut self, _level: Level, line: &str) {
        self.heard.push(line.to_owned());
    }
}
