//! What was given to a storage, and so has to be there.

use zeo_proto::{Oid, Tid};

/// A transaction, as it was given to the storage.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    pub tid: Tid,
    /// The contents of blobs.
    pub blobs: Vec<(Oid, String)>,
    /// What the root refers to from now on, if it was changed.
    pub root: Option<Vec<Oid>>,
}

/// What was given, and what must be there.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub given: Vec<Txn>,
    /// How many of them were acknowledged, or were there after a start.
    pub acknowledged: usize,
    /// Old revisions may be gone.
    pub packed: bool,
    pub next_oid: u64,
    pub keep_old: bool,
}

impl Model {
    /// What the root refers to, which no pack takes away.
    pub fn referred(&self) -> &[Oid] {
        let roots = self.given.iter().rev().filter_map(|txn| txn.root.as_ref());
        roots.into_iter().next().map_or(&[], |oids| oids)
    }

    /// The revisions of a blob, the last one first.
    pub fn revisions(&self, oid: Oid) -> impl Iterator<Item = (Tid, &str)> {
        self.given.iter().rev().flat_map(move |txn| {
            let blobs = txn.blobs.iter().filter(move |(blob, _)| *blob == oid);
            blobs.map(|(_, content)| (txn.tid, &**content))
        })
    }

    pub fn last_tid(&self) -> Tid {
        self.given.last().map_or(Tid::ZERO, |txn| txn.tid)
    }

    pub fn root_tid(&self) -> Tid {
        let mut roots = self.given.iter().rev().filter(|txn| txn.root.is_some());
        roots.next().map_or(Tid::ZERO, |txn| txn.tid)
    }
}
