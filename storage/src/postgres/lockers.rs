//! Locks on objects, against other processes on the same database.
//!
//! They are session locks of a few connections of their own, so that a vote never waits behind a
//! commit. A lock is held from the vote until the transaction is committed and visible, or given up.
//! If the connection is lost, so are the locks: the transactions that were voted with it fail.
//!
//! PostgreSQL would grant one connection the same lock twice. That this server's clients don't get
//! into each other's way is for the server's lock table to see to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeo_proto::{Oid, Tid};

use super::connect::Connector;
use super::session::{Session, failed, is_lost, value};
use super::sql::{LOCK, Sql, UNLOCK};
use crate::log::Level;
use crate::{Error, Result};

/// How many connections lock.
const LOCKERS: usize = 4;
/// The pauses between attempts to get a lock that another process holds.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// The serial that says that an object is locked by others.
const BUSY: i64 = -1;

/// The connections that lock.
pub(super) struct Lockers {
    connector: Arc<Connector>,
    sql: &'static Sql,
    slots: [Mutex<Slot>; LOCKERS],
}

#[derive(Default)]
struct Slot {
    session: Option<Session>,
    /// Grows with each connection, which begins without locks.
    generation: u64,
}

/// What an attempt has found: the slot and its generation, and objects with their serials.
type Found = (usize, u64, Vec<(i64, i64)>);

/// Locks that are held; given back when dropped.
pub(super) struct Held {
    lockers: Arc<Lockers>,
    slot: usize,
    generation: u64,
    written: Vec<i64>,
    checked: Vec<i64>,
}

impl Lockers {
    pub fn new(connector: Arc<Connector>, sql: &'static Sql) -> Self {
        Self {
            connector,
            sql,
            slots: Default::default(),
        }
    }

    fn slot(&self, number: usize) -> Option<MutexGuard<'_, Slot>> {
        let slot = self.slots.get(number)?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One that nobody uses now, if there is one.
    fn any_slot(&self) -> (usize, Option<MutexGuard<'_, Slot>>) {
        let free = self.slots.iter().enumerate().find_map(|(number, slot)| {
            let free = slot.try_lock().ok()?;
            Some((number, Some(free)))
        });
        free.unwrap_or_else(|| (0, self.slot(0)))
    }

    /// Locks objects that are to be written and that are to stay as they are, and returns the
    /// serials of all that exist. Waits up to `timeout` for other processes.
    ///
    /// # Errors
    /// `Unavailable`: it took too long, or the database is away. `Database`.
    pub fn lock(
        self: &Arc<Self>,
        (mut written, mut checked): (Vec<i64>, Vec<i64>),
        timeout: Duration,
    ) -> Result<(Held, Vec<(Oid, Tid)>)> {
        // All processes lock in the same order.
        written.sort_unstable();
        checked.sort_unstable();
        let until = Instant::now() + timeout;
        let mut pause = PAUSE_FIRST;
        loop {
            let (number, generation, found) = self.try_lock(&written, &checked)?;
            let Some(&(busy, _)) = found.iter().find(|&&(_, serial)| serial == BUSY) else {
                let held = Held {
                    lockers: Arc::clone(self),
                    slot: number,
                    generation,
                    written,
                    checked,
                };
                let serials = found.into_iter().map(|(oid, serial)| {
                    (
                        Oid::new(oid.cast_unsigned()),
                        Tid::new(serial.cast_unsigned()),
                    )
                });
                return Ok((held, serials.collect()));
            };
            if Instant::now() >= until {
                let oid = Oid::new(busy.cast_unsigned());
                let seconds = timeout.as_secs();
                return Err(Error::Unavailable(format!(
                    "another process on the database has kept object {oid} locked for more than \
                     {seconds} seconds (commit-lock-timeout)"
                )));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn try_lock(&self, written: &[i64], checked: &[i64]) -> Result<Found> {
        let (number, slot) = self.any_slot();
        let Some(mut slot) = slot else {
            return Err(Error::Database(
                "there is no connection for locks".to_owned(),
            ));
        };
        let rows = match slot
            .session
            .as_mut()
            .map(|session| session.query(LOCK, &[&written, &checked]))
        {
            Some(Err(error)) if !is_lost(&error) => return Err(lock_failed(error)),
            Some(Ok(rows)) => rows,
            // None yet, or lost.
            _ => {
                slot.session = None;
                slot.generation += 1;
                let mut session = self.connector.connect("lock")?;
                session
                    .batch(self.sql.lock_function)
                    .map_err(failed("making a function"))?;
                let session = slot.session.insert(session);
                session
                    .query(LOCK, &[&written, &checked])
                    .map_err(lock_failed)?
            }
        };
        let pairs = rows.iter().map(|row| Ok((value(row, 0)?, value(row, 1)?)));
        let pairs = pairs.collect::<Result<Vec<_>>>()?;
        Ok((number, slot.generation, pairs))
    }

    /// Gives locks back, of all transactions that hold some of a connection at once.
    pub fn unlock(&self, all: Vec<Held>) {
        let mut by_slot: [(u64, Vec<i64>, Vec<i64>); LOCKERS] = Default::default();
        for mut held in all {
            if let Some((generation, written, checked)) = by_slot.get_mut(held.slot) {
                *generation = held.generation.max(*generation);
                written.append(&mut held.written);
                checked.append(&mut held.checked);
            }
        }
        for (number, (generation, written, checked)) in by_slot.into_iter().enumerate() {
            self.unlock_at(number, generation, &written, &checked);
        }
    }

    fn unlock_at(&self, number: usize, generation: u64, written: &[i64], checked: &[i64]) {
        if written.is_empty() && checked.is_empty() {
            return;
        }
        let Some(mut slot) = self.slot(number) else {
            return;
        };
        if slot.generation != generation {
            return;
        }
        let Some(session) = &mut slot.session else {
            return;
        };
        if let Err(error) = session.query(UNLOCK, &[&written, &checked]) {
            // Without the connection, there are no locks.
            let why = failed("unlocking objects")(error);
            self.connector
                .log(Level::Warning, &format!("{why}; the connection is closed"));
            slot.session = None;
            slot.generation += 1;
        }
    }

    pub fn close(&self) {
        for slot in &self.slots {
            slot.lock().unwrap_or_else(PoisonError::into_inner).session = None;
        }
    }
}

fn lock_failed(error: postgres::Error) -> Error {
    match failed("locking objects")(error) {
        Error::Database(text) if text.contains("53200") => Error::Database(format!(
            "{text}: the transaction changes more objects than PostgreSQL can lock"
        )),
        other => other,
    }
}

impl Held {
    /// False when the locks are lost.
    pub fn is_held(&self) -> bool {
        let slot = self.lockers.slot(self.slot);
        slot.is_some_and(|slot| {
            let open = slot
                .session
                .as_ref()
                .is_some_and(|session| !session.is_closed());
            open && slot.generation == self.generation
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lockers
            .unlock_at(self.slot, self.generation, &self.written, &self.checked);
    }
}
