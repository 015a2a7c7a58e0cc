//! A storage in memory, for tests and for data that need not last.
//!
//! It is a FileStorage without a disk that answers as Python's
//! `MappingStorage`: no undo, no restore, no deletion, and no resolution of
//! conflicts.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use zeo_proto::{Oid, Tid};

use crate::file_storage::FileStorage;
use crate::file_storage::commit::laid_out::LaidOut;
use crate::packing::pack_stop;
use crate::storage::{
    Capabilities, Commit, CurrentRecord, HistoryEntry, Invalidation, OnConflict, Op, OpenData,
    Revision, TransactionMeta, UndoEntry, Vote,
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
    last_pack: Mutex<Tid>,
}

impl MappingStorage {
    /// An empty storage. Python's default name is `MappingStorage`, and
    /// `Mapping Storage` in a configuration file.
    ///
    /// # Errors
    /// None that are known; they have the type of [`MappingStorage::with_blobs`].
    pub fn new(name: impl Into<String>) -> Result<Self> {
        Self::with_blobs(name, None)
    }

    /// As `new`, with blobs on disk if a directory is given.
    ///
    /// # Errors
    /// The blob directory can't be made or used.
    pub fn with_blobs(name: impl Into<String>, blob_dir: Option<PathBuf>) -> Result<Self> {
        Ok(Self {
            name: name.into(),
            core: FileStorage::in_memory_with_blobs(blob_dir)?.keeping_later_references(),
            size: AtomicU64::new(0),
            last_pack: Mutex::default(),
        })
    }

    /// What the transactions up to `stop` add to the size.
    fn size_until(&self, stop: Tid) -> Result<u64> {
        let mut oids = HashSet::new();
        let mut size = 0;
        for transaction in self.core.iterator(None, Some(stop))? {
            for record in (transaction?.records)() {
                let record = record?;
                oids.insert(record.oid);
                size += REVISION_SIZE + record.data.map_or(0, |data| data.len() as u64);
            }
        }
        Ok(size + OBJECT_SIZE * oids.len() as u64)
    }
}

impl crate::storage::Layer for MappingStorage {
    fn below(&self) -> &dyn Storage {
        &self.core
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    /// Python's estimate: 50 bytes an object, 100 a revision, and the data.
    fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn open_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision<OpenData>>> {
        self.core.open_before(oid, before)
    }

    fn open_serial(&self, oid: Oid, serial: Tid) -> Result<OpenData> {
        self.core.open_serial(oid, serial)
    }

    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        let mut entries = self.core.history(oid, size)?;
        for entry in &mut entries {
            entry.is_flat = false;
        }
        Ok(entries)
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

    fn last_invalidations(&self, _count: usize) -> Result<Option<Vec<Invalidation>>> {
        Ok(None)
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
            (Vote::Conflicts(mut conflicts), _)
                if !on_conflict.is_report() && !conflicts.is_empty() =>
            {
                let mut first = conflicts.swap_remove(0);
                first.reason = Some("a MappingStorage resolves none".to_owned());
                Err(Error::Conflict(Box::new(first)))
            }
            (vote, _) => Ok(vote),
        }
    }

    fn publish(&self, commit: &Commit) {
        if let Ok(laid_out) = commit.prepared.work::<LaidOut>() {
            let added = laid_out.records().map(|(is_new, length)| {
                let object = if is_new { OBJECT_SIZE } else { 0 };
                object + REVISION_SIZE + length
            });
            self.size.fetch_add(added.sum(), Ordering::AcqRel);
        }
        self.core.publish(commit);
    }

    /// Removes objects that can't be reached by any revision that remains. As
    /// in a FileStorage, those stay that were stored after the pack time:
    /// somebody may be about to refer to them. (Python's removes them.) There
    /// is no going back behind an earlier pack.
    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()> {
        if self.core.is_empty() {
            return Ok(());
        }
        let stop = pack_stop(time)?;
        let mut last = self
            .last_pack
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match stop.cmp(&last) {
            Less => return Err(Error::Value("Already packed to a later time".to_owned())),
            Equal => return Ok(()),
            Greater => {}
        }
        let before = self.size_until(stop)?;
        self.core.pack(time, gc)?;
        *last = stop;
        let freed = before.saturating_sub(self.size_until(stop)?);
        self.size.fetch_sub(freed, Ordering::AcqRel);
        Ok(())
    }
}

fn unsupported(method: &str) -> Error {
    Error::Unsupported(format!("a MappingStorage has no {method}"))
}

#[cfg(test)]
mod tests;
