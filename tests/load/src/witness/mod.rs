//! What a cautious client checks: every message of one connection, in the
//! order of its arrival, against the rules that keep client caches right.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use zeo_proto::{Oid, Tid};

/// Something that a connection has received.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another client's transaction and the objects that it changed.
    Invalidated(Tid, Vec<Oid>),
    /// Its own transaction is committed.
    Finished(Tid, Vec<Oid>),
    /// The answer to `loadBefore(oid, before)`.
    Loaded(Loaded),
    /// The answer that there is no such object, which there always is.
    Missing(Oid, Tid),
}

/// An object as `loadBefore` answers it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loaded {
    /// The object that was asked for.
    pub oid: Oid,
    /// The tid before which its revision was asked for.
    pub before: Tid,
    /// The revision's own tid.
    pub serial: Tid,
    /// The tid of the next revision; `None`: this one is current.
    pub next: Option<Tid>,
    /// What its writer wrote; `None` if the data is no record of this object.
    pub stamp: Option<u64>,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    #[error("tid {tid} comes after {last} on one connection")]
    NotLater { tid: Tid, last: Tid },
    #[error("{oid} of {serial} is called current after {newer} has changed it")]
    Stale { oid: Oid, serial: Tid, newer: Tid },
    #[error("the current {oid} is of {serial}, and was of {newer} before")]
    Backwards { oid: Oid, serial: Tid, newer: Tid },
    #[error("{oid} before {before} is of {serial}, but {expected} has changed it, as was told")]
    NotReadable {
        oid: Oid,
        before: Tid,
        serial: Tid,
        expected: Tid,
    },
    #[error("{oid} before {before} is of {serial}, a transaction that was passed over")]
    Untold { oid: Oid, before: Tid, serial: Tid },
    #[error("{oid} before {before} is said to be of {serial}, with {next:?} next")]
    Range {
        oid: Oid,
        before: Tid,
        serial: Tid,
        next: Option<Tid>,
    },
    #[error("{oid} of {serial} was {one:?} and is {other:?}")]
    Differs {
        oid: Oid,
        serial: Tid,
        one: Revision,
        other: Revision,
    },
    #[error("{oid} of {serial} holds what is no record of it")]
    Garbage { oid: Oid, serial: Tid },
    #[error("{oid} is missing before {before}")]
    Missing { oid: Oid, before: Tid },
    #[error("{tid} was given to two transactions")]
    Twice { tid: Tid },
    #[error("the transaction {tid} was not told, though {last} was")]
    Unseen { tid: Tid, last: Tid },
    #[error("the transaction {tid} was the last, and was not told in time")]
    NeverTold { tid: Tid },
    #[error("{tid} is told to have changed {told:?}, and has changed {written:?}")]
    OtherObjects {
        tid: Tid,
        told: Vec<Oid>,
        written: Vec<Oid>,
    },
    #[error("{oid} of {serial} is {seen:?}, and {written:?} was written")]
    OtherData {
        oid: Oid,
        serial: Tid,
        seen: Revision,
        written: Option<Revision>,
    },
}

/// A revision of an object, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Revision {
    /// What its writer wrote.
    pub stamp: u64,
    /// The tid of the next one, once there is one.
    pub next: Option<Tid>,
}

/// A broken rule, on which connection, and what came before.
#[derive(Debug)]
pub struct Evidence {
    connection: String,
    violation: Violation,
    events: Vec<Event>,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.connection, self.violation)?;
        for event in &self.events {
            write!(f, "\n  {event:?}")?;
        }
        Ok(())
    }
}

/// The memory of one connection.
#[derive(Debug)]
pub struct Witness {
    /// What the connection is called in evidence.
    pub name: String,
    /// The last tid that `register` returned.
    pub registered: Tid,
    /// Each transaction told since, with the objects it changed.
    pub told: BTreeMap<Tid, Vec<Oid>>,
    /// Each revision seen.
    pub revisions: HashMap<(Oid, Tid), Revision>,
    /// When each object was changed, as told.
    changes: HashMap<Oid, Vec<Tid>>,
    /// The latest revision of each object that must exist.
    newest: HashMap<Oid, Tid>,
    recent: VecDeque<Event>,
}

/// How many events are kept as evidence.
const RECENT: usize = 24;

