//! The callers of a storage, step by step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use zeo_proto::{Oid, Tid};
use zeo_storage::storage::Revision;

use super::Broken;
use super::truth::Truth;
use crate::client_storage::in_flight::{Finished, Loaded, Waiting};
use crate::client_storage::known::Known;
use crate::client_storage::link::Link;
use crate::client_storage::listeners::{Listener, Subscription};
use crate::client_storage::load::LATEST;
use crate::client_storage::slot::Slot;

/// How many objects there are.
pub const OBJECTS: u64 = 8;

/// What was asked of the server.
pub enum Request {
    Load {
        id: u64,
        oid: Oid,
        before: Tid,
    },
    Finish {
        id: u64,
        records: BTreeMap<Oid, Vec<u8>>,
    },
}

/// What a caller sees around it.
pub struct Around<'a> {
    pub known: &'a Known,
    pub link: Option<&'a Link>,
    pub truth: &'a Truth,
    pub requests: &'a mut Vec<Request>,
    pub random: &'a mut Rng,
    pub broken: Broken,
}

/// Keeps objects from one transaction to the next, as `Connection` does.
#[derive(Default)]
struct Objects {
    /// What the storage has told; no oids: everything.
    told: Mutex<Vec<(Tid, Option<Vec<Oid>>)>>,
}

impl Listener for Objects {
    fn invalidated(&self, tid: Tid, oids: &[Oid]) {
        self.told.lock().unwrap().push((tid, Some(oids.to_vec())));
    }

    fn everything_changed(&self, tid: Tid) {
        self.told.lock().unwrap().push((tid, None));
    }
}

enum State {
    Idle,
    /// A snapshot as of this transaction, and what it will read.
    Reading(Tid, Vec<Oid>),
    Loading(Tid, Vec<Oid>, Oid, Tid, Arc<Slot<Loaded>>),
    Finishing(Arc<Slot<Finished>>),
}

pub struct Caller {
    listener: Arc<Objects>,
    _subscription: Subscription,
    /// The serials of the objects that it keeps.
    objects: BTreeMap<Oid, Tid>,
    state: State,
}

impl Caller {
    pub fn new(known: &Known) -> Self {
        let listener = Arc::new(Objects::default());
        let subscription = known.listeners.subscribe(listener.clone());
        Self {
            listener,
            _subscription: subscription,
            objects: BTreeMap::new(),
            state: State::Idle,
        }
    }

    pub fn is_finishing(&self) -> bool {
        matches!(self.state, State::Finishing(_))
    }

