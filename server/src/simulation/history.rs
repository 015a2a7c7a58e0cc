//! What has been committed, by the words of the clients that committed it,
//! and what must be true of it.

use std::collections::BTreeMap;

use zeo_proto::{Oid, Tid};

/// One transaction as its client stored it: (object, the serial that it was
/// made from).
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    pub(super) stores: Vec<(Oid, Tid)>,
    pub(super) checks: Vec<(Oid, Tid)>,
}

impl Work {
    pub(super) fn oids(&self) -> Vec<Oid> {
        self.stores.iter().map(|&(oid, _)| oid).collect()
    }
}

/// All transactions that were acknowledged.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) finished: BTreeMap<Tid, Work>,
    /// Transactions given to finish whose answer never came: they may be
    /// committed or not.
    pub(super) unknown: usize,
}

impl History {
    /// Replays it in the order of tids: nothing was stored over a revision
    /// that its client did not see, and nothing that was to stay had changed.
    /// Returns where every object is.
    pub(super) fn replay(&self) -> Result<BTreeMap<Oid, Tid>, String> {
        let mut current = BTreeMap::new();
        for (&tid, work) in &self.finished {
            for &(oid, read) in work.stores.iter().chain(&work.checks) {
                let committed = current.get(&oid).copied().unwrap_or(Tid::ZERO);
                if committed != read {
                    return Err(format!(
                        "{tid} was made from {oid} at {read}, which was at {committed}"
                    ));
                }
            }
            current.extend(work.stores.iter().map(|&(oid, _)| (oid, tid)));
        }
        Ok(current)
    }
}