impl Witness {
    /// A connection that has just registered.
    pub fn new(name: String, registered: Tid) -> Self {
        Self {
            name,
            registered,
            told: BTreeMap::new(),
            revisions: HashMap::new(),
            changes: HashMap::new(),
            newest: HashMap::new(),
            recent: VecDeque::new(),
        }
    }

    /// The last tid that this connection knows.
    pub fn last(&self) -> Tid {
        self.told
            .keys()
            .next_back()
            .copied()
            .unwrap_or(self.registered)
    }

    /// Takes in the next message.
    pub fn observe(&mut self, event: Event) -> Result<(), Violation> {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(event.clone());
        match event {
            Event::Invalidated(tid, oids) | Event::Finished(tid, oids) => self.changed(tid, oids),
            Event::Loaded(loaded) => self.loaded(loaded),
            Event::Missing(oid, before) => Err(Violation::Missing { oid, before }),
        }
    }

    /// A violation with what this connection has seen last.
    pub fn evidence(&self, violation: Violation) -> Evidence {
        Evidence {
            connection: self.name.clone(),
            violation,
            events: self.recent.iter().cloned().collect(),
        }
    }

    fn changed(&mut self, tid: Tid, oids: Vec<Oid>) -> Result<(), Violation> {
        let last = self.last();
        if tid <= last {
            return Err(Violation::NotLater { tid, last });
        }
        for &oid in &oids {
            self.changes.entry(oid).or_default().push(tid);
        }
        self.told.insert(tid, oids);
        Ok(())
    }

    fn loaded(&mut self, loaded: Loaded) -> Result<(), Violation> {
        let Loaded {
            oid,
            before,
            serial,
            next,
            stamp,
        } = loaded;
        if serial >= before || next.is_some_and(|next| next < before || next <= serial) {
            return Err(Violation::Range {
                oid,
                before,
                serial,
                next,
            });
        }
        let Some(stamp) = stamp else {
            return Err(Violation::Garbage { oid, serial });
        };
        self.check_current(&loaded)?;
        self.check_snapshot(&loaded)?;
        let newest = self.newest.entry(oid).or_default();
        *newest = serial.max(next.unwrap_or_default()).max(*newest);
        self.keep(oid, serial, Revision { stamp, next })
    }

    /// Nothing is current once something newer was told or seen, and what is
    /// asked for without a bound never goes back.
    fn check_current(&self, loaded: &Loaded) -> Result<(), Violation> {
        let &Loaded { oid, serial, .. } = loaded;
        if loaded.next.is_none() {
            let told = self.changes.get(&oid).and_then(|tids| tids.last());
            if let Some(&newer) = told.filter(|told| **told > serial) {
                return Err(Violation::Stale { oid, serial, newer });
            }
        }
        if loaded.next.is_none() || loaded.before == Tid::MAX {
            let seen = self.newest.get(&oid).copied().unwrap_or_default();
            if seen > serial {
                return Err(Violation::Backwards {
                    oid,
                    serial,
                    newer: seen,
                });
            }
        }
        Ok(())
    }

    /// Up to the last tid told, everything is known: what was told is to be
    /// read, and nothing else was changed.
    fn check_snapshot(&self, loaded: &Loaded) -> Result<(), Violation> {
        let &Loaded {
            oid,
            before,
            serial,
            ..
        } = loaded;
        if before.as_u64().saturating_sub(1) > self.last().as_u64() {
            return Ok(());
        }
        let told = self.changes.get(&oid).map_or(&[][..], Vec::as_slice);
        let at = told.partition_point(|tid| *tid < before);
        match told.get(..at).and_then(|tids| tids.last()) {
            Some(&expected) if serial < expected => Err(Violation::NotReadable {
                oid,
                before,
                serial,
                expected,
            }),
            expected if serial > *expected.unwrap_or(&self.registered) => Err(Violation::Untold {
                oid,
                before,
                serial,
            }),
            _ => Ok(()),
        }
    }

    /// A revision never changes, but for its next one, once.
    fn keep(&mut self, oid: Oid, serial: Tid, other: Revision) -> Result<(), Violation> {
        let one = self.revisions.entry((oid, serial)).or_insert(other);
        let same_next = one.next.is_none() || other.next.is_none() || one.next == other.next;
        if one.stamp != other.stamp || !same_next {
            return Err(Violation::Differs {
                oid,
                serial,
                one: *one,
                other,
            });
        }
        one.next = one.next.or(other.next);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
