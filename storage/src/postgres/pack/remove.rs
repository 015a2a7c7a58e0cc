//! Removing what a pack does not keep.
//!
//! A revision that another one has superseded at the pack time is of no use to anybody. The last
//! revision of an object that is garbage may be: somebody may change the object at this moment, or
//! refer to it again. So it is removed while nobody commits, after a look at what was committed
//! meanwhile, and not if somebody has locked the object.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use zeo_proto::Tid;

use super::reach::Reach;
use super::sql::{
    BEGIN_ALONE, CUT_CHAINS, EMPTY, MARK_PACKED, PackSql, REMOVE_EMPTY, REMOVE_SUPERSEDED, UNUSED,
    WITH_BLOBS,
};
use crate::Result;
use crate::packing::watch::Watch;
use crate::postgres::ids::oid_of;
use crate::postgres::recent::Recent;
use crate::postgres::session::{Session, failed, value};
use crate::postgres::sql::COMMIT_LOCK;

/// How many revisions are removed at once, at most.
const BATCH_MAX: usize = 500;
/// Commits are to be held up for less than this.
const HELD_MAX: Duration = Duration::from_millis(50);
/// What nobody waits for is to take less than this, so that the database counts as one that answers.
const TAKEN_MAX: Duration = Duration::from_secs(1);

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
    pub batches: Batches,
    pub counts: Counts,
}

/// What waits to be removed together. Of blobs apart: removing one may take as long as a hundred others, since
/// RelStorage's trigger reads all of `blob_chunk`.
pub(super) struct Batches {
    superseded: [Batch; 2],
    garbage: [Batch; 2],
}

struct Batch {
    revisions: Revisions,
    /// How many at once.
    size: usize,
}

impl Batch {
    /// Whether there are as many as are removed at once.
    fn is_full(&self) -> bool {
        self.revisions.len() >= self.size
    }

    /// Takes them if they are full, or if there are `any`.
    fn take(&mut self, any: bool) -> Option<Revisions> {
        let is_due = self.is_full() || any && !self.revisions.is_empty();
        is_due.then(|| std::mem::take(&mut self.revisions))
    }

    fn adapt(&mut self, took: Duration, max: Duration) {
        self.size = adapted(self.size, took, max);
    }
}

/// How many to remove at once from now on, after so many have taken so long. Twice as many have to fit well,
/// also if they take twice as long as these.
fn adapted(size: usize, took: Duration, max: Duration) -> usize {
    let size = if took > max {
        size / 2
    } else if took < max / 4 {
        size * 2
    } else {
        size
    };
    size.clamp(1, BATCH_MAX)
}

