//! One connection of the check: what it asks, and what it hears.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeo_proto::message::{Incoming, Notification, Reply, Revision};
use zeo_proto::{Oid, Tid};

use super::Check;
use crate::connection::{Connection, decode, result};
use crate::error::{Error, Result};
use crate::record::{record, stamp};
use crate::requests::{Committer, Loader, load_id};
use crate::witness::{Event, Loaded, Violation, Witness};

/// Requests that a reader has outstanding.
const OUTSTANDING: usize = 8;

/// A connection and its memory.
pub struct Client<'a> {
    check: &'a Check<'a>,
    connection: Connection,
    loader: Loader,
    /// What it has seen.
    pub witness: Witness,
    /// The loads that it waits for.
    pub asked: VecDeque<(Oid, Tid)>,
}

impl<'a> Client<'a> {
    /// Connects and registers.
    pub fn open(check: &'a Check<'a>, name: String) -> Result<Self> {
        let (connection, last) = Connection::open(check.target.address, check.target.storage)?;
        let loader = Loader::new(connection.encoding())?;
        Ok(Self {
            check,
            connection,
            loader,
            witness: Witness::new(name, last),
            asked: VecDeque::new(),
        })
    }

    /// Asks for random objects, as they are now, as they were at the last
    /// transaction it was told of, or before that.
    pub fn ask(&mut self) -> Result<()> {
        let mut out = Vec::new();
        while self.asked.len() < OUTSTANDING {
            let last = self.witness.last();
            let before = match fastrand::u8(..8) {
                0..4 => Tid::MAX,
                4..7 => Tid::new(last.as_u64().saturating_add(1)),
                // Not before the objects are there.
                _ => last.max(Tid::new(self.witness.registered.as_u64().saturating_add(1))),
            };
            let oid = self.check.random_oid();
            out.extend_from_slice(self.loader.request(oid, before));
            self.asked.push_back((oid, before));
        }
        self.connection.send(&out)
    }

    /// Takes in the next message; returns the object, if it is one.
    pub fn hear(&mut self) -> Result<Option<Loaded>> {
        let Self {
            connection,
            witness,
            asked,
            ..
        } = self;
        let encoding = connection.encoding();
        let event = connection.take(|frame| match decode(frame, encoding)? {
            Incoming::Notification(notification) => Ok(event(notification)),
            Incoming::Reply(reply) => answer(reply, asked).map(Some),
            _ => Ok(None),
        })??;
        let Some(event) = event else { return Ok(None) };
        observe(witness, event.clone())?;
        let Event::Loaded(loaded) = event else {
            return Ok(None);
        };
        let check = self.check;
        check.loads.fetch_add(1, Ordering::Relaxed);
        check
            .current
            .fetch_add(loaded.next.is_none().into(), Ordering::Relaxed);
        Ok(Some(loaded))
    }

    /// Loads these objects and commits new revisions of them; a conflict is
    /// counted.
    pub fn commit(&mut self, committer: &mut Committer, oids: &[Oid]) -> Result<()> {
        let mut out = Vec::new();
        for &oid in oids {
            out.extend_from_slice(self.loader.request(oid, Tid::MAX));
            self.asked.push_back((oid, Tid::MAX));
        }
        self.connection.send(&out)?;
        let mut serials = Vec::new();
        while !self.asked.is_empty() {
            serials.extend(self.hear()?.map(|loaded| loaded.serial));
        }
        let number = self.check.stamps.fetch_add(1, Ordering::Relaxed) + 1;
        let records: Vec<_> = oids
            .iter()
            .map(|oid| record(*oid, number, self.check.size))
            .collect();
        let stores = oids.iter().zip(serials).zip(&records);
        let stores: Vec<_> = stores
            .map(|((oid, serial), data)| (*oid, serial, data.as_slice()))
            .collect();

        let (connection, witness) = (&mut self.connection, &mut self.witness);
        let mut notice = |notification: Notification<'_>| match event(notification) {
            Some(event) => observe(witness, event),
            None => Ok(()),
        };
        match committer.vote(connection, &stores, &mut notice) {
            Err(why) if why.is_conflict() => {
                self.check.conflicts.fetch_add(1, Ordering::Relaxed);
                return committer.abort(connection, &mut notice);
            }
            voted => voted?,
        }
        let tid = committer.finish(connection, &mut notice)?;
        observe(witness, Event::Finished(tid, oids.to_vec()))?;
        let written = oids.iter().map(|oid| (*oid, number)).collect();
        let published = lock(&self.check.history).publish(tid, written);
        published.or_else(|broken| self.broken(broken))
    }

    /// Leaves its memory to be checked at the end.
    pub fn end(self) -> Result<()> {
        lock(&self.check.ended).push(self.witness);
        Ok(())
    }

    /// A broken rule, as an error with the evidence.
    pub fn broken(&self, violation: Violation) -> Result<()> {
        Err(Error::Violation(Box::new(self.witness.evidence(violation))))
    }
}

/// Locks, also after another thread has failed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn observe(witness: &mut Witness, event: Event) -> Result<()> {
    let observed = witness.observe(event);
    observed.map_err(|broken| Error::Violation(Box::new(witness.evidence(broken))))
}

/// The event in a notification; `None` for one that is of no interest.
fn event(notification: Notification<'_>) -> Option<Event> {
    match notification {
        Notification::InvalidateTransaction { tid, oids } => {
            Some(Event::Invalidated(tid, oids.into_owned()))
        }
        _ => None,
    }
}

/// The event in the answer to a load. A server that has to ask another one for some revisions
/// answers others before.
fn answer(reply: Reply<'_>, asked: &mut VecDeque<(Oid, Tid)>) -> Result<Event> {
    let place = asked.iter().position(|asked| reply.id == load_id(*asked));
    let Some((oid, before)) = place.and_then(|place| asked.remove(place)) else {
        let what = format!("a reply to {:?} where one of {asked:?} is due", reply.id);
        return Err(Error::Protocol(what));
    };
    let revision: Option<Revision<'_>> = match result("loadBefore", reply) {
        Err(Error::Refused { exception, .. }) if exception.class().ends_with("POSKeyError") => None,
        revision => revision?,
    };
    Ok(match revision {
        None => Event::Missing(oid, before),
        Some(revision) => Event::Loaded(Loaded {
            oid,
            before,
            serial: revision.serial,
            next: revision.next,
            stamp: stamp(oid, &revision.data),
        }),
    })
}
