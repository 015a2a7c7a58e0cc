//! FileStorage: the type, with its state and its invariants, and what
//! [`Storage`] asks of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use zeo_proto::{Oid, Tid};

use super::commit::space::Space;
use super::commit::writer::Writer;
use super::files::Files;
use super::index;
use super::pack::moves::Move;
use super::read::generation::Generation;
use super::read::{history, iterator, load, undo_log};
use crate::blob::BlobDirectory;
use crate::disk::backend::Backend;
use crate::disk::paths::failed;
use crate::log::{Level, Log};
use crate::packing::state::PackState;
use crate::storage::{
    Appended, Capabilities, Commit, CurrentRecord, Data, HistoryEntry, Invalidation, OnConflict,
    Op, OpenData, PackProgress, Revision, Storage, TransactionIter, TransactionMeta, UndoEntry,
    Vote, no_blobs,
};
use crate::{Error, Result};

/// A storage in one append-only file of Python's format.
///
/// Its methods stand here (state, the index file, closing), in `open/mod.rs`,
/// `commit/prepare.rs`, `commit/append.rs`, `pack/mod.rs` and `pack/blobs.rs`.
/// What always holds:
///
/// 1. The file is a sequence of whole transactions, as far as it is visible
///    (`Generation::end`). Positions in a record refer to earlier ones only.
/// 2. Only who holds `writer` writes behind that: a batch, or a pack at its
///    switch. A batch's tids come after `Writer::last_tid`.
/// 3. What is visible is durable, but for bulk copies (`sync_every`):
///    visible end <= `Writer::durable` <= `Writer::end`.
/// 4. An entry of a generation's index leads to before its visible end. Readers
///    take no lock, and finish on the generation that they began with.
/// 5. Only who holds `moves` makes something visible, be it a transaction or a
///    generation. There is one move for each generation after the first.
/// 6. A prepared transaction has its room: `space` has reserved it.
/// 7. No pack reads the file while a prepared transaction has back-pointers,
///    and none gets any while a pack runs (`packing`).
/// 8. The index file is never that of another `Data.fs` than the one beside it:
///    a pack removes it before its switch.
/// 9. After the first failed write or sync (`failure`), nothing is written.
///
/// Locks are taken in this order: `Files::saved`, `writer`, that of `space`,
/// `moves`.
pub struct FileStorage {
    pub(super) name: String,
    pub(super) generation: ArcSwap<Generation>,
    pub(super) space: Arc<Space>,
    pub(super) writer: Mutex<Writer>,
    /// The first failed write or sync: nothing is written after it.
    pub(super) failure: OnceLock<String>,
    pub(super) closed: AtomicBool,
    /// The largest oid used or given out.
    pub(super) last_oid: AtomicU64,
    pub(super) read_only: bool,
    pub(super) quota: Option<u64>,
    pub(super) files: Option<Files>,
    pub(crate) blobs: Option<Arc<BlobDirectory>>,
    pub(super) pack_gc: bool,
    /// Whether records later than the pack time keep what they refer to.
    pub(super) later_references: bool,
    pub(super) pack_keep_old: bool,
    pub(super) sync_every: u64,
    pub(super) packing: Arc<PackState>,
    /// One a pack, with the generations in their order. Held by whoever makes
    /// something visible: a transaction or a generation.
    pub(super) moves: Mutex<Vec<Move>>,
    pub(super) log: Log,
}

