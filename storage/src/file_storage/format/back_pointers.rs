//! Long chains of back-pointers, as undos of undos leave them.

use std::collections::HashMap;

/// Where records lead over many back-pointers, so that a long chain of them is
/// not gone through anew for each. To be noted are those that are a
/// [`LONG_WAY_STEPS`] way off.
pub(crate) struct Followed<P>(HashMap<u64, P>);

/// How many back-pointers are a long way.
pub(crate) const LONG_WAY_STEPS: u64 = 8;

impl<P> Default for Followed<P> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<P: Copy> Followed<P> {
    /// No more than this is noted.
    const NOTED_MAX: usize = 1 << 12;

    /// Where the record at `position` leads, if that is known.
    pub fn get(&self, position: u64) -> Option<P> {
        if self.0.is_empty() {
            None
        } else {
            self.0.get(&position).copied()
        }
    }

    /// Takes note of where it leads.
    pub fn note(&mut self, position: u64, place: P) {
        if self.0.len() >= Self::NOTED_MAX {
            self.0.clear();
        }
        self.0.insert(position, place);
    }
}
