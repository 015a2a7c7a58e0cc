//! What a connection waits for.

use std::time::Duration;

use crate::messages::mailbox::Inbox;

/// How long nothing happens for a client until its buffers are given back.
pub(super) const REST: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2000 });

/// What to wait for, beside the mailbox and the client's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interest {
    /// Until there is something to read.
    pub(super) read: bool,
    /// Until there is room to write.
    pub(super) write: bool,
    /// There is room, and more to write: the wait is only a look.
    pub(super) busy: bool,
    /// There is nothing to write, so that others may.
    pub(super) lends: bool,
    /// There are buffers to give back after [`REST`].
    pub(super) has_room: bool,
}

impl Interest {
    /// Before the wait: whether it is one, and not only a look.
    pub(crate) fn fall_asleep(self, inbox: &Inbox) -> bool {
        !self.busy && inbox.fall_asleep(self.lends)
    }
}
