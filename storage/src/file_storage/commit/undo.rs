//! Transactional undo: new records that take back what a transaction wrote.
//!
//! An object can be taken back when its current data is what the transaction
//! wrote: because nobody changed it since, or because later transactions
//! brought it back (by undoing each other, or with equal data). Otherwise
//! conflict resolution may take the change out of the current state.

use std::collections::HashMap;

use zeo_proto::{Oid, Tid};

use super::pending::{Payload, Pending};
use crate::error::Conflict;
use crate::file_storage::format::DataHeader;
use crate::file_storage::format::walk::{RecordHeaders, find_txn};
use crate::file_storage::read::generation::Generation;
use crate::storage::{Data, Merged, OnConflict};
use crate::{Error, Result};

/// A record that undoes another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UndoRecord {
    pub oid: Oid,
    /// Position of the committed record that is current now, 0 if none.
    pub prev: u64,
    pub payload: Payload,
    /// If conflict resolution made the payload.
    pub merged: Option<Merged>,
}

/// The records that undo transaction `tid`, in its own order, given what the
/// same undoing transaction has laid out already in `pending`. With
/// `Report`, changed data can't be undone: nobody could resolve it later.
///
/// Fails with `Undo`, in Python's words: for a transaction that is unknown,
/// packed away, or not an ordinary one, and with all objects that stand in
/// the way. An object that the transaction wrote more than once counts by
/// its last record.
pub(crate) fn undo(
    generation: &Generation,
    tid: Tid,
    pending: &Pending,
    on_conflict: OnConflict,
) -> Result<Vec<UndoRecord>> {
    let reader = generation.reader();
    let txn = find_txn(reader, tid)?;
    if txn.header.status != b' ' {
        return Err(refused("non-undoable transaction"));
    }
    let mut records = Vec::new();
    let mut failures = HashMap::new();
    for (order, record) in RecordHeaders::new(reader, &txn).enumerate() {
        let (position, header) = record?;
        failures.remove(&header.oid);
        let one = Undoing {
            generation,
            pending,
            on_conflict,
            position,
            header,
        };
        match one.outcome()? {
            Ok(record) => records.push(record),
            Err(failure) => {
                failures.insert(header.oid, (order, failure));
            }
        }
    }
    if failures.is_empty() {
        Ok(records)
    } else {
        Err(all_refused(failures))
    }
}

/// Why an object can't be undone, for people.
type Reason = &'static str;

const NO_DATA: Reason = "_loadBack() failed";
/// Python leaves the placeholder in.
const NO_PREVIOUS_DATA: Reason = "_loadBack() failed for %s";
const ADDED_AND_CHANGED: Reason =
    "Can't undo an add transaction followed by conflicting transactions.";
const CHANGED: Reason = "Some data were modified by a later transaction";

/// Why an object can't be undone, and the conflict if that is it.
struct Failure {
    reason: Reason,
    conflict: Option<Conflict>,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            conflict: None,
        }
    }
}

/// A record to be undone.
struct Undoing<'a> {
    generation: &'a Generation,
    pending: &'a Pending,
    on_conflict: OnConflict<'a>,
    position: u64,
    header: DataHeader,
}

