//! What a session is told by others, through its mailbox.

use std::sync::Arc;

use zeo_proto::exception::Exception;
use zeo_proto::{Oid, Tid};

use crate::messages::notice::Notice;

/// What a session is told.
pub enum Event {
    /// It is entered for invalidations; the last tid at that moment.
    Registered(Tid),
    /// The locks that its vote of this number asked for are its own.
    Granted(u64),
    /// Its transaction is durable and visible.
    Finished(Tid),
    /// Its transaction could not be written.
    FinishFailed(Exception),
    /// A message to pass on: another client's invalidation, or new sizes.
    Notice(Arc<Notice>),
    /// The answer to `getInvalidations`: the last tid and the objects
    /// changed since; `None` when the queue does not reach back so far.
    Invalidations(Option<(Tid, Vec<Oid>)>),
    /// The helper thread with this job is done; the session has what is left to do.
    JobDone(u64),
}

impl Event {
    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Event::Notice(notice) => notice.weight(),
            Event::Invalidations(Some((_, oids))) => 64 + size_of_val(&**oids),
            _ => 64,
        }
    }
}
