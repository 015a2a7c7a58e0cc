//! Locks on objects, against other processes on the same database.
//!
//! They are session locks of a few connections of their own, so that a vote never waits behind a
//! commit. A lock is held from the vote until the transaction is committed and visible, or given up.
//! If the connection is lost, so are the locks: the transactions that were voted with it fail. The database
//! may know that before we do, so each connection has a lock of its own as well, by which a commit sees that it is
//! there.
//!
//! PostgreSQL would grant one connection the same lock twice. That this server's clients don't get
//! into each other's way is for the server's lock table to see to.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::error::DbError;
use zeo_proto::{Oid, Tid};

use super::after_commit::AfterCommit;
use super::backend::Backend;
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

/// How long an undo waits for the lock of packs: undo by RelStorage has it for a moment.
const PACK_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// What packs and undo by RelStorage lock, and what undo here has as an object that is to stay.
pub(super) const PACK_LOCK: i64 = -2;
/// The locks that the connections have of their own: far from all that others lock.
const OWN_LOCKS: Range<i64> = i64::MIN..-1 << 40;
/// (lock): takes it.
const TAKE_LOCK: &str = "SELECT pg_advisory_lock($1)";

/// The connections that lock.
pub(super) struct Lockers {
    connector: Arc<Connector>,
    sql: &'static Sql,
    slots: [Slot; LOCKERS],
    after_commit: Arc<AfterCommit>,
}

#[derive(Default)]
struct Slot {
    session: Mutex<Option<Session>>,
    /// What works for it at the database, or did for the last one.
    backend: Mutex<Option<Backend>>,
    /// Grows with each connection, which begins without locks.
    generation: AtomicU64,
    /// The lock of the last connection's own.
    own_lock: AtomicI64,
    /// Locks that are to be given back, of this generation.
    returned: Mutex<Returned>,
}

/// Locks that nobody needs any more.
#[derive(Default)]
struct Returned {
    written: Vec<i64>,
    checked: Vec<i64>,
    /// Those that were written and are being given back.
    unlocking: Vec<i64>,
}

impl Returned {
    fn is_empty(&self) -> bool {
        self.written.is_empty() && self.checked.is_empty()
    }

    /// What is to be given back now.
    fn take(&mut self) -> Self {
        self.unlocking.extend(&self.written);
        Self {
            written: std::mem::take(&mut self.written),
            checked: std::mem::take(&mut self.checked),
            unlocking: Vec::new(),
        }
    }

    /// Whether a vote on objects does best to wait for this connection.
    fn concerns(&self, written: &[i64]) -> bool {
        let mut ours = self.written.iter().chain(&self.unlocking);
        ours.any(|oid| written.binary_search(oid).is_ok())
    }

    fn add(&mut self, mut other: Self) {
        self.written.append(&mut other.written);
        self.checked.append(&mut other.checked);
    }
}

/// What an attempt has found: whose locks they are, and objects with their serials.
type Found = (Owner, Vec<(i64, i64)>);

/// A connection that has locks.
#[derive(Clone, Copy)]
struct Owner {
    slot: usize,
    generation: u64,
    own_lock: i64,
}

/// Locks that are held; given back soon after this is dropped.
pub(super) struct Held {
    lockers: Arc<Lockers>,
    owner: Owner,
    written: Vec<i64>,
    checked: Vec<i64>,
}

impl Slot {
    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn returned(&self) -> MutexGuard<'_, Returned> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The connection is gone, and its locks with it.
    fn lost(&self, session: &mut Option<Session>) {
        let mut returned = self.returned();
        *session = None;
        self.generation.fetch_add(1, Ordering::AcqRel);
        *returned = Returned::default();
    }

    /// The process of the last connection has locks as long as PostgreSQL has not noticed that it is lost.
    fn begin(&self, opened: &mut Session) -> Result<()> {
        let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*backend {
            last.end(opened)?;
        }
        *backend = Some(Backend::of(opened)?);
        let own_lock = fastrand::i64(OWN_LOCKS);
        opened
            .query(TAKE_LOCK, &[&own_lock])
            .map_err(failed("locking"))?;
        self.own_lock.store(own_lock, Ordering::Release);
        Ok(())
    }

