//! A storage that keeps the changes to another one apart, as Python's
//! `DemoStorage`: nobody sees the difference, and the base stays as it is.
//!
//! What the changes don't know comes from the base. Commits, undo and sizes
//! are those of the changes alone. The base must not change meanwhile.

mod commit;
mod oids;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use zeo_proto::{Oid, Tid, repr};

use crate::disk::paths::failed;
use crate::mapping_storage::MappingStorage;
use crate::storage::{
    Capabilities, CurrentRecord, Data, HistoryEntry, OnConflict, Op, Revision, TransactionIter,
    TransactionMeta, Vote,
};
use crate::{Error, Result, Storage};
use oids::Oids;

/// A base and the changes to it; see the module.
pub struct DemoStorage {
    name: String,
    base: Arc<dyn Storage>,
    changes: Arc<dyn Storage>,
    /// Whether the changes are in memory, and nobody else's.
    in_memory: bool,
    /// Where the blobs of changes in memory are.
    blobs: Mutex<Option<TempDir>>,
    oids: Oids,
}

impl DemoStorage {
    /// A storage over `base` that keeps its changes in memory, and blobs in a
    /// temporary directory.
    ///
    /// # Errors
    ///
    /// `Io` when there is no place for that.
    pub fn in_memory(name: Option<String>, base: Arc<dyn Storage>) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .suffix(".demoblobs")
            .tempdir()
            .map_err(failed("making a directory in", &std::env::temp_dir()))?;
        let blobs = Some(directory.path().to_owned());
        let changes = MappingStorage::with_blobs("MappingStorage", blobs)?;
        Ok(Self {
            in_memory: true,
            blobs: Mutex::new(Some(directory)),
            ..Self::new(name, base, Arc::new(changes))
        })
    }

    /// A storage over `base` that keeps its changes in `changes`. Without a
    /// name, it is called by the names of both.
    pub fn new(name: Option<String>, base: Arc<dyn Storage>, changes: Arc<dyn Storage>) -> Self {
        let name = name.unwrap_or_else(|| {
            let [base, changes] = [&base, &changes].map(|storage| repr::text(&storage.name()));
            format!("DemoStorage({base}, {changes})")
        });
        Self {
            name,
            base,
            changes,
            in_memory: false,
            blobs: Mutex::default(),
            oids: Oids::new(),
        }
    }

    /// Asks the base for what the changes don't know.
    fn either<T>(&self, ask: impl Fn(&dyn Storage) -> Result<T>) -> Result<T> {
        match ask(&*self.changes) {
            Err(Error::NoObject(_)) => ask(&*self.base),
            found => found,
        }
    }

    /// The history of the object in the changes alone; empty when they don't
    /// have it.
    fn changes_of(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        match self.changes.history(oid, size) {
            Err(Error::NoObject(_)) => Ok(Vec::new()),
            found => found,
        }
    }
}

impl crate::storage::Layer for DemoStorage {
    fn below(&self) -> &dyn Storage {
        &*self.changes
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn last_tid(&self) -> Tid {
        match self.changes.last_tid() {
            Tid::ZERO => self.base.last_tid(),
            last => last,
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            undo: self.changes.capabilities().undo,
            ..Capabilities::default()
        }
    }

    fn load_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        match self.changes.load_blob(oid, serial) {
            Err(Error::NoBlob { .. }) if self.base.blobs().is_some() => {
                self.base.load_blob(oid, serial)
            }
            found => found,
        }
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        let is_changed_later = match self.changes.load_before(oid, before) {
            // The changes don't have it, or a change is undone at that time.
            Err(Error::NoObject(_)) => false,
            Ok(None) => true,
            found => return found,
        };
        let revision = match self.base.load_before(oid, before) {
            Err(Error::NoObject(_)) if is_changed_later => None,
            found => found?,
        };
        let Some(mut revision) = revision else {
            return Ok(None);
        };
        if revision.next.is_none() && before <= self.changes.last_tid() {
            let changes = self.changes_of(oid, usize::MAX)?;
            let later = changes.iter().take_while(|change| change.tid >= before);
            revision.next = later.last().map(|first| first.tid);
        }
        Ok(Some(revision))
    }

    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data> {
        self.either(|storage| storage.load_serial(oid, serial))
    }

    fn get_tid(&self, oid: Oid) -> Result<Tid> {
        self.either(|storage| storage.get_tid(oid))
    }

    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        let mut entries = self.changes_of(oid, size)?;
        let left = size.saturating_sub(entries.len());
        if left > 0 {
            match self.base.history(oid, left) {
                Err(Error::NoObject(_)) if !entries.is_empty() => {}
                older => entries.extend(older?),
            }
        }
        Ok(entries)
    }

    fn record_iternext(&self, _from: Option<Oid>) -> Result<CurrentRecord> {
        Err(unsupported("record_iternext"))
    }

    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter> {
        let changes = self.changes.iterator(start, stop)?;
        Ok(Box::new(self.base.iterator(start, stop)?.chain(changes)))
    }

    fn lacks(&self, tid: Tid) -> Result<bool> {
        if tid <= self.base.last_tid() {
            return self.base.lacks(tid);
        }
        self.changes.lacks(tid)
    }

    /// As in Python, an oid somewhere in a large space, so that what is
    /// created over a copy of the base is unlikely to get the same ones.
    fn new_oid(&self) -> Result<Oid> {
        self.oids
            .new_oid(|oid| match self.either(|storage| storage.get_tid(oid)) {
                Err(Error::NoObject(_)) => Ok(true),
                found => found.map(|_| false),
            })
    }

    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote> {
        commit::prepare(self, meta, ops, on_conflict)
    }

    /// Packs the changes. What only the base refers to can't be told from
    /// garbage in them, so that there is garbage collection only without a
    /// base. (Python's tries it for changes in memory, and loses them.)
    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()> {
        // What a base says of its length may be an estimate, or that of its own changes.
        let is_all = self.in_memory && self.base.last_tid() == Tid::ZERO;
        let gc = match gc {
            _ if is_all => gc,
            Some(true) => {
                let why = "Garbage collection isn't supported when there is a base storage.";
                return Err(Error::Unsupported(why.to_owned()));
            }
            _ => Some(false),
        };
        self.changes.pack(time, gc)
    }

    fn close(&self) -> Result<()> {
        let closed = self.changes.close();
        let closed = self.base.close().and(closed);
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        match blobs.take() {
            Some(directory) => {
                let path = directory.path().to_owned();
                let removed = directory.close();
                closed.and(removed.map_err(failed("removing", &path)))
            }
            None => closed,
        }
    }
}

fn unsupported(method: &str) -> Error {
    Error::Unsupported(format!("a DemoStorage has no {method}"))
}
