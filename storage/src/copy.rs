//! Writing transactions as they were in another storage, one after the other.

use crate::storage::{Commit, OnConflict, Op, TransactionMeta, Vote};
use crate::{Error, Result, Storage};

/// Commits one transaction under the tid in `meta`. Nobody else may commit
/// meanwhile.
pub fn commit(
    storage: &dyn Storage,
    meta: &TransactionMeta,
    ops: &mut dyn Iterator<Item = Result<Op>>,
) -> Result<()> {
    let Some(tid) = meta.tid else {
        return Err(Error::Value(
            "a copy needs the tid of its transaction".to_owned(),
        ));
    };
    match storage.prepare(meta, ops, OnConflict::Resolve)? {
        Vote::Ready(prepared) => {
            let mut batch = [Commit { tid, prepared }];
            storage.append(&mut batch)?;
            for commit in &batch {
                storage.publish(commit);
            }
            Ok(())
        }
        Vote::Conflicts(_) => {
            let what = format!("transaction {tid} conflicts with another one");
            Err(Error::Transaction(what))
        }
    }
}