impl FileStorage {
    pub(super) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, level: Level, what: &str) {
        (self.log)(level, what);
    }

    /// The bytes of the file that is in use now. Those that are served end at
    /// [`size`](Storage::size); for a read-only storage that is always the same
    /// file with the same end, also when a server packs or writes.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.generation().backend)
    }

    /// Saves the index as a file of its own, synced, as Python's
    /// `fsIndex.save` does. It covers the file up to now.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save_index_as(&self, path: &Path) -> Result<()> {
        let generation = self.generation();
        // Taken first: what is published meanwhile lies behind it.
        let position = generation.indexed();
        let entries = generation.entries_at(position);
        index::file::save_as(path, position, entries, generation.state(false))
    }

    /// Fails if the storage takes no writes.
    pub(super) fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Transaction("the storage is closed".to_owned()));
        }
        match self.failure.get() {
            Some(failure) => Err(Error::Latched(failure.clone())),
            None => Ok(()),
        }
    }

    /// Stops all writing, for this reason if it is the first.
    pub(super) fn latch(&self, error: &Error) {
        if self.failure.set(error.to_string()).is_ok() {
            let what = format!("no more transactions are written after an error: {error}");
            self.say(Level::Error, &what);
        }
    }

    /// Takes note of an oid that someone else gave out.
    pub(super) fn use_oid(&self, oid: Oid) {
        self.last_oid.fetch_max(oid.as_u64(), Ordering::AcqRel);
    }

    /// Where large transactions wait; `None` keeps them in memory.
    pub(super) fn spool_dir(&self) -> Option<&Path> {
        self.files.as_ref()?.data.parent()
    }

    /// Writes the index file of a storage that goes on to write; with `always`,
    /// even if nothing has changed.
    pub(super) fn write_index(&self, always: bool) -> Result<()> {
        self.write_index_as(true, always)
    }

    fn write_index_as(&self, is_open: bool, always: bool) -> Result<()> {
        let Some(files) = self.files.as_ref().filter(|_| !self.read_only) else {
            return Ok(());
        };
        let mut saved = files.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation();
        // Taken first: what is published meanwhile lies behind it.
        let position = generation.indexed();
        if always || *saved != Some(position) {
            let entries = generation.entries_at(position);
            index::file::save(&files.path, position, entries, generation.state(is_open))?;
            *saved = Some(position);
        }
        Ok(())
    }

    /// Makes the names of all committed blobs durable.
    pub(super) fn settle_blobs(&self) -> Result<()> {
        match self.blobs.as_ref().filter(|_| !self.read_only) {
            Some(blobs) => blobs.settle(),
            None => Ok(()),
        }
    }

    /// Cuts off prepared room, for good: Python would save it as torn.
    fn cut_room(&self) -> Result<()> {
        let mut writer = self.writer();
        if writer.room.is_behind(writer.end) {
            writer.room.forget();
            let backend = Arc::clone(&self.generation().backend);
            let cut = backend.truncate(writer.end).and_then(|()| backend.sync());
            cut.map_err(failed("cutting off prepared room from", backend.path()))?;
        }
        Ok(())
    }

    fn end_files(&self) -> Result<()> {
        if self.read_only || self.failure.get().is_some() {
            return Ok(());
        }
        self.sync_writer()?;
        self.cut_room()?;
        let saved = self.write_index_as(false, true);
        if self.space.has_spare_room() {
            let generation = self.generation();
            let backend = &generation.backend;
            let end = self.writer().end;
            let cut = backend.truncate(end);
            cut.map_err(failed("cutting off reserved room from", backend.path()))?;
        }
        saved
    }
}

impl Storage for FileStorage {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> u64 {
        self.generation.load().index.len()
    }

    fn size(&self) -> u64 {
        self.generation.load().end()
    }

    fn index_memory(&self) -> Option<u64> {
        Some(self.generation().index.memory())
    }

    fn last_tid(&self) -> Tid {
        self.generation.load().last_tid()
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn latched(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            undo: true,
            record_iternext: true,
            restore: true,
            delete: true,
            transforms: false,
        }
    }

    fn blobs(&self) -> Option<&BlobDirectory> {
        self.blobs.as_deref()
    }

    fn load_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        match &self.blobs {
            Some(blobs) => blobs.load(oid, serial),
            None => Err(no_blobs()),
        }
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        let found = self.open_before(oid, before)?;
        found.map(Revision::read).transpose()
    }

    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data> {
        self.open_serial(oid, serial)?.read()
    }

    fn open_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision<OpenData>>> {
        load::open_before(&self.generation.load(), oid, before)
            .map_err(|error| error.of_object(oid))
    }

    fn open_serial(&self, oid: Oid, serial: Tid) -> Result<OpenData> {
        load::open_serial(&self.generation.load(), oid, serial)
            .map_err(|error| error.of_object(oid))
    }

    fn get_tid(&self, oid: Oid) -> Result<Tid> {
        load::get_tid(&self.generation.load(), oid).map_err(|error| error.of_object(oid))
    }

    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        history::history(&self.generation(), oid, size).map_err(|error| error.of_object(oid))
    }

    fn undo_log(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
    ) -> Result<Vec<UndoEntry>> {
        undo_log::undo_log(&self.generation(), first, last, filter)
    }

    fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord> {
        history::record_iternext(&self.generation.load(), from)
    }

    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter> {
        iterator::transactions(self.generation(), start, stop)
    }

    fn last_invalidations(&self, count: usize) -> Result<Option<Vec<Invalidation>>> {
        undo_log::last_invalidations(&self.generation(), count).map(Some)
    }

    fn lacks(&self, tid: Tid) -> Result<bool> {
        undo_log::lacks(&self.generation(), tid)
    }

    fn new_oid(&self) -> Result<Oid> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let next = |last: u64| last.checked_add(1);
        let last = self
            .last_oid
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        last.ok()
            .and_then(next)
            .map(Oid::new)
            .ok_or_else(|| Error::Value("all oids have been given out".to_owned()))
    }

    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote> {
        self.prepare_ops(meta, ops, on_conflict)
    }

    fn append(&self, batch: &mut [Commit]) -> Result<Appended> {
        self.append_batch(batch).map(|()| Appended::default())
    }

    fn publish(&self, commit: &Commit) {
        self.publish_commit(commit);
    }

    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()> {
        self.pack_observed(time, gc, &mut ())
    }

    fn packing(&self) -> Option<PackProgress> {
        self.packing.progress()
    }

    fn cancel_pack(&self) -> bool {
        self.packing.cancel()
    }

    fn save_index(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.write_index(false)
    }

    fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // A pack sees that, too.
        self.packing.wait_for_end();
        let settled = self.settle_blobs();
        let ended = self.end_files().and(settled);
        if let Some(files) = &self.files {
            let mut locks = files.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.clear();
        }
        ended
    }
}
