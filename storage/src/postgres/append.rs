//! Step 2 of a commit: all that wait, in one transaction of the database, with one sync.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use zeo_proto::{Oid, Tid};

use super::backend::Backend;
use super::blobs::Uploads;
use super::commit::{RECORD_ROOM, SIZE_MAX, Work};
use super::groups::Changed;
use super::ids::{number, oid_of};
use super::lockers::Held;
use super::session::{failed, is_lost, value};
use super::sql::FINISH;
use super::storage::PostgresStorage;
use super::writer::Writer;
use crate::error::Conflict;
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

/// The parameters of the call: a transaction is one element of the first five, a record (or an object
/// that is only to stay as it is) one of the others.
#[derive(Default)]
pub(super) struct Batch<'a> {
    wanted: Vec<i64>,
    packed: Vec<bool>,
    users: Vec<&'a [u8]>,
    descriptions: Vec<&'a [u8]>,
    extensions: Vec<&'a [u8]>,
    pub(super) numbers: Vec<i32>,
    pub(super) objects: Vec<i64>,
    bases: Vec<i64>,
    pub(super) states: Vec<Option<&'a [u8]>>,
    /// That of the connection that holds the locks of each transaction.
    locks: Vec<i64>,
    /// The places in the log writer's batch.
    pub(super) places: Vec<usize>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, place: usize, work: &'a Work, held: &Held) -> Result<()> {
        self.places.push(place);
        self.locks.push(held.own_lock());
        let number_of_transaction = i32::try_from(self.places.len()).unwrap_or(i32::MAX);
        let meta = &work.meta;
        self.wanted
            .push(meta.tid.map_or(Ok(0), super::ids::tid_of)?);
        self.packed.push(meta.status == b'p');
        self.users.push(&meta.user);
        self.descriptions.push(&meta.description);
        self.extensions.push(&meta.extension);
        for (&oid, record) in &work.records {
            self.numbers.push(number_of_transaction);
            self.objects.push(number(oid)?);
            self.bases.push(record.base);
            self.states.push(record.state.as_deref());
        }
        for (&oid, &serial) in &work.checked {
            self.numbers.push(-number_of_transaction);
            self.objects.push(number(oid)?);
            self.bases.push(super::ids::tid_of(serial)?);
            self.states.push(None);
        }
        Ok(())
    }

    /// The serial that this transaction has read of an object that is to stay as it is.
    fn read(&self, transaction: i64, oid: i64) -> Tid {
        let objects = self.numbers.iter().zip(&self.objects).zip(&self.bases);
        let mut read = objects
            .filter(|((number, object), _)| i64::from(**number) == -transaction && **object == oid);
        let base = read.next().map_or(0, |(_, &base)| base);
        Tid::new(base.cast_unsigned())
    }
}

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
        let rows = match called {
            Called::Done(rows) => rows?,
            Called::Lost(why, old) => {
                let tids = self.tids_after_loss(&mut writer, why, &old, batch, &parameters)?;
                let settled = self.settled(batch, tids, appended);
                return settled.map_err(|why| Error::Unsettled(why.to_string()));
            }
        };
        let places = &parameters.places;
        let mut report = Report::default();
        for row in &rows {
            report.take(row, &parameters)?;
        }
        if let Some(uploads) = uploads {
            self.uploaded(*uploads, report.tids.first().map(|&(_, tid)| tid));
        }
        let place_of = |number: i64| {
            let index = usize::try_from(number).unwrap_or(0).saturating_sub(1);
            places.get(index).copied().unwrap_or(0)
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
        appended.outside = self.new_changes(report.others, &[]);
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
        match done {
            Err(error) if is_unknown(&error) => match slot.take() {
                Some(old) => Called::Lost(failed("committing")(error), old.backend),
                None => Called::Done(Err(failed("committing")(error))),
            },
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Called::Done(Err(kept_waiting(writer, error)))
            }
            done => Called::Done(done.map_err(not_committed)),
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
        let done = done.and_then(|rows| {
            let tid = rows.iter().find_map(tid_given);
            uploads.end(&mut writer.session, tid).map(|()| rows)
        });
        match done {
            Ok(rows) => {
                uploads.writer = Some(writer);
                Called::Done(Ok(rows))
            }
            Err(error) if is_unknown(&error) => {
                Called::Lost(failed("committing")(error), writer.backend)
            }
            // Without its connection nothing of it remains.
            Err(error) => Called::Done(Err(not_committed(error))),
        }
    }

    fn ask(
        &self,
        writer: &mut Writer,
        batch: &Batch,
    ) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
        let since = self.reported().cast_signed();
        let states = batch.states.iter().flatten();
        let size: usize = states.map(|state| state.len()).sum();
        // A disk that takes a megabyte a second is slow.
        let time = writer.answer_time + Duration::from_secs((size >> 20) as u64);
        writer.session.set_limit(time);
        let done = writer.session.query(
            FINISH,
            &[
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
            ],
        );
        writer.session.set_limit(writer.answer_time);
        done
    }
}