    /// Gives locks back; the caller has taken them out of `returned`.
    fn give_back(&self, session: &mut Option<Session>, all: &Returned, connector: &Connector) {
        let Some(open) = session.as_mut().filter(|_| !all.is_empty()) else {
            return;
        };
        let unlocked = open.query(UNLOCK, &[&all.written, &all.checked]);
        self.returned().unlocking.clear();
        if let Err(error) = unlocked {
            // Without the connection, there are no locks.
            let why = failed("unlocking objects")(error);
            connector.log(Level::Warning, &format!("{why}; the connection is closed"));
            self.lost(session);
        }
    }
}

impl Lockers {
    pub fn new(
        connector: Arc<Connector>,
        sql: &'static Sql,
        after_commit: Arc<AfterCommit>,
    ) -> Self {
        Self {
            connector,
            sql,
            slots: Default::default(),
            after_commit,
        }
    }

    /// The one that has an object's lock to give back, or does so; else one that nobody uses now, if there is one.
    /// `written` is sorted.
    fn slot_for(&self, written: &[i64]) -> Option<(usize, &Slot, MutexGuard<'_, Option<Session>>)> {
        for (number, slot) in self.slots.iter().enumerate() {
            let has_it = slot.returned().concerns(written);
            if has_it {
                return Some((number, slot, slot.session()));
            }
        }
        let free = self.slots.iter().enumerate().find_map(|(number, slot)| {
            let session = slot.session.try_lock().ok()?;
            Some((number, slot, session))
        });
        free.or_else(|| {
            let number = fastrand::usize(..LOCKERS);
            let slot = self.slots.get(number)?;
            Some((number, slot, slot.session()))
        })
    }

