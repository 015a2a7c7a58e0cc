//! What a session is told by others, through its mailbox.

use std::sync::Arc;

use zeo_proto::exception::Exception;
use zeo_proto::{Oid, Tid};

use crate::messages::notice::Notice;

/// What a session is told. What is large and rare stands in a box: a mailbox keeps room for 31 of
/// these.
pub enum Event {
    /// It is entered for invalidations; the last tid at that moment.
    Registered(Tid),
    /// The locks for its vote of this number are granted.
    Granted(u64),
    /// Its vote of this number does not wait for its locks any longer, as was
    /// asked.
    GivenUp(u64),
    /// Its transaction is durable and visible.
    Finished(Tid),
    /// Its transaction could not be written.
    FinishFailed(Box<Exception>),
    /// A message to pass on: another client's invalidation, or new sizes.
    Notice(Arc<Notice>),
    /// The answer to `getInvalidations`.
    Invalidations(Box<Missed>),
    /// What others had changed in the storage has been announced; or it could not be found out.
    Polled(Result<(), Box<Exception>>),
    /// The helper thread with this job is done; the session has what is left to do.
    JobDone(u64),
}

/// What a client has missed since a tid.
#[derive(Debug, PartialEq, Eq)]
pub enum Missed {
    /// The last tid and the objects changed since.
    Objects(Tid, Vec<Oid>),
    /// The same; but the queue reaches back beyond that tid, and has no such transaction.
    Between(Tid, Vec<Oid>),
    /// More than the queue holds; the storage may still tell.
    TooMuch,
    /// Not known: others have changed the storage, and it can't say what.
    Unknown,
}

impl Event {
    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Event::Notice(notice) => notice.weight(),
            Event::Invalidations(missed) => match &**missed {
                Missed::Objects(_, oids) | Missed::Between(_, oids) => 64 + size_of_val(&**oids),
                _ => 64,
            },
            _ => 64,
        }
    }
}
