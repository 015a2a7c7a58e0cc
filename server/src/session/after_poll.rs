//! Answers that wait until the client has been told of others' changes.

use zeo_proto::exception::Exception;
use zeo_storage::error::Conflict;

/// An answer that waits for a poll.
pub(super) enum AfterPoll {
    /// To a ping, if the poll succeeds.
    Pong,
    /// To a load: there is no revision from before.
    NoRevision,
    /// The conflicts that a vote leaves to the client.
    Conflicts(Vec<Conflict>),
    /// The error of a vote.
    Failed(Exception),
}
