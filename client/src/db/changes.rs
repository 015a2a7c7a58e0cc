//! What a transaction has changed, and not written yet.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zeo_proto::{Oid, Tid};

use crate::record::Record;

/// The oids from here on stand for new objects, until they get theirs.
const FIRST_NEW: u64 = u64::MAX << 32;

/// How many new objects there were.
static NEW: AtomicU64 = AtomicU64::new(0);

/// The changed objects of a transaction, and its new ones.
#[derive(Default)]
pub(super) struct Changes {
    objects: HashMap<Oid, Changed>,
    /// The objects to be stored for themselves, in the order of their first change; the new ones
    /// follow behind that which refers to them.
    registered: Vec<Oid>,
    /// The oids that new objects got, by those that stand for them.
    given: HashMap<Oid, Oid>,
    /// The oids that its new objects got; never less, also when it goes back to a savepoint.
    own: HashSet<Oid>,
    /// Objects that must not change, with the serials that they have, in order.
    read_current: Vec<(Oid, Tid)>,
}

/// A changed or new object.
#[derive(Clone)]
pub(super) struct Changed {
    /// `None` while it is being changed.
    pub(super) record: Option<Arc<Record>>,
    /// The revision that it was made from; zero for a new object.
    pub(super) serial: Tid,
    /// The file of a blob that has one now.
    pub(super) blob: Option<PathBuf>,
}

impl Changes {
    /// The object that an oid stands for.
    pub(super) fn actual(&self, oid: Oid) -> Oid {
        if oid.as_u64() < FIRST_NEW {
            oid
        } else {
            self.given.get(&oid).copied().unwrap_or(oid)
        }
    }

    pub(super) fn get(&self, oid: Oid) -> Option<&Changed> {
        self.objects.get(&self.actual(oid))
    }

    pub(super) fn get_mut(&mut self, oid: Oid) -> Option<&mut Changed> {
        self.objects.get_mut(&self.actual(oid))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.registered.is_empty()
    }

    pub(super) fn registered(&self) -> &[Oid] {
        &self.registered
    }

    /// Adds an object that is to be stored for itself.
    pub(super) fn register(&mut self, oid: Oid, record: Arc<Record>, serial: Tid) {
        self.registered.push(oid);
        if serial == Tid::ZERO {
            self.own.insert(oid);
        }
        self.put(oid, record, serial);
    }

    /// An oid that stands for a new object: it is given once in this process, so that a reference
    /// from another transaction leads to no wrong one.
    pub(super) fn next_new() -> Oid {
        let count = NEW.fetch_add(1, Ordering::Relaxed);
        Oid::new(FIRST_NEW + count % (1 << 32))
    }

    /// Adds a new object, which is stored if something refers to it.
    pub(super) fn put(&mut self, oid: Oid, record: Arc<Record>, serial: Tid) {
        let changed = Changed {
            record: Some(record),
            serial,
            blob: None,
        };
        self.objects.insert(oid, changed);
    }

    /// Whether an oid stands for a new object that has none of its own yet.
    pub(super) fn is_new(&self, oid: Oid) -> bool {
        oid.as_u64() >= FIRST_NEW && self.objects.contains_key(&oid)
    }

    /// Whether an oid is one of a new object that this transaction does not have: of another
    /// transaction, or one that was made since a savepoint that was gone back to.
    pub(super) fn is_elsewhere(&self, oid: Oid) -> bool {
        (oid.as_u64() >= FIRST_NEW || self.own.contains(&oid)) && self.get(oid).is_none()
    }

    /// Gives a new object its own oid.
    pub(super) fn give(&mut self, new: Oid, oid: Oid) {
        if let Some(object) = self.objects.remove(&new) {
            self.objects.insert(oid, object);
            self.given.insert(new, oid);
            self.own.insert(oid);
        }
    }

    /// Registers a new object that has got its oid before something refers to it.
    pub(super) fn register_given(&mut self, oid: Oid) {
        self.registered.push(oid);
    }

    pub(super) fn read_current(&mut self, oid: Oid, serial: Tid) {
        if !self.read_current.iter().any(|(read, _)| *read == oid) {
            self.read_current.push((oid, serial));
        }
    }

    pub(super) fn to_check(&self) -> &[(Oid, Tid)] {
        &self.read_current
    }

    /// All objects, each with the oid it has now.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Oid, &Changed)> {
        self.objects.iter().map(|(&oid, changed)| (oid, changed))
    }

    /// The oids that new objects have got.
    pub(super) fn given(&self) -> &HashMap<Oid, Oid> {
        &self.given
    }

    /// As it was, with these objects.
    pub(super) fn restore(
        &mut self,
        objects: HashMap<Oid, Changed>,
        registered: Vec<Oid>,
        given: HashMap<Oid, Oid>,
        read_current: Vec<(Oid, Tid)>,
    ) {
        self.objects = objects;
        self.registered = registered;
        self.given = given;
        self.read_current = read_current;
    }
}
