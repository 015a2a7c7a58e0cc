//! Step 2 of a commit: all that wait, in one transaction of the database, with one sync.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::error::{DbError, Severity, SqlState};
use zeo_proto::Tid;

use super::backend::Backend;
use super::batch::Batch;
use super::blobs::Uploads;
use super::commit::{RECORD_ROOM, SIZE_MAX, Work};
use super::report::{Report, locks_lost, tid_given};
use super::session::{Both, Params, failed, is_lost, value};
use super::sql::{FINISH, GONE};
use super::storage::PostgresStorage;
use super::writer::Writer;
use crate::storage::{Appended, Commit};
use crate::{Error, Result};

/// The process that has the lock of all commits (-1), what it is, and where it is connected from.
const HOLDER: &str =
    "SELECT a.pid, a.application_name::text, coalesce(host(a.client_addr), 'this machine')
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 4294967295::oid
        AND l.objid = 4294967295::oid AND l.objsubid = 1 AND a.datname = current_database()";

/// In a transaction that is to have the lock of all commits while PostgreSQL waits for us: if this process is
/// stopped then, nobody waits for it for long.
const ALONE: &str = "SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// How often a batch is tried that fails since others are in its way.
const ATTEMPTS: usize = 3;

impl PostgresStorage {
    /// Commits the batch; the log writer's only. What has blobs is in a transaction of the database of
    /// its own; what stands between such is written together.
    pub(super) fn finish(&self, batch: &mut [Commit]) -> Result<Appended> {
        let mut all = Appended::default();
        let total = batch.len();
        let (mut place, mut rest) = (0, batch);
        while !rest.is_empty() {
            let count = run_length(rest);
            let (run, behind) = rest.split_at_mut(count);
            rest = behind;
            match self.finish_run(run) {
                Ok(done) => {
                    let refused = done.refused.into_iter();
                    all.refused
                        .extend(refused.map(|(at, why)| (place + at, why)));
                    all.outside.extend(done.outside);
                }
                // Nothing of the batch is there.
                Err(why) if place == 0 => return Err(why),
                Err(why) => {
                    // What is behind it would wait for the same.
                    let waited = matches!(why, Error::Unavailable(_));
                    let count = if waited { total - place } else { run.len() };
                    let places = place..place + count;
                    all.refused.extend(places.map(|at| (at, again(&why))));
                    if waited {
                        break;
                    }
                }
            }
            place += run.len();
        }
        Ok(all)
    }

    /// Commits transactions without blobs, or one with blobs.
    fn finish_run(&self, batch: &mut [Commit]) -> Result<Appended> {
        let mut uploads = None;
        for commit in &mut *batch {
            let taken = commit.prepared.work_mut::<Work>()?.uploads.take();
            uploads = taken.filter(|uploads| uploads.is_open());
        }
        let mut writer = self.writer();
        let mut appended = Appended::default();
        let mut parameters = Batch::default();
        for (place, commit) in batch.iter().enumerate() {
            let work: &Work = commit.prepared.work()?;
            match work.held.as_ref().filter(|held| held.is_held()) {
                None => appended.refused.push((place, locks_lost())),
                Some(_) if work.has_blobs && uploads.is_none() => {
                    appended.refused.push((place, uploads_lost()));
                }
                Some(held) => parameters.add(place, work, held)?,
            }
        }
        let begun = self.news.begin();
        let called = match &mut uploads {
            Some(uploads) => self.call_with(uploads, &parameters),
            None => self.call(&mut writer, &parameters),
        };
        let (rows, gone) = match called {
            Called::Done(done) => done?,
            Called::Lost(why, old) => {
                let tids = self.tids_after_loss(&mut writer, why, &old, batch, &parameters);
                if matches!(tids, Err(Error::Unsettled(_))) {
                    self.keep_locks(batch, old);
                }
                let tids = tids?;
                let settled = self.settled(batch, tids, appended);
                return settled.map_err(|why| Error::Unsettled(why.to_string()));
            }
        };
        let places = &parameters.places;
        let mut report = Report::default();
        for row in &rows {
            report.take(row, &parameters)?;
        }
        let lock_is_gone = |&(number, _): &(i64, Tid)| {
            let lock = parameters.lock(number);
            lock.is_some_and(|lock| gone.contains(&lock))
        };
        if report.tids.iter().any(lock_is_gone) {
            // It is committed; but who got its locks before it was visible may overwrite it.
            return Err(Error::Unsettled(locks_lost().to_string()));
        }
        if let Some(uploads) = uploads {
            self.uploaded(*uploads, report.tids.first().map(|&(_, tid)| tid));
        }
        let place_of = |number: i64| {
            let index = usize::try_from(number).unwrap_or(0).saturating_sub(1);
            places.get(index).copied().unwrap_or(0)
        };
        appended.outside = if report.is_complete() {
            self.new_changes(report.others, &[])
        } else {
            let own: Vec<Tid> = report.tids.iter().map(|&(_, tid)| tid).collect();
            let found = self.changes_beside(&own);
            found.map_err(|why| Error::Unsettled(why.to_string()))?
        };
        for (transaction, tid) in report.tids {
            let place = place_of(transaction);
            if let Some(commit) = batch.get_mut(place) {
                commit.tid = tid;
            }
            self.reported_up_to(tid);
        }
        for (transaction, why) in report.refused {
            appended.refused.push((place_of(transaction), why));
        }
        appended.refused.sort_by_key(|&(place, _)| place);
        self.news.report(begun);
        if report.waited {
            self.contended.store(true, Ordering::Relaxed);
        }
        drop(writer);
        self.unlock_all(batch)?;
        Ok(appended)
    }

