//! Commits: passed up with the vote, finished when the log writer appends them.

use std::collections::BTreeSet;
use std::time::Instant;

use zeo_proto::message::{ClientConflict, Voted};
use zeo_proto::{Oid, Tid};
use zeo_storage::error::Conflict;
use zeo_storage::storage::{
    Appended, Commit, Merged, OnConflict, Op, Prepared, TransactionMeta, Vote,
};
use zeo_storage::{Error, Result};

use super::Served;
use super::committer::Committer;
use super::committers::Transaction;
use super::errors::storage_error;

/// How often conflicts that the server leaves to us are resolved before the transaction fails, as by
/// Python's client.
const VOTES_MAX: usize = 10;

/// What a vote leaves for the append; none afterwards.
struct Work(Option<Transaction>);

/// What became of the objects of a transaction.
#[derive(Default)]
struct Changed {
    oids: BTreeSet<Oid>,
    resolved: Vec<Oid>,
    merged: Vec<Merged>,
}

impl Served {
    pub(super) fn vote(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict<'_>,
    ) -> Result<Vote> {
        let transaction = self.committers.begin(meta.clone())?;
        let Some(committer) = transaction.committer() else {
            return Err(Error::Unavailable("the storage is closed".to_owned()));
        };
        let reports = matches!(on_conflict, OnConflict::Report);
        let mut changed = Changed::default();
        for op in ops {
            // The same file is wanted again when the client has resolved conflicts.
            let op = if reports { self.with_a_copy(op?)? } else { op? };
            changed.note(&op);
            committer.op(op);
        }
        for _ in 0..VOTES_MAX {
            let conflicts = changed.voted(committer.vote().map_err(storage_error)?);
            if conflicts.is_empty() {
                let oids = changed.oids.into_iter().collect();
                let mut prepared = Prepared::new(oids, Work(Some(transaction)));
                prepared.resolved = changed.resolved;
                prepared.merged = changed.merged;
                return Ok(Vote::Ready(prepared));
            }
            if reports {
                return Ok(Vote::Conflicts(conflicts));
            }
            for conflict in conflicts {
                self.merge(conflict, on_conflict, committer, &mut changed)?;
            }
        }
        let why = "others change the same objects faster than conflicts are resolved";
        Err(Error::Unavailable(why.to_owned()))
    }

    /// Resolves a conflict that the server leaves to its clients, and stores the result.
    fn merge(
        &self,
        mut conflict: Conflict,
        on_conflict: OnConflict<'_>,
        committer: &Committer,
        changed: &mut Changed,
    ) -> Result<()> {
        let (oid, committed) = (conflict.oid, conflict.committed);
        let load = |serial| self.main.load_serial(oid, serial).map_err(storage_error);
        let (old, current) = match (load(conflict.read), load(committed)) {
            (Ok(old), Ok(current)) => (old, current),
            (Err(Error::NoObject(_)), _) | (_, Err(Error::NoObject(_))) => {
                conflict.reason = Some("a revision no longer exists".to_owned());
                return Err(Error::Conflict(Box::new(conflict)));
            }
            (Err(why), _) | (_, Err(why)) => return Err(why),
        };
        let (by, merged) = conflict.resolve((&old, &current), on_conflict);
        conflict.decided_by = by;
        match merged {
            Ok(data) => {
                let class = conflict.class_name();
                changed.merged.push(Merged { class, by });
                changed.resolved.push(oid);
                committer.op(Op::Store {
                    oid,
                    serial: committed,
                    data,
                });
                Ok(())
            }
            Err(why) => {
                conflict.reason = Some(why);
                Err(Error::Conflict(Box::new(conflict)))
            }
        }
    }

    fn with_a_copy(&self, op: Op) -> Result<Op> {
        let (Op::Blob { oid, serial, file }, Some(uploads)) = (&op, &self.uploads) else {
            return Ok(op);
        };
        let copy = uploads.directory().copy_of(&file.path())?;
        Ok(Op::Blob {
            oid: *oid,
            serial: *serial,
            file: copy.into(),
        })
    }

    /// Finishes all of a batch at once, and then waits until the connection for reading has told of
    /// them, too: only that knows what else was committed before.
    pub(super) fn finish(&self, batch: &mut [Commit]) -> Result<Appended> {
        let mut answers = Vec::new();
        for commit in &mut *batch {
            let Work(transaction) = commit.prepared.work_mut()?;
            answers.push(transaction.take().and_then(Transaction::finish));
        }
        let mut outcomes: Vec<Result<Tid>> = Vec::new();
        let mut own = BTreeSet::new();
        for answer in answers {
            let finished = answer.and_then(|answer| answer.recv().ok());
            outcomes.push(match finished {
                Some(Ok((tid, sizes))) => {
                    own.insert(tid);
                    self.set_sizes(sizes);
                    Ok(tid)
                }
                Some(Err(why)) => Err(storage_error(why)),
                None => Err(Error::Unsettled(
                    "the thread of its commit has ended".to_owned(),
                )),
            });
        }
        if let Some(&last) = own.last() {
            let until = Instant::now() + self.wait_timeout;
            self.changes.wait_for(last, until);
        }
        let mut report = self.changes.report(&own);
        let mut appended = Appended::default();
        for (place, (commit, outcome)) in batch.iter_mut().zip(outcomes).enumerate() {
            match outcome.map(|tid| (tid, report.own.remove(&tid))) {
                Ok((tid, Some(oids))) => {
                    commit.tid = tid;
                    self.add_told(&mut commit.prepared.oids, oids);
                }
                Ok((tid, None)) => appended.refused.push((
                    place,
                    Error::Unsettled(format!(
                        "it is committed as {tid}, but the upstream server has not told what else \
                         was changed before"
                    )),
                )),
                Err(why) => appended.refused.push((place, why)),
            }
        }
        appended.outside = report.outside;
        Ok(appended)
    }

    /// Adds what the server has told of a transaction. What it has not told (Python's does not tell of
    /// objects that are deleted) is in the cache as it was before.
    fn add_told(&self, oids: &mut Vec<Oid>, told: Vec<Oid>) {
        let told: BTreeSet<Oid> = told.into_iter().collect();
        let known: BTreeSet<Oid> = oids.iter().copied().collect();
        for &oid in known.difference(&told) {
            self.main.forget(oid);
        }
        oids.extend(told.difference(&known));
    }
}

impl Changed {
    fn note(&mut self, op: &Op) {
        match op {
            Op::Store { oid, .. } | Op::Delete { oid, .. } | Op::Restore { oid, .. } => {
                self.oids.insert(*oid);
            }
            Op::Check { .. } | Op::Blob { .. } | Op::Undo { .. } => {}
        }
    }

    /// Takes what a vote has answered; returns the conflicts that are left.
    fn voted(&mut self, voted: Vec<Voted<'static>>) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        for voted in voted {
            match voted {
                Voted::Resolved(oid) => {
                    self.oids.insert(oid);
                    self.resolved.push(oid);
                }
                Voted::Conflict(conflict) => conflicts.push(left(conflict)),
                _ => {}
            }
        }
        conflicts
    }
}

fn left(conflict: ClientConflict<'static>) -> Conflict {
    Conflict::untried(
        conflict.oid,
        (conflict.committed, conflict.read),
        conflict.data.into_owned(),
    )
}
