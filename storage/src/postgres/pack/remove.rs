//! Removing what a pack does not keep.
//!
//! A revision that another one has superseded at the pack time is of no use to anybody. The last
//! revision of an object that is garbage may be: somebody may change the object at this moment, or
//! refer to it again. So it is removed while nobody commits, after a look at what was committed
//! meanwhile, and not if somebody has locked the object.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use zeo_proto::Tid;

use super::reach::Reach;
use super::sql::{
    BEGIN_ALONE, CUT_CHAINS, EMPTY, MARK_PACKED, PackSql, REMOVE_EMPTY, REMOVE_SUPERSEDED, UNUSED,
};
use crate::Result;
use crate::packing::watch::Watch;
use crate::postgres::ids::oid_of;
use crate::postgres::recent::Recent;
use crate::postgres::session::{Session, failed, value};
use crate::postgres::sql::COMMIT_LOCK;

/// How many revisions are removed at once, at most.
const BATCH_MAX: usize = 500;
/// And at least, when they take long: a blob does.
const BATCH_MIN: usize = 10;
/// Commits are to be held up for less than this.
const HELD_MAX: Duration = Duration::from_millis(50);

/// What is done with garbage.
pub(super) struct Removal<'a> {
    pub session: Session,
    pub sql: &'static PackSql,
    pub recent: &'a Recent,
    pub stop: i64,
    /// With garbage collection.
    pub reach: Option<Reach>,
    pub keep_history: bool,
    /// Nothing is removed, only counted.
    pub only_count: bool,
    pub batch: usize,
    pub counts: Counts,
}

/// How much was found and removed.
#[derive(Default)]
pub(super) struct Counts {
    pub examined: u64,
    pub revisions: u64,
    pub objects: u64,
    pub transactions: u64,
    /// For how long commits were held up at once, at most.
    pub held: Duration,
    is_marked: bool,
}

/// Revisions: objects, tids, and whether the object is gone in it.
type Revisions = Vec<(i64, i64, bool)>;