    /// Locks objects that are to be written and that are to stay as they are, and returns the
    /// serials of all that exist. Waits up to `timeout` for other processes.
    ///
    /// # Errors
    /// `Undo`: a pack runs. `Unavailable`: it took too long, or the database is away. `Database`.
    pub fn lock(
        self: &Arc<Self>,
        (mut written, mut checked): (Vec<i64>, Vec<i64>),
        timeout: Duration,
    ) -> Result<(Held, Vec<(Oid, Tid)>)> {
        // All processes lock in the same order.
        written.sort_unstable();
        checked.sort_unstable();
        let since = Instant::now();
        let until = since + timeout;
        let mut pause = PAUSE_FIRST;
        loop {
            let (owner, found) = self.try_lock(&written, &checked)?;
            let Some(&(busy, _)) = found.iter().find(|&&(_, serial)| serial == BUSY) else {
                let held = Held {
                    lockers: Arc::clone(self),
                    owner,
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
            // Perhaps it is one of our own connections, which has not given it back yet.
            if self.give_back_all() {
                continue;
            }
            if busy == PACK_LOCK && since.elapsed() >= PACK_LOCK_TIMEOUT {
                return Err(pack_runs());
            }
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
        let Some((number, slot, mut session)) = self.slot_for(written) else {
            return Err(Error::Database(
                "there is no connection for locks".to_owned(),
            ));
        };
        // On the way, what is to be given back; at another time, if it does not come to that.
        let returned = slot.returned().take();
        let (unlocked, unlocked_shared) = (&returned.written, &returned.checked);
        let found = session
            .as_mut()
            .map(|session| session.query(LOCK, &[&written, &checked, unlocked, unlocked_shared]));
        slot.returned().unlocking.clear();
        let rows = match found {
            Some(Err(error)) if !is_lost(&error) => {
                if !was_called(&error) {
                    slot.lost(&mut session);
                }
                return Err(lock_failed(error));
            }
            Some(Ok(rows)) => rows,
            // None yet, or lost.
            _ => {
                slot.lost(&mut session);
                let mut opened = self.connector.connect_for_short("lock")?;
                slot.begin(&mut opened)?;
                opened
                    .batch(self.sql.lock_function)
                    .map_err(failed("making a function"))?;
                let none = Vec::<i64>::new();
                let opened = session.insert(opened);
                opened
                    .query(LOCK, &[&written, &checked, &none, &none])
                    .map_err(lock_failed)?
            }
        };
        let owner = Owner {
            slot: number,
            generation: slot.generation(),
            own_lock: slot.own_lock.load(Ordering::Acquire),
        };
        drop(session);
        let pairs = rows.iter().map(|row| Ok((value(row, 0)?, value(row, 1)?)));
        let pairs = pairs.collect::<Result<Vec<_>>>()?;
        Ok((owner, pairs))
    }

    /// Unlocks what transactions have given back that are committed and visible, or given up; false if
    /// there was nothing. The next vote does so on its way, if it is soon enough.
    pub fn give_back_all(&self) -> bool {
        let mut any = false;
        for slot in self.slots.iter().filter(|slot| !slot.returned().is_empty()) {
            any = true;
            self.give_back(slot);
        }
        any
    }

    /// The same, and waits for what others are just unlocking.
    pub fn wait_for_unlocks(&self) {
        self.slots.iter().for_each(|slot| self.give_back(slot));
    }

    fn give_back(&self, slot: &Slot) {
        let mut session = slot.session();
        let returned = slot.returned().take();
        slot.give_back(&mut session, &returned, &self.connector);
    }

    pub fn close(&self) {
        for slot in &self.slots {
            slot.lost(&mut slot.session());
        }
    }
}

fn pack_runs() -> Error {
    Error::Undo {
        reason: "nothing can be undone while a pack of the database runs".to_owned(),
        oid: None,
        failures: Vec::new(),
        conflicts: Vec::new(),
    }
}

/// Whether the function has failed, and not what is before or behind it: then it has unlocked what it was to
/// unlock, and has taken nothing. Else, nobody knows which locks there are.
fn was_called(error: &tokio_postgres::Error) -> bool {
    let place = error.as_db_error().and_then(DbError::where_);
    place.is_some_and(|place| place.contains("rzeo_lock"))
}

fn lock_failed(error: tokio_postgres::Error) -> Error {
    match failed("locking objects")(error) {
        Error::Database(text) if text.contains("53200") => Error::Database(format!(
            "{text}: the transaction changes more objects than PostgreSQL can lock"
        )),
        other => other,
    }
}

impl Held {
    /// The lock that the connection has of its own.
    pub fn own_lock(&self) -> i64 {
        self.owner.own_lock
    }

    /// False when the locks are lost.
    pub fn is_held(&self) -> bool {
        let slot = self.lockers.slots.get(self.owner.slot);
        slot.is_some_and(|slot| {
            // One that is in use is open, or is found out to be lost by who uses it.
            let open = match slot.session.try_lock() {
                Ok(session) => session.as_ref().is_some_and(|session| !session.is_closed()),
                Err(_) => true,
            };
            open && slot.generation() == self.owner.generation
        })
    }

    /// The same, as the database says: what was read before was read under the locks.
    pub fn is_surely_held(&self) -> bool {
        let slot = self.lockers.slots.get(self.owner.slot);
        slot.is_some_and(|slot| {
            let mut session = slot.session();
            slot.generation() == self.owner.generation
                && session
                    .as_mut()
                    .is_some_and(|session| session.query("SELECT", &[]).is_ok())
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(slot) = self.lockers.slots.get(self.owner.slot) else {
            return;
        };
        let mut returned = slot.returned();
        if slot.generation() == self.owner.generation {
            returned.add(Returned {
                written: std::mem::take(&mut self.written),
                checked: std::mem::take(&mut self.checked),
                unlocking: Vec::new(),
            });
            drop(returned);
            self.lockers.after_commit.unlock();
        }
    }
}