/// What a call has come to.
enum Called {
    Done(Result<Vec<Row>>),
    /// The connection was lost, and perhaps it is committed; the process that was at work on it.
    Lost(Error, Backend),
}

/// The rows of a call.
#[derive(Default)]
struct Report {
    tids: Vec<(i64, Tid)>,
    refused: Vec<(i64, Error)>,
    others: Vec<Changed>,
    /// It had to wait for others who were committing.
    waited: bool,
}

impl Report {
    fn take(&mut self, row: &Row, batch: &Batch) -> Result<()> {
        let (kind, a, b) = (
            value::<&str>(row, 0)?,
            value::<i64>(row, 1)?,
            value::<Option<i64>>(row, 2)?,
        );
        let given = b.unwrap_or(0);
        match kind {
            "t" => self.tids.push((a, Tid::new(given.cast_unsigned()))),
            "w" => self.waited = true,
            "g" => self.refused.push((a, locks_lost())),
            "o" => {
                let is_packed = value::<Option<i64>>(row, 3)? == Some(1);
                self.others.push((a, b, value(row, 4)?, is_packed));
            }
            "r" => {
                let committed = value::<Option<i64>>(row, 3)?.unwrap_or(0);
                self.refused.push((a, overtaken(oid_of(given), committed)));
            }
            "c" => {
                let committed = value::<Option<i64>>(row, 3)?.unwrap_or(0);
                let changed = Error::ReadConflict {
                    oid: oid_of(given),
                    committed: Tid::new(committed.cast_unsigned()),
                    read: batch.read(a, given),
                };
                self.refused.push((a, changed));
            }
            _ => self.refused.push((a, too_early(given))),
        }
        Ok(())
    }
}

/// Somebody changed the object without its lock: an undo or a pack by RelStorage.
fn overtaken(oid: Oid, committed: i64) -> Error {
    let committed = Tid::new(committed.cast_unsigned());
    Error::Conflict(Box::new(Conflict {
        reason: Some("another process changed the object without its lock".to_owned()),
        ..Conflict::untried(oid, (committed, Tid::ZERO), Vec::new())
    }))
}

fn too_early(last: i64) -> Error {
    let last = Tid::new(last.cast_unsigned());
    Error::Value(format!(
        "the transaction can't be added: it is not later than the last one, {last}"
    ))
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
    error.code().is_none() || is_lost(error)
}

/// A batch has failed, and nothing of it is there.
fn not_committed(error: tokio_postgres::Error) -> Error {
    let in_the_way = is_in_the_way(&error);
    match failed("committing")(error) {
        Error::Database(text) if in_the_way => Error::Unavailable(text),
        why => why,
    }
}

/// The tid that a row of the call gives to a transaction.
fn tid_given(row: &Row) -> Option<i64> {
    let kind = value::<&str>(row, 0).ok()?;
    value(row, 2).ok().filter(|_| kind == "t")
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

fn locks_lost() -> Error {
    Error::Unavailable(
        "the connection to PostgreSQL that held the locks of this transaction is lost".to_owned(),
    )
}
