//! Step 1 of a commit: what a transaction wants, checked against what is committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use zeo_proto::{Oid, Tid};

use super::blobs::Uploads;
use super::ids::{number, number_of_known, tid_of};
use super::lockers::{Held, PACK_LOCK};
use super::oids::{BLOCK, FAR_OID, USED_OIDS};
use super::session::value;
use super::sql::LAST_OF;
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

/// How many bytes of states a transaction can have, about: PostgreSQL takes a message of less than 1 GB.
pub(super) const SIZE_MAX: usize = 960 << 20;
/// What a record takes there besides its state.
pub(super) const RECORD_ROOM: usize = 64;

/// The serial that does not matter.
const ANY: i64 = -1;

/// Tids from the year 5400 on are not taken from a client: they stand in columns of 63 bits, and only grow.
const TOO_LATE: Tid = Tid::new(0x7000 << 48);

/// The steps of a transaction.
#[derive(Default)]
struct Steps {
    ops: Vec<Op>,
    /// The objects to be written, and those that are to stay as they are.
    written: BTreeSet<i64>,
    checked: BTreeSet<i64>,
    /// Why the next one can't be made; what is wrong with one before it comes first.
    wrong: Option<Error>,
}

impl Steps {
    fn add(&mut self, storage: &PostgresStorage, op: Op) -> Result<()> {
        match &op {
            Op::Store { oid, .. } | Op::Restore { oid, .. } => {
                self.written.insert(number(*oid)?);
            }
            Op::Delete { oid, .. } => {
                self.written.insert(number_of_known(*oid)?);
            }
            Op::Check { oid, .. } => {
                self.checked.insert(number_of_known(*oid)?);
            }
            Op::Undo { tid } => {
                for oid in storage.objects_to_undo(*tid)? {
                    self.written.insert(number(oid)?);
                }
                // What is undone must not be packed before it is there again.
                self.checked.insert(PACK_LOCK);
            }
            Op::Blob { oid, .. } => {
                number(*oid)?;
            }
        }
        self.ops.push(op);
        Ok(())
    }
}

impl PostgresStorage {
    pub(super) fn vote(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict<'_>,
    ) -> Result<Vote> {
        self.check_tid(meta.tid)?;
        let steps = self.steps(ops);
        // Before anything is locked: that may take long.
        let uploads = match steps.wrong {
            None => self.upload(&steps.ops)?,
            Some(_) => None,
        };
        let (held, serials) = self.lock_all(steps.written, steps.checked)?;
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
        for op in steps.ops {
            voting.apply(op, on_conflict)?;
        }
        if let Some(why) = steps.wrong {
            return Err(why);
        }
        if let Some(conflicts) = voting.conflicts.take_reported() {
            return Ok(Vote::Conflicts(conflicts));
        }
        let uploads = self.upload_again(uploads, voting.undone_blobs)?;
        check_size(&voting.records)?;
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
            let states = records.map(|(&oid, record)| (oid, commit.tid, record.state.as_deref()));
            self.recent.changed(commit.tid, states);
        }
        self.publish_up_to(commit.tid);
    }

    /// Takes the steps up to the first that can't be made.
    fn steps(&self, ops: &mut dyn Iterator<Item = Result<Op>>) -> Steps {
        let mut steps = Steps::default();
        for op in ops {
            if let Err(why) = op.and_then(|op| steps.add(self, op)) {
                steps.wrong = Some(why);
                break;
            }
        }
        steps
    }

    /// Locks everything that the transaction is about.
    fn lock_all(
        &self,
        written: BTreeSet<i64>,
        mut checked: BTreeSet<i64>,
    ) -> Result<(Held, Vec<(Oid, Tid)>)> {
        checked.retain(|oid| !written.contains(oid));
        if let Some(&last) = written.last() {
            self.use_oids(last)?;
        }
        let both = (written.into_iter().collect(), checked.into_iter().collect());
        self.lockers.lock(both, self.settings.lock_timeout)
    }

    /// A tid that a client insists on is later than the last one, and not the storage's last for ever.
    fn check_tid(&self, tid: Option<Tid>) -> Result<()> {
        let Some(tid) = tid else { return Ok(()) };
        let last = self.published();
        if tid <= last {
            return Err(Error::Value(format!(
                "transaction {tid} can't be added: it is not later than the last one, {last}"
            )));
        }
        if tid >= TOO_LATE {
            return Err(Error::Value(format!(
                "transaction {tid} can't be added: PostgreSQL holds no tids of later ones"
            )));
        }
        Ok(())
    }

    /// Raises the sequence of oids above those that others have given out.
    pub(super) fn use_oids(&self, last: i64) -> Result<()> {
        if last >= FAR_OID || !self.oids.exceeds(last) {
            return Ok(());
        }
        self.raise_oids(last)
    }

    fn raise_oids(&self, last: i64) -> Result<()> {
        let block = last / BLOCK + 1;
        let raised = self.query("raising the sequence of oids", USED_OIDS, &[&block])?;
        let raised = raised.first().map(|row| value::<Option<i64>>(row, 0));
        let block = raised.transpose()?.flatten().unwrap_or(block);
        self.oids.used(block.saturating_mul(BLOCK));
        Ok(())
    }

    /// The same for a database that has taken the place of another one: its sequence may be behind what clients
    /// were given there.
    pub(super) fn use_oids_again(&self) -> Result<()> {
        match self.oids.last() {
            0 => Ok(()),
            last => self.raise_oids(last),
        }
    }
}

