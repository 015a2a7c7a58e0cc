//! Conflict resolution: where stores meet a revision that they did not see.

use zeo_proto::Oid;

use crate::conflict;

/// The three records that a merge starts from.
#[derive(Clone, Copy)]
pub(crate) struct Merge<'a> {
    /// What both sides started from.
    pub old: &'a [u8],
    /// What is committed.
    pub committed: &'a [u8],
    /// What the transaction at work would write.
    pub new: &'a [u8],
}

/// The merged record; `None` when there is a conflict that can't be
/// resolved. As from Python, the client is told no more than that.
pub(crate) fn resolve_conflict(_oid: Oid, merge: Merge<'_>) -> Option<Vec<u8>> {
    conflict::resolve(merge.old, merge.committed, merge.new).ok()
}