impl Undoing<'_> {
    /// The record that undoes this one, or why there is none.
    fn outcome(&self) -> Result<std::result::Result<UndoRecord, Failure>> {
        let DataHeader { oid, prev, .. } = self.header;
        let committed = self.generation.index.get(oid).unwrap_or(0);
        let undone = |payload| {
            Ok(Ok(UndoRecord {
                oid,
                prev: committed,
                payload,
                merged: None,
            }))
        };
        let Some(current) = self.current(committed)? else {
            return undone(Payload::Back(prev));
        };
        let Some(to_undo) = self.data_at(self.position)? else {
            return Ok(Err(NO_DATA.into()));
        };
        let current = match current {
            Current::Data(data) => data,
            Current::Back(back) => match self.data_at(back)? {
                Some(data) => data,
                None => return Ok(Err(NO_DATA.into())),
            },
        };
        if *to_undo == *current {
            return undone(Payload::Back(prev));
        }
        if prev == 0 {
            return Ok(Err(ADDED_AND_CHANGED.into()));
        }
        let Some(previous) = self.data_at(prev)? else {
            return Ok(Err(NO_PREVIOUS_DATA.into()));
        };
        if self.on_conflict.is_report() {
            return Ok(Err(CHANGED.into()));
        }
        let mut lost = Conflict::untried(
            oid,
            (self.committed_tid(committed)?, self.header.tid),
            previous.to_vec(),
        );
        let (by, resolved) = lost.resolve((&to_undo, &current), self.on_conflict);
        Ok(match resolved {
            Ok(data) => Ok(UndoRecord {
                oid,
                prev: committed,
                payload: Payload::Data(data),
                merged: Some(Merged {
                    class: lost.class_name(),
                    by,
                }),
            }),
            Err(reason) => {
                lost.reason = Some(reason);
                lost.decided_by = by;
                Err(Failure {
                    reason: CHANGED,
                    conflict: Some(lost),
                })
            }
        })
    }

    /// The transaction that wrote the current record.
    fn committed_tid(&self, committed: u64) -> Result<Tid> {
        if committed == 0 {
            return Ok(Tid::ZERO);
        }
        let reader = self.generation.reader();
        let header = reader.data_header(committed, Some(self.header.oid))?;
        Ok(header.tid)
    }

    /// What the object holds now; `None` when that is this very record, by
    /// itself or by a back-pointer straight to it.
    fn current(&self, committed: u64) -> Result<Option<Current>> {
        let reader = self.generation.reader();
        let current = match self.pending.latest(self.header.oid) {
            Some(Payload::Data(data)) => Current::Data(Data::from(data.clone())),
            Some(&Payload::Back(back)) => Current::Back(back),
            None if committed == self.position => return Ok(None),
            None if committed < self.position => {
                let what = "the index has only an older record of this object";
                return Err(reader.corrupt(self.position, what));
            }
            None => {
                let (header, data) = reader.record(committed, Some(self.header.oid))?;
                match header.plen {
                    0 => Current::Back(header.back),
                    _ => Current::Data(data),
                }
            }
        };
        let same = matches!(current, Current::Back(back) if back == self.position);
        Ok((!same).then_some(current))
    }

    /// The data of the record at `position`, over back-pointers; `None` when
    /// the object is gone there.
    fn data_at(&self, position: u64) -> Result<Option<Data>> {
        match self.generation.load_back(self.header.oid, position) {
            Ok(data) => Ok(Some(data)),
            Err(Error::NoObject(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

enum Current {
    Data(Data),
    Back(u64),
}

/// For a reason that is not about objects.
pub(super) fn refused(reason: &str) -> Error {
    Error::Undo {
        reason: reason.to_owned(),
        oid: None,
        failures: Vec::new(),
        conflicts: Vec::new(),
    }
}

/// The error about all objects that could not be undone, in the order in
/// which they failed, shown as Python's `MultipleUndoErrors` shows itself.
fn all_refused(failures: HashMap<Oid, (usize, Failure)>) -> Error {
    let mut failures: Vec<_> = failures.into_iter().collect();
    failures.sort_by_key(|&(_, (order, _))| order);
    let lines: Vec<_> = failures
        .iter()
        .map(|(oid, (_, failure))| {
            let reason = failure.reason;
            format!("Undo error {oid}: Undo error {oid}: {reason}")
        })
        .collect();
    let told = failures
        .iter()
        .map(|(oid, (_, failure))| (*oid, failure.reason.to_owned()));
    Error::Undo {
        reason: lines.join("\n"),
        oid: failures.first().map(|&(oid, _)| oid),
        failures: told.collect(),
        conflicts: failures
            .into_iter()
            .filter_map(|(_, (_, failure))| failure.conflict)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::files::{Builder, data, generation, positions};

    fn undo(generation: &Generation, tid: Tid, pending: &Pending) -> Result<Vec<UndoRecord>> {
        super::undo(generation, tid, pending, OnConflict::Resolve)
    }

    /// Object 1 as "a", "b", and "a" again; object 2 as "x" and "y".
    fn file() -> Builder {
        let mut file = Builder::new();
        let first = file.txn(1, b' ', &[(1, 0, data("a")), (2, 0, data("x"))]) + 23;
        let second = file.txn(2, b' ', &[(1, first, data("b"))]) + 23;
        file.txn(
            3,
            b' ',
            &[(1, second, data("a")), (2, first + 43, data("y"))],
        );
        file
    }

    fn undo_text(file: &Builder, tid: u64, pending: &Pending) -> String {
        undo(&file.build(), Tid::new(tid), pending)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn all_failures_are_told_at_once() {
        let error = undo(&file().build(), Tid::new(1), &Pending::default());
        let Err(Error::Undo { oid, failures, .. }) = error else {
            panic!("{error:?}");
        };
        // Object 1 holds equal data again, so only object 2 is in the way.
        assert_eq!(oid, Some(Oid::new(2)));
        assert_eq!(failures, [(Oid::new(2), ADDED_AND_CHANGED.to_owned())]);
        assert_eq!(
            undo_text(&file(), 2, &Pending::default()),
            "Undo error 0x01: Undo error 0x01: Some data were modified by a later transaction"
        );
    }

    #[test]
    fn what_the_transaction_laid_out_before_counts_as_current() {
        let file = file();
        let mut pending = Pending::default();
        let undone = undo(&file.build(), Tid::new(3), &pending).unwrap();
        let backs: Vec<_> = undone.iter().map(|record| &record.payload).collect();
        let [Payload::Back(to_b), Payload::Back(to_x)] = backs[..] else {
            panic!("{undone:?}");
        };
        pending.push(Oid::new(1), Payload::Back(*to_b));
        pending.push(Oid::new(2), Payload::Back(*to_x));
        let undone = undo(&file.build(), Tid::new(2), &pending).unwrap();
        assert_eq!(undone.len(), 1);
        pending.push(Oid::new(1), undone[0].payload.clone());
        let undone = undo(&file.build(), Tid::new(1), &pending).unwrap();
        assert!(
            undone
                .iter()
                .all(|record| record.payload == Payload::Back(0))
        );

        pending.push(Oid::new(2), data("z"));
        assert!(undo_text(&file, 3, &pending).contains("0x02"));
    }

    #[test]
    fn other_transactions_are_refused() {
        let mut file = file();
        file.txn(4, b'p', &[(3, 0, data("packed"))]);
        let none = Pending::default();
        assert_eq!(undo_text(&file, 4, &none), "non-undoable transaction");
        assert_eq!(undo_text(&file, 5, &none), "Invalid transaction id");
    }

    #[test]
    fn a_stale_index_is_an_error() {
        let file = file();
        let mut stale = positions(&file.bytes);
        stale.truncate(3);
        let last = file.bytes.len() as u64;
        let error = undo(
            &generation(&file.bytes, &stale),
            Tid::new(3),
            &Pending::default(),
        );
        match error {
            Err(Error::Corrupt { position, .. }) => assert!(position < last),
            other => panic!("{other:?}"),
        }
    }
}
