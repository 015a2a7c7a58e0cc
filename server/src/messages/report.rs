//! What a coordinator tells of itself, for the monitor.

use std::time::Duration;

use zeo_proto::{Oid, Tid};

use crate::messages::client_id::ClientId;

/// A coordinator at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoordinatorReport {
    /// Who holds locks, and for how long; the longest first. The client may have gone: then its
    /// transaction is being written.
    pub holding: Vec<(ClientId, Duration)>,
    /// How many votes wait for locks.
    pub votes_waiting: usize,
    /// Those of them that could be found quickly, in the order in which they came.
    pub waiting: Vec<Wait>,
    /// How many tasks wait for the log writer.
    pub queued_appends: usize,
    /// The invalidation queue.
    pub queue: QueueReport,
}

/// A vote that waits for locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Whose vote it is.
    pub client: ClientId,
    /// The first object that it can't lock yet; `None`: the whole storage.
    pub oid: Option<Oid>,
    /// Who is before it there, some of them.
    pub behind: Vec<ClientId>,
}

/// How far an invalidation queue reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueReport {
    /// How many transactions it holds.
    pub transactions: usize,
    /// How many it can hold.
    pub limit: usize,
    /// The tid since which it can tell all changes.
    pub oldest: Option<Tid>,
}