    /// The next step; `may_commit` if nobody else does.
    pub fn step(&mut self, around: &mut Around<'_>, may_commit: bool) -> Result<(), String> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => self.begin(around),
            State::Reading(at, mut oids) => match oids.pop() {
                Some(oid) => return self.read(around, at, oids, oid),
                None if may_commit && around.random.bool() => self.finish(around),
                None => {}
            },
            State::Loading(at, oids, oid, before, slot) => {
                match slot.wait(Some(Duration::ZERO)) {
                    None => self.state = State::Loading(at, oids, oid, before, slot),
                    // The connection was lost.
                    Some(Err(_)) => {}
                    Some(Ok(found)) => {
                        self.state = State::Reading(at, oids);
                        if let (Broken::StoredByCallers, Some(found)) = (around.broken, &found) {
                            let Revision { data, serial, next } = found;
                            around.known.loaded(oid, *serial, *next, data);
                        }
                        return self.found(around, at, (oid, before), found);
                    }
                }
            }
            State::Finishing(slot) => {
                if slot.wait_alone(Some(Duration::ZERO)).is_none() {
                    self.state = State::Finishing(slot);
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, around: &mut Around<'_>) {
        let at = around.known.last_tid();
        let mut told = self.listener.told.lock().unwrap();
        let all = around.broken == Broken::ObjectsTooSoon;
        for (_, oids) in told.extract_if(.., |(tid, _)| all || *tid <= at) {
            match oids {
                Some(oids) => self.objects.retain(|oid, _| !oids.contains(oid)),
                None => self.objects.clear(),
            }
        }
        let oids = (0..around.random.usize(1..4)).map(|_| Oid::new(around.random.u64(..OBJECTS)));
        self.state = State::Reading(at, oids.collect());
    }

    fn read(
        &mut self,
        around: &mut Around<'_>,
        at: Tid,
        oids: Vec<Oid>,
        oid: Oid,
    ) -> Result<(), String> {
        let is_latest = around.random.u8(..5) == 0;
        let before = if is_latest {
            LATEST
        } else {
            Tid::new(at.as_u64() + 1)
        };
        if let Some(&serial) = self.objects.get(&oid)
            && !is_latest
        {
            self.state = State::Reading(at, oids);
            let truth = around.truth.before(oid, before).map(|(start, ..)| start);
            return equal(&format!("object {oid} at {at}"), &Some(serial), &truth);
        }
        if let Some(found) = around.known.load_before(oid, before) {
            self.state = State::Reading(at, oids);
            return self.found(around, at, (oid, before), Some(found));
        }
        // Without a connection the transaction fails.
        if let Some(link) = around.link
            && let Ok((slot, id)) = link.in_flight.enter_load((oid, before), true)
        {
            around
                .requests
                .extend(id.map(|id| Request::Load { id, oid, before }));
            self.state = State::Loading(at, oids, oid, before, slot);
        }
        Ok(())
    }

    /// Checks what was loaded in the snapshot of `at`.
    fn found(
        &mut self,
        around: &Around<'_>,
        at: Tid,
        (oid, before): (Oid, Tid),
        found: Option<Revision>,
    ) -> Result<(), String> {
        let what = format!("{oid} before {before} at {at}");
        let truth = around
            .truth
            .before(oid, before.min(Tid::new(at.as_u64() + 1)));
        let serial = found.as_ref().map(|found| found.serial);
        if before == LATEST {
            // As of then, or later.
            let oldest = truth.map(|(start, ..)| start);
            return if serial >= oldest {
                Ok(())
            } else {
                equal(&what, &serial, &oldest)
            };
        }
        equal(&what, &serial, &truth.map(|(start, ..)| start))?;
        let (Some(found), Some((serial, end, data))) = (found, truth) else {
            return Ok(());
        };
        equal(&what, &&*found.data, &data)?;
        if found.next.is_some() {
            equal(&what, &found.next, &end)?;
        }
        self.objects.insert(oid, serial);
        Ok(())
    }

    fn finish(&mut self, around: &mut Around<'_>) {
        let Some(link) = around.link else {
            return;
        };
        let oids = (0..around.random.usize(1..4)).map(|_| Oid::new(around.random.u64(..OBJECTS)));
        let records: BTreeMap<_, _> = oids.map(|oid| (oid, Vec::new())).collect();
        let records = filled(around.random, records);
        // What was too much to keep is not known.
        let stored = records
            .iter()
            .map(|(&oid, data)| (oid, around.random.bool().then(|| data.clone())));
        let (slot, stored) = (Arc::new(Slot::new()), stored.collect());
        slot.join();
        let waiting = Waiting::Finish {
            slot: Arc::clone(&slot),
            stored,
        };
        if let Ok(id) = link.in_flight.enter(waiting) {
            around.requests.push(Request::Finish { id, records });
            self.state = State::Finishing(slot);
        }
    }
}

/// Records that nobody else has written.
pub fn filled(random: &mut Rng, mut records: BTreeMap<Oid, Vec<u8>>) -> BTreeMap<Oid, Vec<u8>> {
    for data in records.values_mut() {
        data.resize(random.usize(8..60), 0);
        random.fill(data);
    }
    records
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, truth: &T) -> Result<(), String> {
    if found == truth {
        Ok(())
    } else {
        Err(format!("{what}: {found:?}, not {truth:?}"))
    }
}
