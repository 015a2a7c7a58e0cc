//! Trees in memory.

mod hostile;
mod model;
mod small;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use zeo_proto::Oid;
use zeo_storage::btrees::{Class as Known, Tree as Class};

use super::{Forest, Nodes, Tree};
use crate::Error;
use crate::record::{Record, Value};

/// Records in memory, and what was asked of them.
#[derive(Default)]
pub(super) struct Memory {
    pub records: RefCell<BTreeMap<Oid, Bytes>>,
    pub forest: RefCell<Forest>,
    pub checked: RefCell<BTreeSet<Oid>>,
    pub prefetched: RefCell<Vec<Oid>>,
    pub written: RefCell<Vec<Oid>>,
    pub reads: Cell<usize>,
    last: Cell<u64>,
}

impl Nodes for Memory {
    fn read(&self, oid: Oid) -> Result<Bytes, Error> {
        self.reads.set(self.reads.get() + 1);
        let records = self.records.borrow();
        let serial = None;
        let missing = Error::NoObject { oid, serial };
        records.get(&oid).cloned().ok_or(missing)
    }

    fn write(&self, oid: Oid, record: Record) -> Result<(), Error> {
        self.written.borrow_mut().push(oid);
        let record = record.encode().unwrap();
        self.records.borrow_mut().insert(oid, record.into());
        Ok(())
    }

    fn allocate(&self) -> Result<Oid, Error> {
        self.last.set(self.last.get() + 1);
        Ok(Oid::new(self.last.get()))
    }

    fn read_current(&self, oid: Oid) -> Result<(), Error> {
        assert!(self.checked.borrow_mut().insert(oid), "{oid} again");
        Ok(())
    }

    fn prefetch(&self, oids: &[Oid]) {
        self.prefetched.borrow_mut().extend(oids);
    }
}

impl Memory {
    /// An empty tree.
    pub fn plant(&self, name: &str) -> Oid {
        let oid = self.allocate().unwrap();
        self.write(oid, Tree::empty(class(name))).unwrap();
        self.written.borrow_mut().clear();
        oid
    }

    /// A node of this class and state.
    pub fn put(&self, oid: u64, name: &str, state: Value) {
        self.last.set(self.last.get().max(oid));
        let class = crate::record::Class::new(class(name).module(), name);
        self.write(Oid::new(oid), Record::new(class, state))
            .unwrap();
    }

    pub fn tree(&self, oid: Oid) -> Tree<'_> {
        Tree::open(self, &self.forest, oid).unwrap()
    }

    /// Writes what has changed, as a commit does; the nodes in the order in which they were written.
    pub fn commit(&self) -> Vec<Oid> {
        self.written.borrow_mut().clear();
        self.forest.borrow_mut().flush(self).unwrap();
        self.checked.borrow_mut().clear();
        self.written.borrow().clone()
    }

    /// A state as it is written.
    pub fn state(&self, oid: Oid) -> Value {
        Record::decode(self.read(oid).unwrap()).unwrap().state
    }
}

pub(super) fn class(name: &str) -> Class {
    let prefix = name.get(..2).unwrap();
    match Known::named(&format!("BTrees.{prefix}BTree"), name) {
        Some(Known::Tree(tree)) => tree,
        _ => panic!("{name}"),
    }
}
