//! What others have committed.
//!
//! Tids become visible in rising order in such a database, since all processes commit under one lock
//! (-1), which is held until the commit is visible. So what is later than the last tid that was
//! reported is all that is new.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_postgres::Row;
use zeo_proto::{Oid, Tid};

use super::groups::{Changed, groups};
use super::ids::{oid_of, tid_of};
use super::session::value;
use super::storage::PostgresStorage;
use crate::Result;
use crate::storage::{DatabaseUsers, Invalidation, Outside, OutsideChange, Wake};

/// Of how many changed objects clients are told at once: with more, they drop their caches.
const CHANGED_MAX: usize = 1_000_000;

/// How many transactions are asked for at once. (Without history, all are: see `groups`.)
const PAGE: usize = 1000;

impl PostgresStorage {
    /// The last tid that is in a report.
    pub(super) fn reported(&self) -> u64 {
        self.reported.load(Ordering::Acquire)
    }

    pub(super) fn reported_up_to(&self, tid: Tid) {
        self.reported.fetch_max(tid.as_u64(), Ordering::AcqRel);
    }

    /// Changes as they are reported, without transactions of our `own`. They are kept until they are
    /// published.
    pub(super) fn new_changes(&self, rows: Vec<Changed>, own: &[Tid]) -> Vec<OutsideChange> {
        if let Some(&(last, ..)) = rows.last() {
            self.reported_up_to(Tid::new(last.cast_unsigned()));
        }
        let groups = groups(rows, own, self.settings.keep_history).into_iter();
        let mut unpublished = self.unpublished();
        let changes = groups.map(|group| {
            let (tid, oids) = (group.last, group.oids());
            unpublished.insert(tid, group);
            OutsideChange::Transaction { tid, oids }
        });
        changes.collect()
    }

    /// What others have committed since the last report, beside transactions of our `own`.
    pub(super) fn changes_beside(&self, own: &[Tid]) -> Result<Vec<OutsideChange>> {
        let since = self.reported().cast_signed();
        let rows = self.query("looking for changes", self.sql.changes, &[&since])?;
        self.all_changes(changed(&rows, 0)?, own)
    }

    /// Changes as they are reported, with those behind the page that is there.
    fn all_changes(&self, mut rows: Vec<Changed>, own: &[Tid]) -> Result<Vec<OutsideChange>> {
        let mut goes_on = self.settings.keep_history && is_full(&rows);
        while goes_on && rows.len() <= CHANGED_MAX {
            let since = rows.last().map_or(0, |&(tid, ..)| tid);
            let more = self.query("looking for changes", self.sql.changes, &[&since])?;
            let more = changed(&more, 0)?;
            goes_on = is_full(&more);
            rows.extend(more);
        }
        if rows.len() <= CHANGED_MAX {
            return Ok(self.new_changes(rows, own));
        }
        let what =
            format!("others have changed more than {CHANGED_MAX} objects since the last poll");
        Ok(vec![self.begin_again(&what)?])
    }

    /// The last transactions with their oids, oldest first.
    pub(super) fn last_changes(&self, count: usize) -> Result<Vec<Invalidation>> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let last = tid_of(self.published())?;
        let rows = self.query(
            "looking for changes",
            self.sql.last_changes,
            &[&count, &last],
        )?;
        let pairs = rows.iter().map(|row| Ok((value(row, 0)?, value(row, 1)?)));
        Ok(by_transaction(pairs.collect::<Result<_>>()?))
    }
}

/// Rows in the order of tids as transactions; a row without oid is one that changes nothing.
fn by_transaction(rows: Vec<(i64, Option<i64>)>) -> Vec<Invalidation> {
    let mut transactions: Vec<Invalidation> = Vec::new();
    for (tid, oid) in rows {
        let tid = Tid::new(tid.cast_unsigned());
        let oid = oid.map(oid_of);
        match transactions.last_mut() {
            Some((last, oids)) if *last == tid => oids.extend(oid),
            _ => transactions.push((tid, oid.into_iter().collect())),
        }
    }
    transactions
}

/// The changes that stand in rows, from this column on.
fn changed(rows: &[Row], column: usize) -> Result<Vec<Changed>> {
    let mut changes = Vec::new();
    for row in rows {
        if let Some(tid) = value(row, column)? {
            let (oid, state) = (value(row, column + 1)?, value(row, column + 2)?);
            changes.push((tid, oid, state, value(row, column + 3)?));
        }
    }
    Ok(changes)
}

/// Whether there may be more behind the page.
fn is_full(page: &[Changed]) -> bool {
    page.chunk_by(|one, next| one.0 == next.0).count() >= PAGE
}

impl Outside for PostgresStorage {
    fn watch(&self, wake: Wake) {
        let news = Arc::clone(&self.news);
        let wake = Wake::new(move || {
            news.hear();
            wake.wake();
        });
        self.peers.listen(wake.clone());
        let _ = self.wake.set(wake);
    }

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    fn poll(&self) -> Result<Vec<OutsideChange>> {
        self.refresh_sizes();
        self.give_back_kept();
        let begun = self.news.begin();
        let reported = self.reported().cast_signed();
        let rows = self.query("looking for changes", self.sql.poll, &[&reported])?;
        if self.went_back(&rows)? {
            return Ok(vec![self.begin_again_after_loss()?]);
        }
        let changes = self.all_changes(changed(&rows, 2)?, &[])?;
        self.news.report(begun);
        Ok(changes)
    }

    fn announce(&self, address: &str) {
        self.peers.servers.announce(address);
    }

    fn give_up(&self) {
        self.connector.end();
    }

    fn users(&self) -> Option<DatabaseUsers> {
        self.peers.servers.users()
    }

    /// What a commit of ours has reported meanwhile is not asked for again: with several servers that
    /// commit all the time, that would be for each of their notifications.
    fn poll_told(&self) -> Result<Vec<OutsideChange>> {
        if self.news.are_known(self.poll_interval() / 4) {
            return Ok(Vec::new());
        }
        self.poll()
    }

    fn await_turn(&self) {
        self.wait_for_turn();
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn must_ask(&self, oid: Oid, before: Tid) -> bool {
        !self.recent.has(oid, before)
    }

    fn changed_since(&self, since: Tid) -> Result<Option<(Tid, Vec<Oid>)>> {
        let last = self.published();
        let most = CHANGED_MAX as i64;
        let params = (tid_of(since)?, tid_of(last)?, most + 1);
        let rows = self.query(
            "looking for changes",
            self.sql.changed_since,
            &[&params.0, &params.1, &params.2],
        )?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        if value::<i64>(row, 1)? > most {
            return Ok(None);
        }
        let oids = value::<Option<Vec<i64>>>(row, 0)?.unwrap_or_default();
        Ok(Some((last, oids.into_iter().map(oid_of).collect())))
    }

    fn publish_change(&self, change: &OutsideChange) {
        let tid = change.tid();
        match change {
            OutsideChange::Transaction { .. } => {
                let group = self.unpublished().remove(&tid);
                if let Some(group) = group {
                    self.recent.changed(group.first, group.objects());
                }
            }
            _ => {
                self.unpublished().clear();
                self.recent.clear(tid);
            }
        }
        self.publish_up_to(tid);
    }
}
