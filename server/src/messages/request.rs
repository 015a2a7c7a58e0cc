//! What a coordinator can be asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crossbeam_channel::Sender;
use zeo_proto::exception::Exception;
use zeo_proto::{Oid, Tid};
use zeo_storage::Error;
use zeo_storage::storage::{Commit, OutsideChange, Prepared};

pub use crate::messages::client_id::ClientId;
use crate::messages::mailbox::Mailbox;
use crate::messages::report::CoordinatorReport;

/// What a transaction needs to itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Objects that it writes.
    pub stored: Vec<Oid>,
    /// Objects that must stay as they are.
    pub checked: Vec<Oid>,
    /// It needs the whole storage: undo, restore, deletion, a given tid.
    pub whole: bool,
}

/// Whether the server itself is at work on a vote: meanwhile its client's time does not run.
#[derive(Debug, Clone, Default)]
pub struct AtWork(Arc<AtomicBool>);

impl AtWork {
    /// Does what the server has to do for the vote.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.store(true, Relaxed);
        let result = work();
        self.0.store(false, Relaxed);
        result
    }

    /// True while the server is at work.
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// What sessions, the log writer and the server ask for.
#[derive(Debug)]
pub enum Request {
    /// Enter a client for invalidations; answered by `Event::Registered`.
    Subscribe {
        /// The client.
        client: ClientId,
        /// Where it is reached.
        mailbox: Mailbox,
    },
    /// The client is gone: forget it, and abort what it had not finished.
    Unsubscribe {
        /// The client.
        client: ClientId,
    },
    /// Locks for a vote; answered by `Event::Granted` when it is its turn.
    Lock {
        /// The client.
        client: ClientId,
        /// Which vote of the client it is for; the grant names it again.
        vote: u64,
        /// What it needs.
        claim: Claim,
        /// Whether its deadline has to wait.
        at_work: AtWork,
    },
    /// The transaction is aborted: its locks go to the next.
    Release {
        /// The client.
        client: ClientId,
    },
    /// The client has ended its sending half: a vote of it that still waits for
    /// locks is given up, answered by `Event::GivenUp`. One that has its locks
    /// goes on.
    GiveUp {
        /// The client.
        client: ClientId,
        /// Which vote of the client it is.
        vote: u64,
    },
    /// Commit; answered by `Event::Finished` or `Event::FinishFailed`.
    Finish {
        /// The client.
        client: ClientId,
        /// The transaction, prepared under the client's locks.
        prepared: Prepared,
        /// The tid to commit under, if the client gave one.
        tid: Option<Tid>,
    },
    /// What changed since; answered by `Event::Invalidations`.
    Invalidations {
        /// The client.
        client: ClientId,
        /// The last tid that the client has seen.
        since: Tid,
    },
    /// The log writer has dropped a transaction that was refused.
    Refused {
        /// The client.
        client: ClientId,
        /// Why.
        why: Exception,
    },
    /// The log writer is done with a batch: it is durable.
    Appended {
        /// The clients, one a transaction.
        clients: Vec<ClientId>,
        /// The transactions, in the order of their tids.
        commits: Vec<Commit>,
        /// Clients whose transactions the storage has refused, and why.
        refused: Vec<(ClientId, Error)>,
        /// What others have changed, in the order of tids.
        outside: Vec<OutsideChange>,
    },
    /// The log writer could not append a batch.
    NotAppended {
        /// The clients, one a transaction.
        clients: Vec<ClientId>,
        /// Why.
        why: Error,
    },
    /// Find out what others have changed in the storage up to now, and announce it; answered by
    /// `Event::Polled`. Without a client: because the storage has asked for it.
    Poll {
        /// The client.
        client: Option<ClientId>,
    },
    /// The log writer has polled.
    Polled {
        /// What others have changed, in the order of tids.
        found: zeo_storage::Result<Vec<OutsideChange>>,
    },
    /// Tell all clients how many objects there are now, in how many bytes.
    TellSizes {
        /// Hears when it is in all mailboxes. Must have room for that.
        told: Sender<()>,
    },
    /// Tell who holds locks, who waits for them, and how far the invalidation queue reaches.
    Inspect {
        /// Gets the answer. Must have room for it.
        report: Sender<CoordinatorReport>,
    },
    /// Pass this on to the log writer, which answers: a sign that both are alive.
    Beat {
        /// Hears of it. Must have room for that.
        told: Sender<()>,
    },
    /// Grant no more locks, let those finish who have voted, then close all clients and end.
    Stop {
        /// Until then is waited for those who have voted.
        until: Instant,
    },
}
