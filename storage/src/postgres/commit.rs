//! Step 1 of a commit: what a transaction wants, checked against what is committed.

use std::collections::{BTreeMap, HashMap};

use zeo_proto::{Oid, Tid};

use super::blobs::Uploads;
use super::ids::{number, oid_of, tid_of};
use super::lockers::{Held, PACK_LOCK};
use super::session::value;
use super::sql::USED_OIDS;
use super::storage::PostgresStorage;
use crate::blob::is_blob;
use crate::conflict::vote::Conflicts;
use crate::error::Conflict;
use crate::storage::{Commit, OnConflict, Op, Prepared, TransactionMeta, Vote};
use crate::{Error, Result};

/// What a vote leaves for the append.
pub(super) struct Work {
    pub meta: TransactionMeta,
    /// None once they are given back.
    pub held: Option<Held>,
    pub records: BTreeMap<Oid, Record>,
    /// Objects that are to stay as they are, with their serials.
    pub checked: BTreeMap<Oid, Tid>,
    pub has_blobs: bool,
    /// The blobs, in a transaction that is open; taken by the first attempt to commit it.
    pub uploads: Option<Box<Uploads>>,
}

/// A new revision.
pub(super) struct Record {
    /// The serial of the one before, 0 for a new object; -1 if that does not matter.
    pub base: i64,
    /// None: the object is gone.
    pub state: Option<Vec<u8>>,
}

/// The serial that does not matter.
const ANY: i64 = -1;

impl PostgresStorage {
    pub(super) fn vote(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict<'_>,
    ) -> Result<Vote> {
        let ops = ops.collect::<Result<Vec<_>>>()?;
        // Before anything is locked: that may take long.
        let uploads = self.upload(&ops)?;
        let undone = self.undone_objects(&ops)?;
        let (held, serials) = self.lock_all(&ops, &undone)?;
        let serials: HashMap<Oid, Tid> = serials.into_iter().collect();
        let mut voting = Voting {
            storage: self,
            serials,
            records: BTreeMap::new(),
            checked: BTreeMap::new(),
            conflicts: Conflicts::new(on_conflict),
            undone: Vec::new(),
            undone_blobs: BTreeMap::new(),
        };
        for op in ops {
            voting.apply(op, on_conflict)?;
        }
        if let Some(conflicts) = voting.conflicts.take_reported() {
            return Ok(Vote::Conflicts(conflicts));
        }
        let uploads = self.upload_again(uploads, voting.undone_blobs)?;
        let oids = voting.records.keys().copied().collect();
        // What is written is looked at anyway.
        voting
            .checked
            .retain(|oid, _| !voting.records.contains_key(oid));
        let work = Work {
            meta: meta.clone(),
            held: Some(held),
            records: voting.records,
            checked: voting.checked,
            has_blobs: uploads.is_some(),
            uploads,
        };
        let mut prepared = Prepared::new(oids, work);
        prepared.resolved = voting.undone;
        prepared.resolved.extend(&voting.conflicts.resolved);
        prepared.merged = voting.conflicts.merged;
        Ok(Vote::Ready(prepared))
    }

    /// Makes a transaction of this server visible.
    pub(super) fn publish_own(&self, commit: &Commit) {
        if let Ok(work) = commit.prepared.work::<Work>() {
            let records = work.records.iter();
            let states = records.map(|(&oid, record)| (oid, record.state.as_deref()));
            self.recent.changed(commit.tid, states);
        }
        self.publish_up_to(commit.tid);
    }

    /// Locks everything that the transaction is about.
    fn lock_all(&self, ops: &[Op], undone: &[Oid]) -> Result<(Held, Vec<(Oid, Tid)>)> {
        let (mut written, mut checked) = (BTreeMap::new(), BTreeMap::new());
        for op in ops {
            match op {
                Op::Store { oid, .. } | Op::Delete { oid, .. } | Op::Restore { oid, .. } => {
                    written.insert(number(*oid)?, ());
                }
                Op::Check { oid, .. } => {
                    checked.insert(number(*oid)?, ());
                }
                // What is undone must not be packed before it is there again.
                Op::Undo { .. } => {
                    checked.insert(PACK_LOCK, ());
                }
                Op::Blob { .. } => {}
            }
        }
        for &oid in undone {
            written.insert(number(oid)?, ());
        }
        checked.retain(|oid, ()| !written.contains_key(oid));
        if let Some((&last, ())) = written.last_key_value() {
            self.use_oids(last)?;
        }
        let both = (written.into_keys().collect(), checked.into_keys().collect());
        self.lockers.lock(both, self.settings.lock_timeout)
    }