impl Default for Batches {
    fn default() -> Self {
        let batch = |size| Batch {
            revisions: Revisions::new(),
            size,
        };
        Self {
            superseded: [batch(BATCH_MAX), batch(100)],
            garbage: [batch(100), batch(1)],
        }
    }
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
        loop {
            let params: crate::postgres::session::Params = &[&oid, &tid, &self.stop];
            let rows = self.session.query(self.sql.revisions, params);
            let rows = rows.map_err(failed("looking through revisions"))?;
            let (mut superseded, mut garbage) = (Revisions::new(), Revisions::new());
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
            }
            self.remove(superseded, garbage, watch)?;
            self.counts.examined += rows.len() as u64;
            watch.objects("removing", self.counts.examined)?;
            if rows.is_empty() {
                break;
            }
        }
        self.remove_waiting(true, watch)?;
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

    /// Removes these with those that wait, as soon as there are enough of them.
    fn remove(
        &mut self,
        superseded: Revisions,
        garbage: Revisions,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        if self.only_count {
            self.counts.revisions += superseded.len() as u64;
            self.counts.objects += garbage.len() as u64;
            return Ok(());
        }
        if superseded.is_empty() && garbage.is_empty() {
            return Ok(());
        }
        let oids: Vec<i64> = superseded
            .iter()
            .chain(&garbage)
            .map(|&(oid, ..)| oid)
            .collect();
        let found = self.session.query(WITH_BLOBS, &[&oids]);
        let found = found.map_err(failed("looking for blobs"))?;
        let with_blobs = found.iter().map(|row| value::<i64>(row, 0));
        let with_blobs: HashSet<_> = with_blobs.collect::<Result<_>>()?;
        for revision in superseded {
            let kind = usize::from(with_blobs.contains(&revision.0));
            self.batches.superseded[kind].revisions.push(revision);
            self.remove_waiting(false, watch)?;
        }
        for revision in garbage {
            let kind = usize::from(with_blobs.contains(&revision.0));
            self.batches.garbage[kind].revisions.push(revision);
            self.remove_waiting(false, watch)?;
        }
        Ok(())
    }

    /// Removes what is full, or all. Old revisions of garbage go before the last one, so that none of them becomes
    /// the last one if this ends in between.
    fn remove_waiting(&mut self, all: bool, watch: &mut Watch<'_>) -> Result<()> {
        let before = all || self.batches.garbage.iter().any(Batch::is_full);
        for kind in [0, 1] {
            if let Some(revisions) = self.batches.superseded[kind].take(before) {
                let took = self.remove_superseded(&revisions, watch)?;
                self.batches.superseded[kind].adapt(took, TAKEN_MAX);
            }
        }
        for kind in [0, 1] {
            if let Some(revisions) = self.batches.garbage[kind].take(all) {
                let held = self.remove_garbage(revisions, watch)?;
                self.batches.garbage[kind].adapt(held, HELD_MAX);
                self.counts.held = self.counts.held.max(held);
                // Others go first.
                std::thread::sleep(held.min(HELD_MAX));
            }
        }
        Ok(())
    }

    /// How long that has taken.
    fn remove_superseded(&mut self, batch: &Revisions, watch: &mut Watch<'_>) -> Result<Duration> {
        self.mark_packed(watch)?;
        let since = Instant::now();
        let (oids, tids) = columns(batch);
        let removing = failed("removing revisions");
        self.session.batch("BEGIN").map_err(&removing)?;
        let removed = self.session.query(REMOVE_SUPERSEDED, &[&oids, &tids]);
        let removed = removed.map_err(&removing)?.len();
        self.session
            .query(CUT_CHAINS, &[&oids, &tids])
            .map_err(&removing)?;
        self.session.batch("COMMIT").map_err(removing)?;
        self.counts.revisions += removed as u64;
        self.forget(batch);
        Ok(since.elapsed())
    }

    /// For how long commits were held up.
    fn remove_garbage(&mut self, mut batch: Revisions, watch: &mut Watch<'_>) -> Result<Duration> {
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
            return Ok(since.elapsed());
        }
    }

    /// Leaves those that nobody is about to change.
    fn retain_unused(&mut self, batch: &mut Revisions) -> Result<()> {
        let (oids, _) = columns(batch);
        let rows = self.session.query(UNUSED, &[&oids]);
        let rows = rows.map_err(failed("locking objects"))?;
        let unused = rows.iter().map(|row| value::<i64>(row, 0));
        let unused: HashSet<_> = unused.collect::<Result<_>>()?;
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
        let (mut last, mut size) = (0_i64, 100_usize);
        loop {
            watch.objects("removing transactions", self.counts.transactions)?;
            let limit = i64::try_from(size).unwrap_or(1);
            let rows = self.session.query(EMPTY, &[&last, &self.stop, &limit]);
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
            let held = since.elapsed();
            self.counts.held = self.counts.held.max(held);
            size = adapted(size, held, HELD_MAX);
            last = next;
        }
    }
}

fn columns(batch: &Revisions) -> (Vec<i64>, Vec<i64>) {
    batch.iter().map(|&(oid, tid, _)| (oid, tid)).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_and_shrink_to_what_takes_no_longer_than_it_may() {
        for each in [1, 2, 3, 7, 12, 20, 45].map(Duration::from_millis) {
            let time = |size: usize| each * u32::try_from(size).unwrap();
            let mut size = 1;
            for _ in 0..20 {
                size = adapted(size, time(size), HELD_MAX);
                assert!(time(size) <= HELD_MAX, "{size} of {each:?}");
            }
            assert!(time(size) >= HELD_MAX / 4, "{size} of {each:?}");
            // They take longer from now on.
            let time = |size: usize| time(size) * 10;
            for _ in 0..20 {
                size = adapted(size, time(size), HELD_MAX);
            }
            assert!(size == 1 || time(size) <= HELD_MAX, "{size} of {each:?}");
        }
        assert_eq!(adapted(BATCH_MAX, Duration::ZERO, HELD_MAX), BATCH_MAX);
    }
}
