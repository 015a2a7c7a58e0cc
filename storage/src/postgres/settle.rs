//! What has become of a commit whose connection was lost.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeo_proto::Tid;

use super::backend::{Backend, END};
use super::batch::Batch;
use super::commit::Work;
use super::lockers::Held;
use super::session::{failed, value};
use super::sql::COMMIT_ROW_LOCK;
use super::storage::PostgresStorage;
use super::writer::Writer;
use crate::log::Level;
use crate::storage::{Appended, Commit};
use crate::{Error, Result};

/// The pause between two attempts to look.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// What has become of a batch whose connection was lost.
enum Outcome {
    Nothing,
    /// The tids; zero for a transaction that was refused, or has left nothing to see.
    Committed(Vec<Tid>),
    Unknown,
}

impl PostgresStorage {
    /// The places and tids of a batch that is committed although its connection was lost.
    ///
    /// # Errors
    /// `Unsettled`: that is not known. Otherwise, nothing of it is committed.
    pub(super) fn tids_after_loss(
        &self,
        slot: &mut Option<Writer>,
        why: Error,
        old: &Backend,
        commits: &[Commit],
        batch: &Batch,
    ) -> Result<Vec<(usize, Tid)>> {
        let outcome = self.settle(slot, old, batch);
        let all_held = || {
            let mut works = commits
                .iter()
                .map(|commit| commit.prepared.work::<Work>().ok());
            works.all(|work| {
                work.and_then(|work| work.held.as_ref())
                    .is_some_and(Held::is_surely_held)
            })
        };
        match outcome {
            // With history, what was written does not go away.
            Outcome::Nothing if self.settings.keep_history || all_held() => Err(why),
            // Without the locks, another process may have written the same.
            Outcome::Committed(tids) if all_held() => {
                Ok(batch.places.iter().copied().zip(tids).collect())
            }
            _ => Err(Error::Unsettled(why.to_string())),
        }
    }

    /// What has become of a batch whose connection was lost.
    ///
    /// The process that was at work on it is ended first. As long as the objects are still locked,
    /// by connections of their own, nobody can have overwritten what it has written.
    fn settle(&self, slot: &mut Option<Writer>, old: &Backend, batch: &Batch) -> Outcome {
        let until = Instant::now() + self.connector.answer_time;
        loop {
            match self.look(slot, old, batch) {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => {}
                Err(why) => self.connector.log(
                    Level::Warning,
                    &format!("the outcome of a commit is looked for: {why}"),
                ),
            }
            if Instant::now() > until || self.connector.is_over() {
                return Outcome::Unknown;
            }
            std::thread::sleep(SETTLE_PAUSE);
        }
    }

    /// `None` as long as that process is there.
    fn look(
        &self,
        slot: &mut Option<Writer>,
        old: &Backend,
        batch: &Batch,
    ) -> Result<Option<Outcome>> {
        let writer = match slot {
            Some(writer) if !writer.session.is_closed() => writer,
            _ => slot.insert(Writer::connect(&self.connector, self.sql)?),
        };
        writer.session.set_limit(self.connector.answer_time);
        let looking = failed("looking for the outcome of a commit");
        if !old.end(&mut writer.session)? {
            return Ok(None);
        }
        // What others have written before may have the same state.
        let since = &self.reported().cast_signed();
        let mut tids = Vec::new();
        let mut leaves_nothing = false;
        for (index, _) in batch.places.iter().enumerate() {
            let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
            let records = batch.numbers.iter().zip(&batch.objects);
            let records = records.zip(batch.bases.iter().zip(&batch.states));
            let mut records = records.filter(|((of, _), _)| **of == number);
            // Without history, a deleted object leaves nothing to look for.
            let found =
                records.find(|(_, (_, state))| state.is_some() || self.settings.keep_history);
            let Some(((_, object), (base, state))) = found else {
                leaves_nothing = true;
                tids.push(Tid::ZERO);
                continue;
            };
            let rows = writer
                .session
                .query(self.sql.written, &[object, since.max(base), state]);
            match rows.map_err(&looking)?.first() {
                Some(row) => tids.push(Tid::new(value::<i64>(row, 0)?.cast_unsigned())),
                None => tids.push(Tid::ZERO),
            }
        }
        if tids.iter().any(|&tid| tid != Tid::ZERO) {
            // It may not have reached a synchronous standby: what is written now waits for it.
            writer
                .session
                .query(COMMIT_ROW_LOCK, &[])
                .map_err(&looking)?;
            return Ok(Some(Outcome::Committed(tids)));
        }
        Ok(Some(if leaves_nothing {
            Outcome::Unknown
        } else {
            Outcome::Nothing
        }))
    }

    /// Nobody knows what becomes of the batch. As long as the process is there that was at work on it, who got its
    /// locks would overwrite what is not visible yet.
    pub(super) fn keep_locks(&self, batch: &mut [Commit], old: Backend) {
        let works = batch
            .iter_mut()
            .filter_map(|commit| commit.prepared.work_mut::<Work>().ok());
        let held = works.filter_map(|work| work.held.take()).collect();
        self.kept().push((old, held));
    }

    /// Gives back what was kept for processes that are gone.
    pub(super) fn give_back_kept(&self) {
        let kept = std::mem::take(&mut *self.kept());
        for (old, held) in kept {
            let found = self.query("ending a process", END, &old.params());
            // It is asked again at the next poll.
            if !found.is_ok_and(|rows| rows.is_empty()) {
                self.kept().push((old, held));
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Backend, Vec<Held>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch is committed after all. What has no tid was refused, or has left nothing to see.
    pub(super) fn settled(
        &self,
        batch: &mut [Commit],
        tids: Vec<(usize, Tid)>,
        mut appended: Appended,
    ) -> Result<Appended> {
        let mut own = Vec::new();
        for (place, tid) in tids {
            match batch.get_mut(place) {
                Some(commit) if tid != Tid::ZERO => {
                    commit.tid = tid;
                    own.push(tid);
                }
                _ => appended.refused.push((
                    place,
                    Error::Unsettled("the connection to PostgreSQL was lost".to_owned()),
                )),
            }
        }
        appended.refused.sort_by_key(|&(place, _)| place);
        if let Some(&last) = own.iter().max() {
            appended.outside = self.changes_beside(&own)?;
            self.reported_up_to(last);
        }
        self.unlock_all(batch)?;
        Ok(appended)
    }
}
