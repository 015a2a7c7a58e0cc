//! Transactional undo: new revisions that take back what a transaction wrote.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use zeo_proto::{Oid, Tid};

use super::commit::Record;
use super::ids::{oid_of, tid_of};
use super::session::value;
use super::sql::{CAN_BE_UNDONE, UNDONE, UNDONE_OBJECTS};
use super::storage::PostgresStorage;
use crate::error::Conflict;
use crate::storage::{Merged, OnConflict};
use crate::{Error, Result};

/// A revision that takes back another one.
pub(super) struct Undone {
    pub oid: Oid,
    /// The current serial.
    pub base: i64,
    pub state: Option<Vec<u8>>,
    /// The serial of the revision that has this state, if there is one.
    pub state_of: Option<i64>,
    /// If conflict resolution made the state.
    pub merged: Option<Merged>,
}

/// Python's words.
const CHANGED: &str = "Some data were modified by a later transaction";
const ADDED_AND_CHANGED: &str =
    "Can't undo an add transaction followed by conflicting transactions.";

/// An object that can't be undone, why, and the conflict if that is it.
type Failure = (Oid, &'static str, Option<Conflict>);

impl PostgresStorage {
    /// The objects that the undo of a transaction changes.
    pub(super) fn objects_to_undo(&self, tid: Tid) -> Result<Vec<Oid>> {
        let number = self.undoable_number(tid)?;
        let rows = self.query("loading a transaction", UNDONE_OBJECTS, &[&number])?;
        rows.iter().map(|row| Ok(oid_of(value(row, 0)?))).collect()
    }

    fn undoable_number(&self, tid: Tid) -> Result<i64> {
        if !self.settings.keep_history {
            return Err(Error::Unsupported(
                "a database without history has no undo".to_owned(),
            ));
        }
        let Ok(number) = tid_of(tid) else {
            return Err(refused("Invalid transaction id", None));
        };
        if self
            .query("looking for a transaction", CAN_BE_UNDONE, &[&number])?
            .is_empty()
        {
            return Err(refused("non-undoable transaction", None));
        }
        Ok(number)
    }

    /// The revisions that undo a transaction, with the locks of its objects held. `so_far` are those
    /// that the same transaction has made already, by other undos.
    ///
    /// # Errors
    /// `Undo`, with all objects that stand in the way.
    pub(super) fn undo(
        &self,
        tid: Tid,
        on_conflict: OnConflict<'_>,
        so_far: &BTreeMap<Oid, Record>,
    ) -> Result<Vec<Undone>> {
        let mut undone = Vec::new();
        let mut failures: Vec<Failure> = Vec::new();
        let number = self.undoable_number(tid)?;
        for row in self.query("loading a transaction", UNDONE, &[&number])? {
            match undo_one(&row, tid, on_conflict, so_far)? {
                Ok(revision) => undone.push(revision),
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() {
            return Ok(undone);
        }
        let lines = failures
            .iter()
            .map(|(oid, reason, _)| format!("Undo error {oid}: Undo error {oid}: {reason}"));
        Err(Error::Undo {
            reason: lines.collect::<Vec<_>>().join("\n"),
            oid: failures.first().map(|&(oid, ..)| oid),
            failures: failures
                .iter()
                .map(|&(oid, reason, _)| (oid, reason.to_owned()))
                .collect(),
            conflicts: failures
                .into_iter()
                .filter_map(|(.., conflict)| conflict)
                .collect(),
        })
    }
}

fn refused(reason: &str, oid: Option<Oid>) -> Error {
    Error::Undo {
        reason: reason.to_owned(),
        oid,
        failures: Vec::new(),
        conflicts: Vec::new(),
    }
}

fn undo_one(
    row: &Row,
    tid: Tid,
    on_conflict: OnConflict<'_>,
    so_far: &BTreeMap<Oid, Record>,
) -> Result<std::result::Result<Undone, Failure>> {
    let oid = oid_of(value(row, 0)?);
    let written: Option<Vec<u8>> = value(row, 1)?;
    let before: Option<Vec<u8>> = value(row, 2)?;
    let committed = value::<Option<i64>>(row, 3)?.unwrap_or(0);
    let pending = so_far.get(&oid);
    let current: Option<Vec<u8>> = match pending {
        Some(record) => record.state.clone(),
        None => value(row, 4)?,
    };
    let mut revision = Undone {
        oid,
        base: committed,
        state: before,
        state_of: value(row, 5)?,
        merged: None,
    };
    let is_current = pending.is_none() && committed.cast_unsigned() == tid.as_u64();
    if is_current || current == written {
        return Ok(Ok(revision));
    }
    let (Some(written), Some(current)) = (written, current) else {
        return Ok(Err((oid, CHANGED, None)));
    };
    let Some(before) = &revision.state else {
        return Ok(Err((oid, ADDED_AND_CHANGED, None)));
    };
    if on_conflict.is_report() {
        return Ok(Err((oid, CHANGED, None)));
    }
    let mut lost = Conflict::untried(
        oid,
        (Tid::new(committed.cast_unsigned()), tid),
        before.clone(),
    );
    let (by, resolved) = lost.resolve((&written, &current), on_conflict);
    Ok(match resolved {
        Ok(state) => {
            revision.state = Some(state);
            revision.state_of = None;
            revision.merged = Some(Merged {
                class: lost.class_name(),
                by,
            });
            Ok(revision)
        }
        Err(reason) => {
            lost.reason = Some(reason);
            lost.decided_by = by;
            Err((oid, CHANGED, Some(lost)))
        }
    })
}
