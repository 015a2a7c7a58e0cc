//! A storage in memory that lets the rest of the world go on in the middle
//! of its calls, as it may when they run in threads of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zeo_proto::{Oid, Tid};
use zeo_storage::error::Conflict;
use zeo_storage::storage::{
    Capabilities, Commit, CurrentRecord, Data, HistoryEntry, Invalidation, OnConflict, Op,
    Revision, TransactionIter, TransactionMeta, UndoEntry, Vote,
};
use zeo_storage::{Error, Result, Storage};

use super::world;

pub(super) struct Interrupted {
    pub(super) inner: Arc<dyn Storage>,
    /// The next append fails, and all after it.
    pub(super) failing: AtomicBool,
}

impl Storage for Interrupted {
    fn name(&self) -> String {
        self.inner.name()
    }
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn size(&self) -> u64 {
        self.inner.size()
    }
    fn last_tid(&self) -> Tid {
        self.inner.last_tid()
    }
    fn is_read_only(&self) -> bool {
        self.inner.is_read_only()
    }
    fn latched(&self) -> Option<String> {
        self.inner.latched()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        let found = self.inner.load_before(oid, before);
        world::interrupt();
        found
    }
    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data> {
        self.inner.load_serial(oid, serial)
    }
    fn get_tid(&self, oid: Oid) -> Result<Tid> {
        self.inner.get_tid(oid)
    }
    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        self.inner.history(oid, size)
    }
    fn undo_log(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
    ) -> Result<Vec<UndoEntry>> {
        self.inner.undo_log(first, last, filter)
    }
    fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord> {
        self.inner.record_iternext(from)
    }
    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter> {
        self.inner.iterator(start, stop)
    }
    fn last_invalidations(&self, count: usize) -> Result<Option<Vec<Invalidation>>> {
        self.inner.last_invalidations(count)
    }
    fn new_oid(&self) -> Result<Oid> {
        self.inner.new_oid()
    }

    /// Also judges the outcome: a conflict must be one.
    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote> {
        let vote = self.inner.prepare(meta, ops, on_conflict);
        if let Err(Error::Conflict(conflict)) = &vote {
            self.judge(conflict);
        }
        world::interrupt();
        vote
    }

    fn append(&self, batch: &mut [Commit]) -> Result<()> {
        if self.failing.load(Ordering::Relaxed) {
            return Err(Error::Latched("the disk of the test".into()));
        }
        self.inner.append(batch)
    }

    fn publish(&self, commit: &Commit) {
        world::interrupt();
        self.inner.publish(commit);
    }
    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()> {
        self.inner.pack(time, gc)
    }
    fn save_index(&self) -> Result<()> {
        self.inner.save_index()
    }
    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

impl Interrupted {
    fn judge(&self, conflict: &Conflict) {
        assert_ne!(conflict.committed, conflict.read, "a conflict without one");
        assert_eq!(
            self.inner.get_tid(conflict.oid).unwrap(),
            conflict.committed,
            "a locked object has moved"
        );
    }
}
