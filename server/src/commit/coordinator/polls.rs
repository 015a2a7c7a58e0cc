//! Polls for what others have changed in a storage.

use std::time::Instant;

use crate::messages::request::ClientId;

/// When the storage is asked what others have changed, and for whom.
///
/// Never more than one poll is with the log writer. Who asks meanwhile waits for the next one: the
/// one under way may have begun before.
#[derive(Default)]
pub(super) struct Polls {
    /// Those who wait for the poll that the log writer has; `None`: it has none.
    pub(super) under_way: Option<Vec<ClientId>>,
    /// Those who wait for the next one; `None`: nobody wants it.
    pub(super) wanted: Option<Vec<ClientId>>,
    /// When it is time for one that nobody has asked for.
    pub(super) due: Option<Instant>,
    /// The last one has failed.
    pub(super) failing: bool,
}

impl Polls {
    /// None yet; the first one is due then.
    pub fn starting(due: Option<Instant>) -> Self {
        Self {
            due,
            ..Self::default()
        }
    }

    /// When the next poll is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}
