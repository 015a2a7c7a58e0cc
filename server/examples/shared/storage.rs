//! A small storage that others change, too: in memory, on the public interface only.
//!
//! A [`Database`] is what several writers share. A [`View`] is the storage that one server makes
//! of it: it gives the tids itself, in `append`, and reports what others commit. It is optimistic:
//! between the vote and the append somebody else may be faster, and then the append refuses the
//! transaction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use zeo_proto::{Oid, Tid};
use zeo_storage::storage::{
    Appended, Commit, HistoryEntry, Invalidation, OnConflict, Op, Outside, OutsideChange, Prepared,
    Revision, TransactionIter, TransactionMeta, Vote, Wake,
};
use zeo_storage::{Error, MappingStorage, Result, Storage};

/// What happens to a database beside the usual.
pub trait Weather: Send + Sync {
    /// The database's clock.
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
    /// Others may come in between here.
    fn between(&self) {}
    /// Something is published, and no client was told of it yet.
    fn before_announcing(&self) {}
    /// The connection to the database breaks here.
    fn breaks(&self) -> bool {
        false
    }
    /// The database can't be reached now.
    fn is_away(&self) -> bool {
        false
    }
    /// The server thinks that the database is on another machine.
    fn is_remote(&self) -> bool {
        false
    }
    /// A revision has to be asked for there.
    fn must_ask(&self) -> bool {
        true
    }
    /// Somebody has packed the revisions that are not current any more.
    fn has_packed(&self) -> bool {
        false
    }
    /// The storage does not report the changes that it knows of until the next time, against its
    /// duty.
    fn withholds(&self) -> bool {
        false
    }
}

/// What several writers share.
pub struct Database {
    data: Box<dyn Storage>,
    log: Mutex<Log>,
    weather: Box<dyn Weather>,
}

/// Every change, in the order of tids.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    wakes: Vec<Wake>,
}

struct Entry {
    tid: Tid,
    /// The view that made it; `None`: somebody else.
    author: Option<usize>,
    /// `None`: nobody knows what was changed.
    oids: Option<Vec<Oid>>,
}

impl Log {
    fn last(&self) -> Tid {
        self.entries.last().map_or(Tid::ZERO, |entry| entry.tid)
    }
}

impl Database {
    /// An empty database.
    pub fn new(weather: impl Weather + 'static) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            data: Box::new(MappingStorage::new("shared")?),
            log: Mutex::default(),
            weather: Box::new(weather),
        }))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tid by the clock, but later than all before.
    fn next(&self, log: &Log) -> Tid {
        let now = Tid::from_time(self.weather.now());
        now.later_than(log.last()).unwrap_or(Tid::MAX)
    }

    /// The last transaction, whoever made it.
    pub fn last(&self) -> Tid {
        self.log().last()
    }

    /// The current serial of an object; zero when there is none.
    pub fn serial(&self, oid: Oid) -> Tid {
        self.data.get_tid(oid).unwrap_or(Tid::ZERO)
    }

    /// A transaction by somebody else; its tid, if it does not meet a conflict.
    pub fn commit(&self, ops: &[Op]) -> Result<Tid> {
        let meta = TransactionMeta {
            status: b' ',
            ..TransactionMeta::default()
        };
        self.commit_as(None, &meta, ops)
    }

    /// Changes that nobody knows of: the storage can't tell any more what was changed since.
    pub fn lose_track(&self) -> Tid {
        let mut log = self.log();
        let tid = self.next(&log);
        log.entries.push(Entry {
            tid,
            author: None,
            oids: None,
        });
        log.wakes.iter().for_each(Wake::wake);
        tid
    }

    fn commit_as(&self, author: Option<usize>, meta: &TransactionMeta, ops: &[Op]) -> Result<Tid> {
        let mut log = self.log();
        let mut again = ops.iter().cloned().map(Ok);
        let Vote::Ready(prepared) = self.data.prepare(meta, &mut again, OnConflict::Resolve)?
        else {
            return Err(Error::Transaction("a conflict is reported".to_owned()));
        };
        let tid = meta.tid.unwrap_or_else(|| self.next(&log));
        let oids = prepared.oids.clone();
        let mut batch = [Commit { tid, prepared }];
        self.data.append(&mut batch)?;
        batch.iter().for_each(|commit| self.data.publish(commit));
        log.entries.push(Entry {
            tid,
            author,
            oids: Some(oids),
        });
        log.wakes.iter().for_each(Wake::wake);
        Ok(tid)
    }
}

/// The storage that one server makes of the database.
pub struct View {
    database: Arc<Database>,
    number: usize,
    /// The last transaction that this server has published.
    published: AtomicU64,
    /// How many entries of the log were reported.
    reported: Mutex<usize>,
}

/// What a vote leaves for the append.
struct Work {
    meta: TransactionMeta,
    ops: Vec<Op>,
}

impl View {
    /// A view that has seen all that is there now. Each view has a number of its own.
    pub fn new(database: &Arc<Database>, number: usize) -> Self {
        let log = database.log();
        Self {
            database: Arc::clone(database),
            number,
            published: AtomicU64::new(log.last().as_u64()),
            reported: Mutex::new(log.entries.len()),
        }
    }

    fn published(&self) -> Tid {
        Tid::new(self.published.load(Ordering::Acquire))
    }