    /// Raises the sequence of oids above those that others have given out.
    pub(super) fn use_oids(&self, last: i64) -> Result<()> {
        if !self.oids.exceeds(last) {
            return Ok(());
        }
        let block = last / 16 + 1;
        let raised = self.query("raising the sequence of oids", USED_OIDS, &[&block])?;
        let raised = raised
            .first()
            .map(|row| value::<Option<i64>>(row, 0))
            .transpose()?;
        self.oids.used(raised.flatten().unwrap_or(block) * 16);
        Ok(())
    }
}

/// A transaction that is being checked.
struct Voting<'a> {
    storage: &'a PostgresStorage,
    /// The current serials of all that exist.
    serials: HashMap<Oid, Tid>,
    records: BTreeMap<Oid, Record>,
    checked: BTreeMap<Oid, Tid>,
    conflicts: Conflicts<'a>,
    undone: Vec<Oid>,
    /// Blobs that are brought back: objects and serials.
    undone_blobs: BTreeMap<i64, i64>,
}

impl Voting<'_> {
    fn apply(&mut self, op: Op, on_conflict: OnConflict<'_>) -> Result<()> {
        match op {
            Op::Store { oid, serial, data } => self.store(oid, serial, data),
            Op::Check { oid, serial } => self.check(oid, serial),
            Op::Delete { oid, serial } => self.delete(oid, serial),
            Op::Restore { oid, data, .. } => {
                self.records.insert(
                    oid,
                    Record {
                        base: ANY,
                        state: data,
                    },
                );
                Ok(())
            }
            Op::Undo { tid } => self.undo(tid, on_conflict),
            // Uploaded already.
            Op::Blob { .. } => Ok(()),
        }
    }

    /// The serial on which a new revision of the object stands, as in the tables.
    fn base(&self, oid: Oid) -> Result<i64> {
        self.serials.get(&oid).map_or(Ok(0), |&tid| tid_of(tid))
    }

    fn store(&mut self, oid: Oid, read: Tid, data: Vec<u8>) -> Result<()> {
        if data.is_empty() {
            return Err(Error::Value(format!(
                "object {oid} can't be stored with no data"
            )));
        }
        let committed = self.serials.get(&oid).copied();
        let load = |serial| self.storage.state(oid, serial);
        let settled = self.conflicts.settle((oid, read, data), committed, load)?;
        if let Some(data) = settled {
            let record = Record {
                base: self.base(oid)?,
                state: Some(data),
            };
            self.records.insert(oid, record);
        }
        Ok(())
    }

    fn check(&mut self, oid: Oid, read: Tid) -> Result<()> {
        let committed = *self.serials.get(&oid).ok_or(Error::NoObject(oid))?;
        if committed == read {
            self.checked.insert(oid, read);
            return Ok(());
        }
        Err(Error::ReadConflict {
            oid,
            committed,
            read,
        })
    }

    fn delete(&mut self, oid: Oid, read: Tid) -> Result<()> {
        let committed = *self.serials.get(&oid).ok_or(Error::NoObject(oid))?;
        if committed != read {
            return Err(Error::Conflict(Box::new(Conflict::untried(
                oid,
                (committed, read),
                Vec::new(),
            ))));
        }
        let record = Record {
            base: self.base(oid)?,
            state: None,
        };
        self.records.insert(oid, record);
        Ok(())
    }

    fn undo(&mut self, tid: Tid, on_conflict: OnConflict<'_>) -> Result<()> {
        for undone in self.storage.undo(tid, on_conflict, &self.records)? {
            self.undone.push(undone.oid);
            let is_blob = undone.state.as_deref().is_some_and(is_blob);
            let oid = number(undone.oid)?;
            // Another undo may have brought another one back.
            match undone.state_of.filter(|_| is_blob) {
                Some(serial) => self.undone_blobs.insert(oid, serial),
                None => self.undone_blobs.remove(&oid),
            };
            self.conflicts.merged.extend(undone.merged);
            let record = Record {
                base: undone.base,
                state: undone.state,
            };
            self.records.insert(undone.oid, record);
        }
        Ok(())
    }
}

impl PostgresStorage {
    /// The objects of all transactions that are to be undone.
    fn undone_objects(&self, ops: &[Op]) -> Result<Vec<Oid>> {
        let mut oids = Vec::new();
        for op in ops {
            if let Op::Undo { tid } = op {
                for row in self.rows_to_undo(*tid)? {
                    oids.push(oid_of(value(&row, 0)?));
                }
            }
        }
        Ok(oids)
    }
}