/// Whether PostgreSQL takes all of it in one call.
///
/// # Errors
/// `Value`: it does not.
fn check_size(records: &BTreeMap<Oid, Record>) -> Result<()> {
    let states = records.values().filter_map(|record| record.state.as_ref());
    let size: usize = states.map(|state| state.len() + RECORD_ROOM).sum();
    if size <= SIZE_MAX {
        return Ok(());
    }
    Err(Error::Value(format!(
        "the transaction has {} MB in {} objects; in PostgreSQL, a transaction can have {} MB (without blobs): \
         commit in smaller ones",
        size >> 20,
        records.len(),
        SIZE_MAX >> 20
    )))
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
        if let Some(committed) = committed.filter(|&committed| committed != read) {
            self.storage.check_last(oid, committed)?;
        }
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
        self.storage.check_last(oid, committed)?;
        Err(Error::ReadConflict {
            oid,
            committed,
            read,
        })
    }

    fn delete(&mut self, oid: Oid, read: Tid) -> Result<()> {
        let committed = *self.serials.get(&oid).ok_or(Error::NoObject(oid))?;
        if committed != read {
            self.storage.check_last(oid, committed)?;
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
    /// Before a conflict is told: the revision that the tables call current must be the last one. Behind a
    /// restore of some of the tables it may be another one; then a client that reads the object again gets
    /// the same conflict for ever.
    fn check_last(&self, oid: Oid, committed: Tid) -> Result<()> {
        if !self.settings.keep_history {
            return Ok(());
        }
        let rows = self.query("looking for a revision", LAST_OF, &[&number(oid)?])?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let current = value::<i64>(row, 0)?;
        let last = value::<Option<i64>>(row, 1)?;
        // Changed since it was locked: an undo by RelStorage takes no locks.
        if last == Some(current) || current != tid_of(committed)? {
            return Ok(());
        }
        let current = Tid::new(current.cast_unsigned());
        let last = last.map(|last| Tid::new(last.cast_unsigned()));
        let has = last.map_or_else(
            || "object_state has no revision of it".to_owned(),
            |last| format!("its last revision in table object_state is of {last}"),
        );
        Err(Error::Database(format!(
            "table current_object says that transaction {current} has written object {oid} last, but {has}: \
             only a part of the tables was restored; restore all, or see \"Rows that don't fit\" in \
             docs/postgres.md"
        )))
    }
}
