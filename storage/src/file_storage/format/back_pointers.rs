//! Long chains of back-pointers, as undos of undos leave them.

use std::collections::HashMap;

/// The data that records refer to by many back-pointers, so that a long chain is not followed again
/// for each of its records. Only chains of at least [`LONG_WAY_STEPS`] are noted.
pub(crate) struct Followed<P>(HashMap<u64, P>);

/// How many back-pointers make a long chain.
pub(crate) const LONG_WAY_STEPS: u64 = 8;

impl<P> Default for Followed<P> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<P: Copy> Followed<P> {
    /// How many places are noted at most.
    const NOTED_MAX: usize = 1 << 12;

    /// What the chain from the record at `position` ends at, if that is known.
    pub fn get(&self, position: u64) -> Option<P> {
        if self.0.is_empty() {
            None
        } else {
            self.0.get(&position).copied()
        }
    }

    /// Notes what the chain ends at.
    pub fn note(&mut self, position: u64, place: P) {
        if self.0.len() >= Self::NOTED_MAX {
            self.0.clear();
        }
        self.0.insert(position, place);
    }
}
