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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_add_up_and_others_stay_in_conflict() {
        let length = |n: u8| [b"cBTrees.Length\nLength\n.K", &[n, b'.'][..]].concat();
        let (old, committed, new) = (length(1), length(4), length(3));
        let merge = Merge {
            old: &old,
            committed: &committed,
            new: &new,
        };
        let merged = resolve_conflict(Oid::new(1), merge).unwrap();
        assert!(merged.ends_with(b"K\x06."));
        let new = b"capp\nThing\n.N.";
        assert_eq!(resolve_conflict(Oid::new(1), Merge { new, ..merge }), None);
    }
}
