//! What others have committed.
//!
//! Tids become visible in rising order in such a database, since all processes commit under one lock
//! (-1), which is held until the commit is visible. So what is later than the last tid that was
//! reported is all that is new.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_postgres::Row;
use zeo_proto::{Oid, Tid};

use super::ids::{number, oid_of, tid_of};
use super::session::{failed, value};
use super::sql::{BEFORE, HAS_OLDER};
use super::storage::PostgresStorage;
use super::writer::Writer;
use crate::log::Level;
use crate::storage::{DatabaseUsers, Invalidation, Outside, OutsideChange, Wake};
use crate::{Error, Result};

/// A row of a change by others: tid, oid, and the state if it is to be kept.
pub(super) type Changed = (i64, Option<i64>, Option<Vec<u8>>);

/// Of how many changes a client is told that was away: with more, it drops its cache.
const CHANGED_MAX: i64 = 1_000_000;

/// How many transactions one poll reports.
const PAGE: usize = 1000;

impl PostgresStorage {
    /// The last tid that is in a report.
    pub(super) fn reported(&self) -> u64 {
        self.reported.load(Ordering::Acquire)
    }

    pub(super) fn reported_up_to(&self, tid: Tid) {
        self.reported.fetch_max(tid.as_u64(), Ordering::AcqRel);
    }

    /// Changes as they are reported. Their states are kept until they are published.
    pub(super) fn new_changes(&self, rows: Vec<Changed>) -> Vec<OutsideChange> {
        let mut states = self.states_of_others();
        let rows = rows.into_iter().map(|(tid, oid, state)| {
            if let (Some(oid), Some(state)) = (oid, state) {
                states.insert((Tid::new(tid.cast_unsigned()), oid_of(oid)), state);
            }
            (tid, oid)
        });
        let changes = by_transaction(rows.collect());
        drop(states);
        if let Some((last, _)) = changes.last() {
            self.reported_up_to(*last);
        }
        let changes = changes.into_iter();
        changes
            .map(|(tid, oids)| OutsideChange::Transaction { tid, oids })
            .collect()
    }

    /// What was committed after `since`, a page of it.
    pub(super) fn changes_since(&self, since: u64) -> Result<Vec<OutsideChange>> {
        let since = since.cast_signed();
        let rows = self.query("looking for changes", self.sql.changes, &[&since])?;
        self.taken(&rows, 0)
    }

    /// The changes that stand in rows, from this column on.
    fn taken(&self, rows: &[Row], column: usize) -> Result<Vec<OutsideChange>> {
        let mut changes = Vec::new();
        for row in rows {
            if let Some(tid) = value(row, column)? {
                changes.push((tid, value(row, column + 1)?, value(row, column + 2)?));
            }
        }
        Ok(self.new_changes(changes))
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

    /// Whether the database has another history than it had: it lacks the last transaction that was
    /// reported, and not because of a pack. Without history, a pack or a later change may have taken it
    /// away, too: then it counts only behind a promotion of another server (a new timeline).
    fn went_back(&self, found: &[Row]) -> Result<bool> {
        let Some(row) = found.first() else {
            return Ok(false);
        };
        let timeline: Option<String> = value(row, 0)?;
        let is_there: bool = value(row, 1)?;
        let mut known = self.timeline();
        let is_same = known.is_none() || timeline.is_none() || *known == timeline;
        let is_lost = !is_there && (self.settings.keep_history || !is_same);
        let went_back = is_lost && !(is_same && self.is_packed_away()?);
        if !went_back && timeline.is_some() {
            *known = timeline;
        }
        Ok(went_back)
    }

    /// Whether the last transaction that was reported is gone with a pack, as those by RelStorage
    /// remove also the last one of all. What it and those behind the one that is now before it have
    /// changed was garbage then, or was changed again: nothing is left of what these objects were before.
    fn is_packed_away(&self) -> Result<bool> {
        let reported = self.reported().cast_signed();
        let doing = "looking for a pack";
        let rows = self.query(doing, BEFORE, &[&reported])?;
        let Some(row) = rows.first() else {
            return Ok(false);
        };
        let (before, is_packed): (i64, bool) = (value(row, 0)?, value(row, 1)?);
        let changed = self.recent.changed_after(Tid::new(before.cast_unsigned()));
        let Some(changed) = changed.filter(|_| is_packed) else {
            return Ok(false);
        };
        let oids = changed
            .into_iter()
            .map(number)
            .collect::<Result<Vec<_>>>()?;
        let left = self.query(doing, HAS_OLDER, &[&oids, &before])?;
        Ok(left.is_empty())
    }

    fn timeline(&self) -> MutexGuard<'_, Option<String>> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before the first commit over a connection: another server may have taken the place of the one
    /// before.
    pub(super) fn check_history(&self, writer: &mut Writer) -> Result<()> {
        if writer.is_checked {
            return Ok(());
        }
        let reported = self.reported().cast_signed();
        let found = writer.session.query(self.sql.is_there, &[&reported]);
        if self.went_back(&found.map_err(failed("looking for the last transaction"))?)? {
            if let Some(wake) = self.wake.get() {
                wake.wake();
            }
            return Err(Error::Unavailable(
                "the database lacks transactions that it had: clients verify their caches"
                    .to_owned(),
            ));
        }
        writer.is_checked = true;
        Ok(())
    }

    /// Begins again with what the database has; all clients must verify their caches.
    fn begin_again(&self) -> Result<OutsideChange> {
        let last = self.last_committed()?;
        let next = last.later_than(self.published().max(Tid::new(self.reported())));
        let tid = next.ok_or_else(|| Error::Database("there is no later tid".to_owned()))?;
        self.connector.log(
            Level::Warning,
            &format!(
                "the database lacks transaction {}, which it had: it begins again behind {last}",
                Tid::new(self.reported())
            ),
        );
        *self.timeline() = None;
        self.states_of_others().clear();
        self.reported.store(last.as_u64(), Ordering::Release);
        Ok(OutsideChange::Unknown { tid })
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
        let begun = self.news.begin();
        let reported = self.reported().cast_signed();
        let rows = self.query("looking for changes", self.sql.poll, &[&reported])?;
        if self.went_back(&rows)? {
            return Ok(vec![self.begin_again()?]);
        }
        let changes = self.taken(&rows, 2)?;
        if changes.len() >= PAGE
            && let Some(wake) = self.wake.get()
        {
            wake.wake();
        }
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
        let params = (tid_of(since)?, tid_of(last)?, CHANGED_MAX + 1);
        let rows = self.query(
            "looking for changes",
            self.sql.changed_since,
            &[&params.0, &params.1, &params.2],
        )?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        if value::<i64>(row, 1)? > CHANGED_MAX {
            return Ok(None);
        }
        let oids = value::<Option<Vec<i64>>>(row, 0)?.unwrap_or_default();
        Ok(Some((last, oids.into_iter().map(oid_of).collect())))
    }

    fn publish_change(&self, change: &OutsideChange) {
        let tid = change.tid();
        match change {
            OutsideChange::Transaction { oids, .. } => {
                let states: Vec<_> = {
                    let mut kept = self.states_of_others();
                    oids.iter().map(|&oid| kept.remove(&(tid, oid))).collect()
                };
                let changed = oids.iter().zip(&states);
                let changed = changed.map(|(&oid, state)| (oid, state.as_deref()));
                self.recent.changed(tid, changed);
            }
            _ => self.recent.clear(tid),
        }
        self.publish_up_to(tid);
    }
}
