//! Where things stand after a pack.

/// How far positions behind the pack time move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    from: u64,
    to: u64,
}

impl Move {
    /// What stood at `from` in the old file stands at `to` in the packed one.
    pub fn new(from: u64, to: u64) -> Self {
        Self { from, to }
    }

    /// Where what moves begins in the old file: at the pack time.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// True when a pack would free nothing.
    pub fn is_nothing(&self) -> bool {
        self.from == self.to
    }

    /// Where a position behind the pack time is now.
    pub fn apply(&self, position: u64) -> u64 {
        position.saturating_sub(self.from).saturating_add(self.to)
    }
}