    /// What is published, and not what others have committed since.
    fn published_revision(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        let published = self.published();
        let after = Tid::ZERO.later_than(published).unwrap_or(Tid::MAX);
        let Some(found) = self.database.data.load_before(oid, before.min(after))? else {
            // What only others have stored so far is unknown here.
            return if before > published {
                Err(Error::NoObject(oid))
            } else {
                Ok(None)
            };
        };
        let next = found.next.filter(|&next| next <= published);
        if next.is_some() && self.database.weather.has_packed() {
            return Ok(None);
        }
        Ok(Some(Revision { next, ..found }))
    }

    fn publish_up_to(&self, tid: Tid) {
        self.database.weather.between();
        self.published.fetch_max(tid.as_u64(), Ordering::AcqRel);
        self.database.weather.before_announcing();
    }

    /// What others have changed and was not reported yet.
    fn report(&self) -> Vec<OutsideChange> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let log = self.database.log();
        if self.database.weather.withholds() {
            return Vec::new();
        }
        let news = log.entries.get(*reported..).unwrap_or_default();
        *reported += news.len();
        let others = news
            .iter()
            .filter(|entry| entry.author != Some(self.number));
        let changes = others.map(|entry| match &entry.oids {
            Some(oids) => OutsideChange::Transaction {
                tid: entry.tid,
                oids: oids.clone(),
            },
            None => OutsideChange::Unknown { tid: entry.tid },
        });
        changes.collect()
    }

    /// The outcome of this batch is not known: what of it is committed will be reported as if
    /// somebody else had done it.
    fn unsettled(&self, batch: &[Commit]) -> Error {
        for entry in &mut self.database.log().entries {
            if batch.iter().any(|commit| commit.tid == entry.tid) {
                entry.author = None;
            }
        }
        Error::Unsettled("the connection is gone".to_owned())
    }

    fn check_reachable(&self) -> Result<()> {
        if self.database.weather.is_away() {
            return Err(Error::Unavailable(
                "the database can't be reached".to_owned(),
            ));
        }
        Ok(())
    }
}

impl zeo_storage::storage::Layer for View {
    fn below(&self) -> &dyn Storage {
        &*self.database.data
    }

    fn last_tid(&self) -> Tid {
        self.published()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        self.published_revision(oid, before)
    }

    fn get_tid(&self, oid: Oid) -> Result<Tid> {
        let current = self.published_revision(oid, Tid::MAX)?;
        Ok(current.ok_or(Error::NoObject(oid))?.serial)
    }

    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        let published = self.published();
        let entries = self.database.data.history(oid, usize::MAX)?.into_iter();
        let entries = entries.filter(|entry| entry.tid <= published);
        Ok(entries.take(size).collect())
    }

    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter> {
        let published = self.published();
        let stop = stop.map_or(published, |stop| stop.min(published));
        self.database.data.iterator(start, Some(stop))
    }

    fn last_invalidations(&self, count: usize) -> Result<Option<Vec<Invalidation>>> {
        let published = self.published();
        let log = self.database.log();
        let mut last: Vec<_> = log
            .entries
            .iter()
            .rev()
            .skip_while(|entry| entry.tid > published)
            .map_while(|entry| Some((entry.tid, entry.oids.clone()?)))
            .take(count)
            .collect();
        last.reverse();
        Ok(Some(last))
    }

    /// Checks what is there now. The transaction is checked once more when it is appended.
    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote> {
        self.check_reachable()?;
        let ops: Vec<Op> = ops.collect::<Result<_>>()?;
        let mut again = ops.iter().cloned().map(Ok);
        Ok(
            match self.database.data.prepare(meta, &mut again, on_conflict)? {
                Vote::Ready(checked) => {
                    let meta = meta.clone();
                    Vote::Ready(Prepared::new(checked.oids.clone(), Work { meta, ops }))
                }
                conflicts => conflicts,
            },
        )
    }

    fn append(&self, batch: &mut [Commit]) -> Result<Appended> {
        self.check_reachable()?;
        let weather = &self.database.weather;
        let mut appended = Appended::default();
        for place in 0..batch.len() {
            weather.between();
            if weather.breaks() {
                return Err(self.unsettled(batch));
            }
            let Some(commit) = batch.get_mut(place) else {
                break;
            };
            let Work { meta, ops } = commit.prepared.work()?;
            match self.database.commit_as(Some(self.number), meta, ops) {
                Ok(tid) => commit.tid = tid,
                Err(why) => appended.refused.push((place, why)),
            }
            if weather.breaks() {
                return Err(self.unsettled(batch));
            }
        }
        weather.between();
        appended.outside = self.report();
        Ok(appended)
    }

    fn publish(&self, commit: &Commit) {
        self.publish_up_to(commit.tid);
    }

    fn outside(&self) -> Option<&dyn Outside> {
        Some(self)
    }

    /// The database lives on.
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

impl Outside for View {
    fn watch(&self, wake: Wake) {
        self.database.log().wakes.push(wake);
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(200)
    }

    fn poll(&self) -> Result<Vec<OutsideChange>> {
        self.database.weather.between();
        self.check_reachable()?;
        let found = self.report();
        self.database.weather.between();
        Ok(found)
    }

    fn is_remote(&self) -> bool {
        self.database.weather.is_remote()
    }

    fn must_ask(&self, _: Oid, _: Tid) -> bool {
        self.database.weather.must_ask()
    }

    fn publish_change(&self, change: &OutsideChange) {
        self.publish_up_to(change.tid());
    }
}
