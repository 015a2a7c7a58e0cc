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

use crate::blob::BlobDirectory;
use crate::file_storage::{FileStorage, pack_stop};
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
    last_pack: Mutex<Tid>,
}

impl MappingStorage {
    /// An empty storage. Python's default name is `MappingStorage`, and
    /// `Mapping Storage` in a configuration file.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        Self::with_blobs(name, None)
    }

    /// The same with blobs on disk, if there is a directory for them.
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
        let mut interfaces = vec![
            ("ZODB.interfaces", "IStorage"),
            ("ZODB.interfaces", "IStorageIteration"),
            ("zope.interface", "Interface"),
        ];
        if self.blobs().is_some() {
            interfaces.insert(0, ("ZODB.interfaces", "IBlobStorage"));
        }
        Capabilities {
            undo: false,
            record_iternext: false,
            interfaces,
        }
    }

    fn blobs(&self) -> Option<&BlobDirectory> {
        self.core.blobs()
    }

    fn load_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        self.core.load_blob(oid, serial)
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
            (Vote::Conflicts(mut conflicts), _)
                if on_conflict != OnConflict::Report && !conflicts.is_empty() =>
            {
                let mut first = conflicts.swap_remove(0);
                first.reason = Some("a MappingStorage resolves none".to_owned());
                Err(Error::Conflict(Box::new(first)))
            }
            (vote, _) => Ok(vote),
        }
    }

    fn append(&self, batch: &mut [Commit]) -> Result<()> {
        self.core.append(batch)
    }

    fn publish(&self, commit: &Commit) {
        let added: u64 = commit
            .prepared
            .records()
            .map(|(is_new, length)| {
                let object = if is_new { OBJECT_SIZE } else { 0 };
                object + REVISION_SIZE + length
            })
            .sum();
        self.size.fetch_add(added, Ordering::AcqRel);
        self.core.publish(commit);
    }

    /// Removes objects that can't be reached by any revision that remains. As
    /// in a FileStorage, those stay that were stored after the pack time:
    /// somebody may be about to refer to them. (Python's removes them.) There
    /// is no going back behind an earlier pack.
    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()> {
        if self.is_empty() {
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

    fn packing(&self) -> Option<String> {
        self.core.packing()
    }

    fn save_index(&self) -> Result<()> {
        self.core.save_index()
    }

    fn close(&self) -> Result<()> {
        self.core.close()
    }
}

fn unsupported(method: &str) -> Error {
    Error::Unsupported(format!("a MappingStorage has no {method}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Conflict;
    use crate::testing::{commit, store, vote};

    /// Objects 1 and 2 by transaction 10, object 1 again by 20.
    fn filled() -> MappingStorage {
        let storage = MappingStorage::new("here").unwrap();
        commit(&storage, 10, &[store(1, 0, "one"), store(2, 0, "second")]).unwrap();
        commit(&storage, 20, &[store(1, 10, "four")]).unwrap();
        storage
    }

    /// The numbers are what Python's MappingStorage gives after the same.
    #[test]
    fn answers_as_python() {
        let storage = filled();
        assert_eq!((storage.name(), storage.len()), ("here".to_owned(), 2));
        assert_eq!(storage.size(), 413);
        assert_eq!(storage.last_tid(), Tid::new(20));
        assert!(storage.last_invalidations(5).unwrap().is_none());
        let undo_log = storage.undo_log(0, 9, &mut |_| Ok(true)).unwrap();
        assert!(undo_log.is_empty());

        let one = Oid::new(1);
        let history = storage.history(one, 5).unwrap();
        let sizes: Vec<_> = history.iter().map(|h| (h.tid.as_u64(), h.size)).collect();
        assert_eq!(sizes, [(20, 4), (10, 3)]);
        assert_eq!(history[0].meta.user, b"u");
        let old = storage.load_before(one, Tid::new(20)).unwrap().unwrap();
        assert_eq!((&*old.data, old.next), (&b"one"[..], Some(Tid::new(20))));
        assert_eq!(storage.load_before(one, Tid::new(10)).unwrap(), None);
        assert_eq!(storage.load_before(one, Tid::ZERO).unwrap(), None);
        let found = storage.iterator(Some(Tid::new(11)), Some(Tid::new(20)));
        let tids: Vec<_> = found.unwrap().map(|txn| txn.unwrap().tid).collect();
        assert_eq!(tids, [Tid::new(20)]);
    }

    #[test]
    fn unknown_objects_are_missing() {
        let (storage, five) = (filled(), Oid::new(5));
        let missing = [
            storage.load_serial(Oid::new(1), Tid::new(11)).err(),
            storage.load_before(five, Tid::MAX).err(),
            storage.get_tid(five).err(),
            storage.history(five, 1).err(),
        ];
        for error in missing {
            assert!(matches!(error, Some(Error::NoObject(_))), "{error:?}");
        }
    }

    #[test]
    fn packs() {
        let storage = MappingStorage::new("here").unwrap();
        let record = "\u{28}X\0\0\0\0t.N.";
        commit(&storage, 10, &[store(0, 0, record), store(1, 0, record)]).unwrap();
        commit(&storage, 20, &[store(0, 10, record)]).unwrap();
        storage.pack(1e9, None).unwrap();
        assert_eq!(
            (storage.len(), storage.size()),
            (1, 50 + 100 + record.len() as u64)
        );
        assert!(
            storage
                .load_before(Oid::new(0), Tid::new(20))
                .unwrap()
                .is_none()
        );
        storage.pack(1e9, None).unwrap();
        let refused = storage.pack(1e8, None);
        assert!(matches!(refused, Err(Error::Value(_))), "{refused:?}");
    }

    #[test]
    fn conflicts_are_errors_or_reported() {
        let storage = filled();
        let mut expected = Conflict {
            reason: Some("a MappingStorage resolves none".to_owned()),
            oid: Oid::new(1),
            committed: Tid::new(20),
            read: Tid::new(10),
            data: b"other".to_vec(),
        };
        let ops = [store(2, 10, "fine"), store(1, 10, "other")];
        match vote(&storage, 30, &ops, OnConflict::Resolve) {
            Err(Error::Conflict(conflict)) => assert_eq!(*conflict, expected),
            other => panic!("{other:?}"),
        }
        expected.reason = None;
        match vote(&storage, 30, &ops, OnConflict::Report) {
            Ok(Vote::Conflicts(conflicts)) => assert_eq!(conflicts, [expected]),
            other => panic!("{other:?}"),
        }
        let (oid, serial) = (Oid::new(1), Tid::new(10));
        let stale = vote(
            &storage,
            30,
            &[Op::Check { oid, serial }],
            OnConflict::Resolve,
        );
        assert!(
            matches!(stale, Err(Error::ReadConflict { .. })),
            "{stale:?}"
        );
    }

    #[test]
    fn what_python_lacks_is_unsupported() {
        let storage = filled();
        let (oid, serial) = (Oid::new(1), Tid::new(20));
        let restore = Op::Restore {
            oid,
            serial,
            data: None,
            prev_tid: None,
        };
        for op in [
            Op::Delete { oid, serial },
            restore,
            Op::Undo { tid: serial },
        ] {
            let refused = vote(&storage, 30, &[op], OnConflict::Resolve);
            assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
        }
        assert!(matches!(
            storage.record_iternext(None),
            Err(Error::Unsupported(_))
        ));
        let capabilities = storage.capabilities();
        assert!(!capabilities.undo && !capabilities.record_iternext);
    }

    /// A record that refers to these objects.
    fn referring(oids: &[u8]) -> Vec<u8> {
        let mut record = b"\x80\x03ca\nC\nq\x00.\x80\x03(".to_vec();
        for &oid in oids {
            record.extend([&b"C\x08\0\0\0\0\0\0\0"[..], &[oid, b'Q']].concat());
        }
        record.extend(b"t.");
        record
    }

    /// As in Python, and other than in a FileStorage: object 1 was out of
    /// reach at the pack time, and came back.
    #[test]
    fn references_after_the_pack_time_count() {
        let storage = MappingStorage::new("here").unwrap();
        let first = [
            store(0, 0, referring(&[1])),
            store(1, 0, referring(&[2])),
            store(2, 0, referring(&[])),
            store(3, 0, referring(&[])),
        ];
        let second = Tid::from_time(std::time::UNIX_EPOCH + std::time::Duration::from_secs(2000));
        let later = second.as_u64() + (1 << 40);
        commit(&storage, 10, &first).unwrap();
        commit(&storage, 20, &[store(0, 10, referring(&[]))]).unwrap();
        let last = [
            store(0, 20, referring(&[1, 5])),
            store(5, 0, referring(&[9])),
        ];
        commit(&storage, later, &last).unwrap();
        storage.pack(2000.0, None).unwrap();
        assert_eq!(storage.len(), 4);
        for (oid, there) in [(0, true), (1, true), (2, true), (3, false), (5, true)] {
            let found = storage.get_tid(Oid::new(oid));
            assert_eq!(found.is_ok(), there, "{oid}: {found:?}");
        }
    }
}