    /// Gives back the locks of transactions that are committed and visible, or refused.
    pub(super) fn unlock_all(&self, batch: &mut [Commit]) -> Result<()> {
        for commit in batch {
            commit.prepared.work_mut::<Work>()?.held = None;
        }
        self.peers.after_commit.committed();
        Ok(())
    }

    fn call(&self, slot: &mut Option<Writer>, batch: &Batch) -> Called {
        // What was lost while nothing was asked is no matter.
        if slot
            .as_ref()
            .is_none_or(|writer| writer.session.is_closed())
        {
            match Writer::connect(&self.connector, self.sql) {
                Ok(writer) => *slot = Some(writer),
                Err(why) => return Called::Done(Err(why)),
            }
        }
        let Some(writer) = slot else {
            return Called::Done(Err(Error::Unavailable("there is no connection".to_owned())));
        };
        if let Err(why) = self.check_history(writer) {
            return Called::Done(Err(why));
        }
        let mut done = self.ask(writer, batch);
        for _ in 1..ATTEMPTS {
            if !done.as_ref().is_err_and(is_in_the_way) {
                break;
            }
            done = self.ask(writer, batch);
        }
        let lost = |error, slot: &mut Option<Writer>| match slot.take() {
            Some(old) => Called::Lost(failed("committing")(error), old.backend),
            None => Called::Done(Err(failed("committing")(error))),
        };
        match done {
            Ok((rows, Ok(gone))) => Called::Done(locks(&gone).map(|gone| (rows, gone))),
            Ok((_, Err(error))) => lost(error, slot),
            Err(error) if is_unknown(&error) => lost(error, slot),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Called::Done(Err(kept_waiting(writer, error)))
            }
            Err(error) => Called::Done(Err(not_committed(error))),
        }
    }

    /// The same, in the transaction that has the blobs.
    fn call_with(&self, uploads: &mut Uploads, batch: &Batch) -> Called {
        let Some(mut writer) = uploads.writer.take() else {
            return Called::Done(Err(uploads_lost()));
        };
        if let Err(why) = self.check_history(&mut writer) {
            return Called::Done(Err(why));
        }
        let asked = writer.session.batch(ALONE);
        let done = asked.and_then(|()| self.ask(&mut writer, batch));
        let done = done.and_then(|(rows, look)| {
            look?;
            let tid = rows.iter().find_map(tid_given);
            uploads.end(&mut writer.session, tid)?;
            Ok((rows, writer.session.query(GONE, &[&batch.locks])))
        });
        match done {
            Ok((rows, Ok(gone))) => {
                uploads.writer = Some(writer);
                Called::Done(locks(&gone).map(|gone| (rows, gone)))
            }
            Ok((_, Err(error))) => Called::Lost(failed("committing")(error), writer.backend),
            Err(error) if is_unknown(&error) => {
                Called::Lost(failed("committing")(error), writer.backend)
            }
            // Without its connection nothing of it remains.
            Err(error) => Called::Done(Err(not_committed(error))),
        }
    }

    /// The rows of the call, and the locks that were gone behind it.
    fn ask(
        &self,
        writer: &mut Writer,
        batch: &Batch,
    ) -> std::result::Result<Both, tokio_postgres::Error> {
        let published = self.published().as_u64().cast_signed();
        let since = self.reported().cast_signed();
        let states = batch.states.iter().flatten();
        let size: usize = states.map(|state| state.len()).sum();
        // A disk that takes a megabyte a second is slow.
        let time = writer.answer_time + Duration::from_secs((size >> 20) as u64);
        writer.session.set_limit(time);
        let params: Params = &[
            &since,
            &batch.wanted,
            &batch.packed,
            &batch.users,
            &batch.descriptions,
            &batch.extensions,
            &batch.numbers,
            &batch.objects,
            &batch.bases,
            &batch.states,
            &batch.locks,
            &published,
        ];
        let session = &mut writer.session;
        let done = session.query_both((FINISH, params), (GONE, &[&batch.locks]));
        writer.session.set_limit(writer.answer_time);
        done
    }
}