impl Removal<'_> {
    /// Goes through all revisions up to the pack time.
    ///
    /// # Errors
    /// Those of the watch and the connection.
    pub fn run(&mut self, watch: &mut Watch<'_>) -> Result<()> {
        let (mut oid, mut tid) = (-1_i64, -1_i64);
        let (mut superseded, mut garbage) = (Revisions::new(), Revisions::new());
        loop {
            let params: crate::postgres::session::Params = &[&oid, &tid, &self.stop];
            let rows = self.session.query(self.sql.revisions, params);
            let rows = rows.map_err(failed("looking through revisions"))?;
            for row in &rows {
                (oid, tid) = (value(row, 0)?, value(row, 1)?);
                let (is_gone, next) = (value(row, 2)?, value::<Option<i64>>(row, 3)?);
                let reach = self.reach.as_ref();
                let is_garbage = is_gone || reach.is_some_and(|reach| !reach.has(oid_of(oid)));
                if next.is_some_and(|next| next <= self.stop) {
                    superseded.push((oid, tid, is_gone));
                } else if next.is_none() && is_garbage {
                    garbage.push((oid, tid, is_gone));
                }
                if superseded.len() >= BATCH_MAX {
                    self.remove_superseded(std::mem::take(&mut superseded), watch)?;
                }
                if garbage.len() >= self.batch {
                    self.remove_garbage(std::mem::take(&mut garbage), watch)?;
                }
            }
            self.counts.examined += rows.len() as u64;
            watch.objects("removing", self.counts.examined)?;
            if rows.is_empty() {
                break;
            }
        }
        self.remove_superseded(superseded, watch)?;
        self.remove_garbage(garbage, watch)?;
        if self.keep_history && !self.only_count {
            // Also if there was nothing to be removed.
            self.mark_packed(watch)?;
            self.remove_empty(watch)?;
        }
        if !self.keep_history && !self.only_count {
            self.recent.pack(Tid::new(self.stop.cast_unsigned()));
        }
        Ok(())
    }

    fn remove_superseded(&mut self, batch: Revisions, watch: &mut Watch<'_>) -> Result<()> {
        if batch.is_empty() || self.only_count {
            self.counts.revisions += batch.len() as u64;
            return Ok(());
        }
        self.mark_packed(watch)?;
        let (oids, tids) = columns(&batch);
        let removing = failed("removing revisions");
        self.session.batch("BEGIN").map_err(&removing)?;
        let removed = self.session.query(REMOVE_SUPERSEDED, &[&oids, &tids]);
        let removed = removed.map_err(&removing)?.len();
        self.session
            .query(CUT_CHAINS, &[&oids, &tids])
            .map_err(&removing)?;
        self.session.batch("COMMIT").map_err(removing)?;
        self.counts.revisions += removed as u64;
        self.forget(&batch);
        Ok(())
    }

    fn remove_garbage(&mut self, mut batch: Revisions, watch: &mut Watch<'_>) -> Result<()> {
        if batch.is_empty() || self.only_count {
            self.counts.objects += batch.len() as u64;
            return Ok(());
        }
        self.mark_packed(watch)?;
        let removing = failed("removing objects");
        loop {
            watch.check()?;
            if let Some(reach) = &mut self.reach {
                reach.catch_up(&mut self.session, watch)?;
            }
            if !self.begin_alone()? {
                continue;
            }
            let since = Instant::now();
            if let Some(reach) = &mut self.reach
                && reach.scan(&mut self.session, watch)?
            {
                // Following references may take long: not while nobody can commit.
                self.session.batch("ROLLBACK").map_err(&removing)?;
                continue;
            }
            if let Some(reach) = &self.reach {
                batch.retain(|&(oid, _, is_gone)| is_gone || !reach.has(oid_of(oid)));
            }
            self.retain_unused(&mut batch)?;
            let (oids, tids) = columns(&batch);
            for sql in self.sql.remove_garbage {
                let done = self.session.query(sql, &[&oids, &tids]);
                done.map_err(&removing)?;
            }
            self.session.batch("COMMIT").map_err(&removing)?;
            self.counts.objects += batch.len() as u64;
            self.forget(&batch);
            self.held(since.elapsed());
            return Ok(());
        }
    }

    /// Leaves those that nobody is about to change.
    fn retain_unused(&mut self, batch: &mut Revisions) -> Result<()> {
        let (oids, _) = columns(batch);
        let rows = self.session.query(UNUSED, &[&oids]);
        let rows = rows.map_err(failed("locking objects"))?;
        let unused = rows.iter().map(|row| value::<i64>(row, 0));
        let unused: std::collections::HashSet<_> = unused.collect::<Result<_>>()?;
        batch.retain(|(oid, ..)| unused.contains(oid));
        Ok(())
    }

    /// Begins a transaction while which nobody commits; false if somebody has been at it for too long.
    fn begin_alone(&mut self) -> Result<bool> {
        let waiting = failed("waiting for commits");
        self.session.batch(BEGIN_ALONE).map_err(&waiting)?;
        match self.session.query(COMMIT_LOCK, &[]) {
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                self.session.batch("ROLLBACK").map_err(waiting)?;
                Ok(false)
            }
            other => other.map(|_| true).map_err(waiting),
        }
    }

    /// Commits were held up for so long. Lets others go first, and removes more or less at once from
    /// now on.
    fn held(&mut self, held: Duration) {
        self.counts.held = self.counts.held.max(held);
        self.batch = if held > HELD_MAX {
            self.batch / 2
        } else {
            self.batch * 2
        }
        .clamp(BATCH_MIN, BATCH_MAX);
        std::thread::sleep(held.min(HELD_MAX));
    }

    /// Loads don't find them in memory any more.
    fn forget(&self, batch: &Revisions) {
        for &(oid, tid, _) in batch {
            self.recent
                .forget(oid_of(oid), Tid::new(tid.cast_unsigned()));
        }
    }

    /// Before anything is removed: what a packed transaction has changed can't be undone.
    fn mark_packed(&mut self, watch: &mut Watch<'_>) -> Result<()> {
        if self.counts.is_marked || !self.keep_history {
            return Ok(());
        }
        let mut last = Some(0_i64);
        while let Some(tid) = last {
            watch.check()?;
            let rows = self.session.query(MARK_PACKED, &[&tid, &self.stop]);
            let rows = rows.map_err(failed("marking transactions"))?;
            last = rows.first().map_or(Ok(None), |row| value(row, 0))?;
        }
        self.counts.is_marked = true;
        Ok(())
    }

    /// Removes transactions without objects.
    fn remove_empty(&mut self, watch: &mut Watch<'_>) -> Result<()> {
        let removing = failed("removing transactions");
        let mut last = 0_i64;
        loop {
            watch.objects("removing transactions", self.counts.transactions)?;
            let rows = self.session.query(EMPTY, &[&last, &self.stop]);
            let rows = rows.map_err(&removing)?;
            let tids = rows.iter().map(|row| value(row, 0));
            let tids = tids.collect::<Result<Vec<i64>>>()?;
            let Some(&next) = tids.last() else {
                return Ok(());
            };
            if !self.begin_alone()? {
                continue;
            }
            let since = Instant::now();
            for sql in REMOVE_EMPTY {
                self.session.query(sql, &[&tids]).map_err(&removing)?;
            }
            self.session.batch("COMMIT").map_err(&removing)?;
            self.counts.transactions += tids.len() as u64;
            self.counts.held = self.counts.held.max(since.elapsed());
            last = next;
        }
    }
}

fn columns(batch: &Revisions) -> (Vec<i64>, Vec<i64>) {
    batch.iter().map(|&(oid, tid, _)| (oid, tid)).unzip()
}
