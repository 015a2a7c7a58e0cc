//! A storage in memory, for tests and for data that need not last.
//!
//! It is a FileStorage without a disk that answers as Python's
//! `MappingStorage`: no undo, no restore, no deletion, and no resolution of
//! conflicts.

use std::sync::atomic::{AtomicU64, Ordering};

use zeo_proto::{Oid, Tid};

use crate::file_storage::FileStorage;
use crate::storage::{
    Capabilities, Commit, CurrentRecord, Data, HistoryEntry, Invalidation, OnConflict, Op,
    Revision, TransactionIter, TransactionMeta, UndoEntry, Vote,
};
use crate::{Error, Result, Storage};

/// What Python adds to the size for each object, in bytes.
const OBJECT_SIZE: u64 = 50;
/// What it adds for each revision, besides the data.
const REVISION_SIZE: u64 = 100;

/// A storage in memory; see the module.
pub struct MappingStorage {
    name: String,
    core: FileStorage,
    size: AtomicU64,
}

impl MappingStorage {
    /// An empty storage. Python's default name is `MappingStorage`, and
    /// `Mapping Storage` in a configuration file.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        Ok(Self {
            name: name.into(),
            core: FileStorage::in_memory()?,
            size: AtomicU64::new(0),
        })
    }
}

impl Storage for MappingStorage {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> u64 {
        self.core.len()
    }

    /// Python's estimate: 50 bytes an object, 100 a revision, and the data.
    fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn last_tid(&self) -> Tid {
        self.core.last_tid()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn latched(&self) -> Option<String> {
        self.core.latched()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            undo: false,
            record_iternext: false,
            interfaces: vec![
                ("ZODB.interfaces", "IStorage"),
                ("ZODB.interfaces", "IStorageIteration"),
                ("zope.interface", "Interface"),
            ],
        }
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        self.core.load_before(oid, before)
    }

    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data> {
        self.core.load_serial(oid, serial)
    }

    fn get_tid(&self, oid: Oid) -> Result<Tid> {
        self.core.get_tid(oid)
    }

    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        self.core.history(oid, size)
    }

    /// Always empty: Python's server answers for storages without undo.
    fn undo_log(
        &self,
        _first: usize,
        _last: usize,
        _filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
    ) -> Result<Vec<UndoEntry>> {
        Ok(Vec::new())
    }

    fn record_iternext(&self, _from: Option<Oid>) -> Result<CurrentRecord> {
        Err(unsupported("record_iternext"))
    }

    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter> {
        self.core.iterator(start, stop)
    }

    fn last_invalidations(&self, _count: usize) -> Result<Option<Vec<Invalidation>>> {
        Ok(None)
    }

    fn new_oid(&self) -> Result<Oid> {
        self.core.new_oid()
    }

    /// With `Resolve`, the first conflict is an error: no class can resolve
    /// its conflicts here, as in Python.
    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote> {
        let mut supported = ops.map(|op| match op? {
            Op::Delete { .. } => Err(unsupported("deleteObject")),
            Op::Restore { .. } => Err(unsupported("restore")),
            Op::Undo { .. } => Err(unsupported("undo")),
            op => Ok(op),
        });
        let vote = self
            .core
            .prepare(meta, &mut supported, OnConflict::Report)?;
        match (vote, on_conflict) {
            (Vote::Conflicts(mut conflicts), OnConflict::Resolve) if !conflicts.is_empty() => {
                Err(Error::Conflict(Box::new(conflicts.swap_remove(0))))
            }
            (vote, _) => Ok(vote),
        }
    }

    fn append(&self, batch: &mut [Commit]) -> Result<()> {
        self.core.append(batch)
    }

    fn publish(&self, commit: &Commit) {
        self.core.publish(commit);
        let added: u64 = commit
            .prepared
            .records()
            .map(|(is_new, length)| {
                let object = if is_new { OBJECT_SIZE } else { 0 };
                object + REVISION_SIZE + length
            })
            .sum();
        self.size.fetch_add(added, Ordering::AcqRel);
    }

    fn save_index(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn unsupported(method: &str) -> Error {
    Error::Unsupported(format!("a MappingStorage has no {method}"))
}
