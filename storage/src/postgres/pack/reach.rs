//! Which objects are garbage: those that can't be reached from the root as it was at the pack time,
//! nor from anything that was committed since.
//!
//! An object takes two bits ([`Marks`]). Those that are found and not yet read stand in a list as well,
//! up to a limit.
//!
//! While references are followed, others commit. What they have written is read afterwards, too, so
//! that every state which is current at the end was read: with it, whatever can be reached is marked.

use tokio_postgres::Row;
use zeo_proto::{Oid, Tid};

use super::sql::{IS_THERE, LATER, PackSql};
use crate::packing::marks::{Mark, Marks};
use crate::packing::watch::Watch;
use crate::postgres::ids::{number, oid_of};
use crate::postgres::session::{Session, failed, value};
use crate::references::references;
use crate::{Error, Result};

/// How many objects are asked for at once.
const BATCH: usize = 1000;
/// How many that are found and not yet read have room in the list.
const ROOM: usize = 1 << 16;
/// How many rows there are between two looks whether the pack is to end.
const LOOK_EVERY: u64 = 1000;

/// What can be reached.
pub(super) struct Reach {
    sql: &'static PackSql,
    stop: i64,
    /// All that was committed up to here, and after the pack time, was read.
    scanned: i64,
    marks: Marks,
    next: Vec<i64>,
    waiting: u64,
    looked_to: Oid,
    read: u64,
}

impl Reach {
    pub fn new(sql: &'static PackSql, stop: i64) -> Self {
        Self {
            sql,
            stop,
            scanned: stop,
            marks: Marks::default(),
            next: Vec::new(),
            waiting: 0,
            looked_to: Oid::ZERO,
            read: 0,
        }
    }

    /// Follows references from the root, and from what was committed since the pack time.
    ///
    /// # Errors
    /// `Database`: there is no root, or a state can't be read. Those of the watch and the connection.
    pub fn find(&mut self, session: &mut Session, watch: &mut Watch<'_>) -> Result<()> {
        let root = session.query(IS_THERE, &[&0_i64]);
        if root.map_err(failed("looking for the root"))?.is_empty() {
            return Err(Error::Database(
                "object_state has no root (zoid 0), so everything would be garbage".to_owned(),
            ));
        }
        self.reach(Oid::ZERO);
        self.catch_up(session, watch)
    }

    /// Reads what was committed meanwhile, and follows its references.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn catch_up(&mut self, session: &mut Session, watch: &mut Watch<'_>) -> Result<()> {
        self.scan(session, watch)?;
        self.follow(session, watch)
    }

    /// Reads what was committed meanwhile; true if it refers to objects that were not marked before,
    /// so that their references are to be followed.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn scan(&mut self, session: &mut Session, watch: &mut Watch<'_>) -> Result<bool> {
        let (since, mut last, mut rows, mut found) = (self.scanned, self.scanned, 0_u64, false);
        session.each(
            LATER,
            &[&since],
            "reading what was committed since",
            |row| {
                let (oid, tid) = (oid_of(value(row, 0)?), value(row, 1)?);
                last = last.max(tid);
                found |= self.reach(oid);
                found |= self.read(row)?;
                rows += 1;
                if rows.is_multiple_of(LOOK_EVERY) {
                    watch.objects("reading what was committed since", rows)?;
                }
                Ok(())
            },
        )?;
        self.scanned = last;
        Ok(found)
    }

    /// True if the object can be reached.
    pub fn has(&self, oid: Oid) -> bool {
        self.marks.has(oid, Mark::Reachable)
    }

    fn follow(&mut self, session: &mut Session, watch: &mut Watch<'_>) -> Result<()> {
        loop {
            let mut batch = self.next.split_off(self.next.len().saturating_sub(BATCH));
            if batch.is_empty() {
                self.take_waiting(&mut batch);
            }
            if batch.is_empty() {
                return Ok(());
            }
            batch.sort_unstable();
            let (sql, stop) = (self.sql.states, self.stop);
            session.each(sql, &[&batch, &stop], "following references", |row| {
                self.read(row).map(drop)
            })?;
            self.read += batch.len() as u64;
            watch.objects("following references", self.read)?;
        }
    }

    /// Marks what a state (oid, tid, state) refers to; true if some of it was not marked before.
    fn read(&mut self, row: &Row) -> Result<bool> {
        let state = value::<Option<&[u8]>>(row, 2)?.unwrap_or_default();
        if state.is_empty() {
            return Ok(false);
        }
        let mut found = false;
        for oid in references(state).or_else(|why| unreadable(row, &why.to_string()))? {
            found |= self.reach(oid);
        }
        Ok(found)
    }

    fn reach(&mut self, oid: Oid) -> bool {
        if self.has(oid) {
            return false;
        }
        self.marks.set(oid, Mark::Reachable);
        // A greater one can't be in the table.
        let Ok(number) = number(oid) else {
            return false;
        };
        if self.next.len() < ROOM {
            self.next.push(number);
        } else {
            self.marks.set(oid, Mark::Waiting);
            self.waiting += 1;
        }
        true
    }

    /// Takes objects that wait, in the order of oids from where it was left, round and round.
    fn take_waiting(&mut self, batch: &mut Vec<i64>) {
        while self.waiting > 0 && batch.len() < BATCH {
            let Some(oid) = self.marks.next_from(self.looked_to, Mark::Waiting) else {
                self.looked_to = Oid::ZERO;
                continue;
            };
            self.marks.clear(oid, Mark::Waiting);
            batch.push(oid.as_u64().cast_signed());
            self.waiting -= 1;
            self.looked_to = Oid::new(oid.as_u64().wrapping_add(1));
        }
    }
}

fn unreadable<T>(row: &Row, why: &str) -> Result<T> {
    let (oid, tid) = (oid_of(value(row, 0)?), value::<i64>(row, 1)?);
    let tid = Tid::new(tid.cast_unsigned());
    Err(Error::Database(format!(
        "object_state: the state of object {oid} of transaction {tid} can't be read: {why}"
    )))
}
