//! A transaction of which it is not known whether it is committed.

use std::collections::BTreeSet;

use zeo_proto::{Oid, Tid};
use zeo_storage::storage::TransactionMeta;

/// A transaction that was being finished when the connection was lost.
#[derive(Clone, Debug)]
pub struct Unfinished {
    since: Tid,
    meta: TransactionMeta,
    oids: BTreeSet<Oid>,
}

impl Unfinished {
    pub(super) fn new(since: Tid, meta: &TransactionMeta, oids: BTreeSet<Oid>) -> Self {
        let meta = meta.clone();
        Self { since, meta, oids }
    }

    /// If it is committed, its id is later than this.
    pub fn since(&self) -> Tid {
        self.since
    }

    /// What it says of itself.
    pub fn meta(&self) -> &TransactionMeta {
        &self.meta
    }

    /// The objects that it changes.
    pub fn oids(&self) -> &BTreeSet<Oid> {
        &self.oids
    }
}
