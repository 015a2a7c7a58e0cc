//! What a transaction on base and changes is to the changes alone.

use zeo_proto::{Oid, Tid};

use super::{DemoStorage, unsupported};
use crate::conflict::vote::Conflicts;
use crate::storage::{OnConflict, Op, TransactionMeta, Vote};
use crate::{Error, Result, Storage};

/// Lays a transaction out in the changes. Its serials are checked here: the
/// changes don't know those of the base.
pub(super) fn prepare(
    demo: &DemoStorage,
    meta: &TransactionMeta,
    ops: &mut dyn Iterator<Item = Result<Op>>,
    on_conflict: OnConflict,
) -> Result<Vote> {
    let base = demo.base.last_tid();
    if let Some(tid) = meta.tid
        && tid <= base
    {
        let what = format!("it is not later than the last transaction of the base, {base}");
        return Err(Error::Value(format!(
            "transaction {tid} can't be added: {what}"
        )));
    }
    let mut voting = Voting {
        demo,
        conflicts: Conflicts::new(on_conflict),
    };
    let mut changed = ops.filter_map(|op| op.and_then(|op| voting.change(op)).transpose());
    let mut vote = demo.changes.prepare(meta, &mut changed, on_conflict)?;
    if let Some(conflicts) = voting.conflicts.take_reported() {
        return Ok(Vote::Conflicts(conflicts));
    }
    if let Vote::Ready(prepared) = &mut vote {
        prepared.resolved.extend(voting.conflicts.resolved);
        prepared.merged.extend(voting.conflicts.merged);
    }
    Ok(vote)
}

struct Voting<'a> {
    demo: &'a DemoStorage,
    conflicts: Conflicts<'a>,
}

impl Voting<'_> {
    /// The step for the changes, if there is one.
    fn change(&mut self, op: Op) -> Result<Option<Op>> {
        match op {
            Op::Store { oid, serial, data } => self.store(oid, serial, data),
            Op::Check { oid, serial } => self.check(oid, serial),
            Op::Undo { .. } => Ok(Some(op)),
            Op::Blob { oid, .. } => Ok(Some(op).filter(|_| !self.conflicts.has(oid))),
            Op::Delete { .. } => Err(unsupported("deleteObject")),
            Op::Restore { .. } => Err(unsupported("restore")),
        }
    }

    fn store(&mut self, oid: Oid, read: Tid, data: Vec<u8>) -> Result<Option<Op>> {
        let (current, serial) = self.serials(oid, read)?;
        let load = |serial| self.demo.load_serial(oid, serial);
        let settled = self.conflicts.settle((oid, read, data), current, load)?;
        Ok(settled.map(|data| Op::Store { oid, serial, data }))
    }

    fn check(&self, oid: Oid, read: Tid) -> Result<Option<Op>> {
        let committed = self.demo.get_tid(oid)?;
        if committed == read {
            Ok(None)
        } else {
            Err(Error::ReadConflict {
                oid,
                committed,
                read,
            })
        }
    }

    /// The current serial, if there is such an object, and the one on which
    /// the changes insist. They differ where undo has taken all changes of an
    /// object back: then the base has the current revision. (With Python's,
    /// such an object can't be changed again.)
    fn serials(&self, oid: Oid, read: Tid) -> Result<(Option<Tid>, Tid)> {
        match self.demo.changes.get_tid(oid) {
            Err(Error::NoObject(_)) => {}
            changed => return changed.map(|tid| (Some(tid), tid)),
        }
        let current = match self.demo.base.get_tid(oid) {
            Err(Error::NoObject(_)) => None,
            found => Some(found?),
        };
        let taken_back = self.demo.changes_of(oid, 1)?;
        let insisted = taken_back.first().map(|last| last.tid);
        let serial = match current {
            Some(current) => insisted.unwrap_or(current),
            None => read,
        };
        Ok((current, serial))
    }
}