/// What a call has come to.
enum Called {
    /// Its rows, and locks that were gone when it was committed.
    Done(Result<(Vec<Row>, Vec<i64>)>),
    /// The connection was lost, and perhaps it is committed; the process that was at work on it.
    Lost(Error, Backend),
}

/// A pack or an undo by RelStorage, which lock no objects, has removed at this moment what a record
/// was based on, or waits for us as we wait for it; or the locks of some are lost: another attempt sees what
/// has become of that.
fn is_in_the_way(error: &tokio_postgres::Error) -> bool {
    let others = [
        SqlState::FOREIGN_KEY_VIOLATION,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    error.code().is_some_and(|code| others.contains(code))
}

/// Somebody else has kept a lock for so long that the batch has failed; who it is, if it is that of all
/// commits.
fn kept_waiting(writer: &mut Writer, error: tokio_postgres::Error) -> Error {
    let why = failed("committing")(error);
    let holder = writer.session.query(HOLDER, &[]).ok();
    let holder = holder.as_deref().and_then(<[Row]>::first).and_then(|row| {
        let (pid, name) = (value::<i32>(row, 0).ok()?, value::<String>(row, 1).ok()?);
        Some((pid, name, value::<String>(row, 2).ok()?))
    });
    match holder {
        Some((pid, name, host)) => Error::Unavailable(format!(
            "process {pid} of the database ({name}, from {host}) has kept the lock of all commits: {why}"
        )),
        None => why,
    }
}

/// Whether the call has ended in a way that does not say what has become of it.
fn is_unknown(error: &tokio_postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    let ended = matches!(severity, Some(Severity::Fatal | Severity::Panic));
    error.code().is_none() || is_lost(error) || ended
}

/// The locks of rows.
fn locks(rows: &[Row]) -> Result<Vec<i64>> {
    rows.iter().map(|row| value(row, 0)).collect()
}

/// A batch has failed, and nothing of it is there.
fn not_committed(error: tokio_postgres::Error) -> Error {
    let in_the_way = is_in_the_way(&error);
    match failed("committing")(error) {
        Error::Database(text) if in_the_way => Error::Unavailable(text),
        why => why,
    }
}

/// True if it can't be written together with others.
fn has_blobs(commit: &Commit) -> bool {
    let work = commit.prepared.work::<Work>();
    work.is_ok_and(|work| work.has_blobs)
}

/// How many of them are written together: one that has blobs alone, others as far as PostgreSQL takes
/// them in one call.
fn run_length(batch: &[Commit]) -> usize {
    let (mut count, mut total) = (0, 0_usize);
    for commit in batch {
        let is_alone = has_blobs(commit);
        total = total.saturating_add(size(commit));
        if count > 0 && (is_alone || total > SIZE_MAX) {
            break;
        }
        count += 1;
        if is_alone {
            break;
        }
    }
    count.max(1).min(batch.len())
}

/// How many bytes it takes in the call.
fn size(commit: &Commit) -> usize {
    let Ok(work) = commit.prepared.work::<Work>() else {
        return 0;
    };
    let states = work.records.values();
    let sizes = states.map(|record| record.state.as_ref().map_or(0, Vec::len) + RECORD_ROOM);
    sizes.sum::<usize>() + work.checked.len() * RECORD_ROOM
}

/// The same error, for another transaction.
fn again(why: &Error) -> Error {
    match why {
        Error::Unsettled(text) => Error::Unsettled(text.clone()),
        Error::Unavailable(text) => Error::Unavailable(text.clone()),
        why => Error::Database(why.to_string()),
    }
}

fn uploads_lost() -> Error {
    Error::Unavailable(
        "the connection to PostgreSQL over which the blobs of this transaction were written is lost"
            .to_owned(),
    )
}
