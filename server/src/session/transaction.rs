//! A client's transaction, from its begin to its end.

use zeo_proto::Value;
use zeo_storage::storage::{Prepared, TransactionMeta};

use super::commit_log::CommitLog;
use crate::messages::request::AtWork;

/// The client's current transaction.
pub(super) struct Transaction {
    /// The client's id for the transaction.
    pub(super) id: Value<'static>,
    pub(super) meta: TransactionMeta,
    pub(super) log: CommitLog,
    pub(super) phase: Phase,
    /// Counts the votes of the session: a grant names the vote it is for.
    pub(super) vote: u64,
    /// The client has ended its sending half: a vote does not wait for locks.
    pub(super) gives_up: bool,
    /// Whether the server is at work on its vote.
    pub(super) at_work: AtWork,
}

/// How far a transaction is; the values are the ids of calls to be answered.
pub(super) enum Phase {
    Open,
    /// The vote waits for its locks.
    Waiting(Value<'static>),
    /// The locks are granted; the objects are being checked.
    Preparing(Value<'static>),
    Voted(Prepared),
    /// With the log writer: can't be aborted any more.
    Finishing(Value<'static>),
}

impl Transaction {
    /// The transaction's state in the words of Python's log.
    pub(super) fn describe(&self) -> &'static str {
        match self.phase {
            Phase::Voted(_) | Phase::Finishing(_) => "locked",
            _ => "unlocked",
        }
    }

    /// True once the transaction can't be aborted any more.
    pub(super) fn is_finishing(&self) -> bool {
        matches!(self.phase, Phase::Finishing(_))
    }

    /// True while a call on the transaction is under way, so that the next
    /// one has to wait.
    pub(super) fn is_busy(&self) -> bool {
        matches!(
            self.phase,
            Phase::Waiting(_) | Phase::Preparing(_) | Phase::Finishing(_)
        )
    }
}
