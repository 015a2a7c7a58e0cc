//! Packing with garbage collection, beside commits by anybody.
//!
//! 1. RelStorage's pack lock (-2), so that there is one pack at a time over all processes, and no undo.
//! 2. [`reach`] finds what can be reached.
//! 3. [`remove`] goes through the table and removes the rest in small transactions: revisions that were
//!    superseded at the pack time, then, while nobody commits, objects that are garbage. (Large objects
//!    of blobs go with them, by RelStorage's trigger.) At last, transactions that have no objects any
//!    more.
//!
//! Whatever ends it leaves a database that is as if only that had been garbage which is gone already;
//! the next pack finds the rest. Tables in which RelStorage notes references are left alone, except
//! that what is removed is removed there too.

mod reach;
mod remove;
mod sql;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zeo_proto::Tid;

use self::reach::Reach;
use self::remove::{Batches, Counts, Removal};
use self::sql::{BEGIN, FREE, PRESERVING};
use super::ids::tid_of;
use super::session::{Session, failed, value};
use super::sql::TRY_PACK_LOCK;
use super::storage::PostgresStorage;
use crate::log::Level;
use crate::packing::pack_stop;
use crate::packing::watch::Watch;
use crate::{Error, Result};

/// How long a pack waits until what others have committed is published here.
const PUBLICATION_MAX: Duration = Duration::from_secs(5);

/// How many times as long as others an answer may take: a page of rows, or the removal of some, on a disk that
/// has much to do.
const PATIENCE: u32 = 4;

/// How long it waits for the pack lock, which an undo has for a moment, and how often it tries.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

impl PostgresStorage {
    /// [`Storage::pack`](crate::Storage::pack). As in RelStorage, a time in the future or before 1970
    /// means now.
    pub(super) fn pack_to(&self, time: f64, gc: Option<bool>) -> Result<()> {
        if self.settings.read_only {
            return Err(Error::ReadOnly);
        }
        let stop = stop_of(time)?;
        let busy = |_| Error::Database("a pack of this database is running already".to_owned());
        let _running = self.packing.state.begin().map_err(busy)?;
        let name = crate::Storage::name(self);
        let (check, mut observer) = (|| self.packing.check(), ());
        let (log, state) = (self.connector.logger(), &self.packing.state);
        let mut watch = Watch::new(&name, log, state, &check, &mut observer);
        let begun = Instant::now();
        match self.pack_once(stop, gc.unwrap_or(self.settings.pack_gc), &mut watch) {
            Ok(None) => watch.say("nothing to do: there is no transaction up to the pack time"),
            Ok(Some(counts)) => self.tell_end(&counts, begun.elapsed()),
            Err(Error::Cancelled) => {
                let what = "the pack was cancelled; what it has removed by then was garbage";
                self.connector.log(Level::Warning, what);
                return Err(Error::Cancelled);
            }
            Err(why) => {
                let what = format!("the pack failed: {why}");
                self.connector.log(Level::Error, &what);
                return Err(why);
            }
        }
        self.measure_sizes();
        Ok(())
    }

    fn pack_once(&self, stop: Tid, gc: bool, watch: &mut Watch<'_>) -> Result<Option<Counts>> {
        watch.check()?;
        // Locks of transactions that have ended.
        self.lockers.wait_for_unlocks();
        // What clients of this server see as current stays.
        self.wait_for_publication(self.last_committed()?, Instant::now() + PUBLICATION_MAX);
        let limit = tid_of(stop.min(self.published()))?;
        let sql = if self.settings.keep_history {
            &PRESERVING
        } else {
            &FREE
        };
        let mut session = self.connector.connect_for_short("pack")?;
        let beginning = failed("beginning a pack");
        session.set_limit(self.connector.answer_time * PATIENCE);
        session.batch(BEGIN).map_err(&beginning)?;
        lock(&mut session)?;
        let rows = session.query(sql.stop, &[&limit]).map_err(beginning)?;
        let Some(stop) = rows
            .first()
            .map_or(Ok(None), |row| value::<Option<i64>>(row, 0))?
        else {
            return Ok(None);
        };
        let last = Tid::new(stop.cast_unsigned());
        watch.say(&format!("to {last}, garbage collection {gc}"));
        let mut reach = gc.then(|| Reach::new(sql, stop));
        if let Some(reach) = &mut reach {
            reach.find(&mut session, watch)?;
        }
        let mut removal = Removal {
            session,
            sql,
            recent: &self.recent,
            stop,
            reach,
            keep_history: self.settings.keep_history,
            only_count: self.settings.pack_prepack_only,
            batches: Batches::default(),
            counts: Counts::default(),
        };
        removal.run(watch)?;
        if let Err(error) = removal.session.batch(self.sql.analyze) {
            let why = failed("estimating the sizes of tables")(error);
            self.connector.log(Level::Warning, &why.to_string());
        }
        if !self.settings.pack_prepack_only {
            self.packing.packed_up_to(stop);
            if let Err(why) = self.remove_packed_files(stop) {
                let what = format!("files of packed blobs stay in the blob-dir: {why}");
                self.connector.log(Level::Warning, &what);
            }
        }
        Ok(Some(removal.counts))
    }

    fn tell_end(&self, counts: &Counts, took: Duration) {
        let (objects, revisions) = (counts.objects, counts.revisions);
        let would = if self.settings.pack_prepack_only {
            "would remove (pack-prepack-only)"
        } else {
            "has removed"
        };
        let what = format!(
            "a pack {would} {objects} objects, {revisions} revisions of others and {} transactions, in \
             {:.1} s; commits were held for up to {:.1} ms",
            counts.transactions,
            took.as_secs_f64(),
            counts.held.as_secs_f64() * 1000.0
        );
        self.connector.log(Level::Info, &what);
    }
}

/// Takes the pack lock, for as long as the connection is there.
fn lock(session: &mut Session) -> Result<()> {
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        let rows = session.query(TRY_PACK_LOCK, &[]);
        let rows = rows.map_err(failed("locking packs"))?;
        if rows.first().map_or(Ok(false), |row| value(row, 0))? {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::Database(
                "another process packs this database, or undoes a transaction".to_owned(),
            ));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// The last tid up to a pack time in seconds since 1970.
fn stop_of(time: f64) -> Result<Tid> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    if time < 0.0 || now.is_ok_and(|now| (now.as_secs_f64()..f64::INFINITY).contains(&time)) {
        return Ok(Tid::MAX);
    }
    pack_stop(time)
}
