//! Compressed records in any storage, as by `zc.zlibstorage`.
//!
//! Its `ZlibStorage` transforms records both ways: clients never see a
//! compressed one. Its `ServerZlibStorage` leaves that to the clients, and
//! tells the storage within only how to read records for conflicts and
//! references, which storages here know without it.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use crate::blob::BlobDirectory;
use crate::record::{PLAIN_MAX, compress, decompress, is_compressed};
use crate::storage::{
    Capabilities, Commit, CurrentRecord, Data, DataRecord, HistoryEntry, Invalidation, OnConflict,
    Op, RecordIter, Revision, TransactionIter, TransactionMeta, UndoEntry, Vote,
};
use crate::{Error, Result, Storage};

/// Who compresses and decompresses, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transform {
    /// The storage transforms records for its clients (`ZlibStorage`), or
    /// they do (`ServerZlibStorage`).
    pub for_clients: bool,
    /// Records are compressed that the storage transforms, and in any case
    /// those that it makes of conflicts. Otherwise they stay plain, and
    /// compressed ones are still read.
    pub compress: bool,
}

/// A storage that keeps its records compressed in another one; see the
/// module. Sizes are those of the records as they are kept.
pub struct ZlibStorage {
    base: Arc<dyn Storage>,
    transform: Transform,
}

impl ZlibStorage {
    /// A storage over `base`.
    pub fn new(base: Arc<dyn Storage>, transform: Transform) -> Self {
        Self { base, transform }
    }

    /// The record as it is kept. None is compressed twice.
    fn kept(&self, record: Vec<u8>) -> Vec<u8> {
        let Transform {
            for_clients,
            compress: zip,
        } = self.transform;
        match for_clients && zip && !is_compressed(&record) {
            true => compress(record),
            false => record,
        }
    }

    fn kept_op(&self, op: Op) -> Op {
        match op {
            Op::Store { oid, serial, data } => Op::Store {
                oid,
                serial,
                data: self.kept(data),
            },
            Op::Restore {
                oid,
                serial,
                data,
                prev_tid,
            } => Op::Restore {
                oid,
                serial,
                data: data.map(|data| self.kept(data)),
                prev_tid,
            },
            other => other,
        }
    }
}

impl Transform {
    /// A kept record as clients see it.
    fn shown(self, oid: Oid, serial: Tid, data: Data) -> Result<Data> {
        if !self.for_clients {
            return Ok(data);
        }
        match decompress(&data, PLAIN_MAX) {
            Ok(Cow::Borrowed(_)) => Ok(data),
            Ok(Cow::Owned(plain)) => Ok(plain.into()),
            Err(source) => Err(Error::Compressed {
                oid,
                serial,
                source,
            }),
        }
    }

    fn shown_record(self, record: DataRecord) -> Result<DataRecord> {
        let (oid, tid) = (record.oid, record.tid);
        let data = record.data.map(|data| self.shown(oid, tid, data));
        Ok(DataRecord {
            data: data.transpose()?,
            ..record
        })
    }
}

impl Storage for ZlibStorage {
    fn name(&self) -> String {
        self.base.name()
    }

    fn len(&self) -> u64 {
        self.base.len()
    }

    fn size(&self) -> u64 {
        self.base.size()
    }

    fn last_tid(&self) -> Tid {
        self.base.last_tid()
    }

    fn is_read_only(&self) -> bool {
        self.base.is_read_only()
    }

    fn latched(&self) -> Option<String> {
        self.base.latched()
    }

    /// Those of the base, and one interface more.
    fn capabilities(&self) -> Capabilities {
        let mut able = self.base.capabilities();
        let end = able.interfaces.len().saturating_sub(1);
        let wrapper = ("ZODB.interfaces", "IStorageWrapper");
        able.interfaces.insert(end, wrapper);
        able
    }

    fn blobs(&self) -> Option<&BlobDirectory> {
        self.base.blobs()
    }

    fn load_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        self.base.load_blob(oid, serial)
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        let Some(revision) = self.base.load_before(oid, before)? else {
            return Ok(None);
        };
        let data = self.transform.shown(oid, revision.serial, revision.data)?;
        Ok(Some(Revision { data, ..revision }))
    }

    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data> {
        let data = self.base.load_serial(oid, serial)?;
        self.transform.shown(oid, serial, data)
    }

    fn get_tid(&self, oid: Oid) -> Result<Tid> {
        self.base.get_tid(oid)
    }

    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        self.base.history(oid, size)
    }

    fn undo_log(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
    ) -> Result<Vec<UndoEntry>> {
        self.base.undo_log(first, last, filter)
    }

    fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord> {
        let record = self.base.record_iternext(from)?;
        let data = self
            .transform
            .shown(record.oid, record.serial, record.data)?;
        Ok(CurrentRecord { data, ..record })
    }

    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter> {
        let transform = self.transform;
        let transactions = self.base.iterator(start, stop)?;
        Ok(Box::new(transactions.map(move |transaction| {
            let mut transaction = transaction?;
            let kept = transaction.records;
            transaction.records = Arc::new(move || -> RecordIter {
                Box::new(kept().map(move |record| transform.shown_record(record?)))
            });
            Ok(transaction)
        })))
    }

    fn last_invalidations(&self, count: usize) -> Result<Option<Vec<Invalidation>>> {
        self.base.last_invalidations(count)
    }

    fn new_oid(&self) -> Result<Oid> {
        self.base.new_oid()
    }

    /// Conflicts are reported with records as clients store them.
    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote> {
        let mut kept = ops.map(|op| Ok(self.kept_op(op?)));
        let compressed = self.transform.compress;
        let on_conflict = match on_conflict {
            OnConflict::Resolve => OnConflict::ResolveAs { compressed },
            settled => settled,
        };
        let mut vote = self.base.prepare(meta, &mut kept, on_conflict)?;
        if let Vote::Conflicts(conflicts) = &mut vote {
            for conflict in conflicts {
                let data = std::mem::take(&mut conflict.data).into();
                conflict.data = self
                    .transform
                    .shown(conflict.oid, conflict.read, data)?
                    .to_vec();
            }
        }
        Ok(vote)
    }

    fn append(&self, batch: &mut [Commit]) -> Result<()> {
        self.base.append(batch)
    }

    fn publish(&self, commit: &Commit) {
        self.base.publish(commit);
    }

    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()> {
        self.base.pack(time, gc)
    }

    fn packing(&self) -> Option<String> {
        self.base.packing()
    }

    fn save_index(&self) -> Result<()> {
        self.base.save_index()
    }

    fn close(&self) -> Result<()> {
        self.base.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileStorage;
    use crate::testing::{commit, store, vote};

    const ONE: Oid = Oid::new(1);
    const BOTH: Transform = transform(true, true);
    const DECOMPRESS: Transform = transform(true, false);
    const NOTHING: Transform = transform(false, true);

    const fn transform(for_clients: bool, compress: bool) -> Transform {
        Transform {
            for_clients,
            compress,
        }
    }

    fn storages(transform: Transform) -> (Arc<dyn Storage>, ZlibStorage) {
        let base: Arc<dyn Storage> = Arc::new(FileStorage::in_memory().unwrap());
        (Arc::clone(&base), ZlibStorage::new(base, transform))
    }

    #[test]
    fn records_are_kept_compressed_and_shown_plain() {
        let long = vec![b'x'; 1000];
        let (base, zlib) = storages(BOTH);
        let restored = Op::Restore {
            oid: Oid::new(2),
            serial: Tid::new(10),
            data: Some(long.clone()),
            prev_tid: None,
        };
        let short = store(3, 0, b"short");
        commit(&zlib, 10, &[store(1, 0, long.clone()), restored, short]).unwrap();
        let (now, then) = (Tid::new(20), Tid::new(10));
        for oid in [ONE, Oid::new(2)] {
            let kept = base.load_before(oid, now).unwrap().unwrap().data;
            assert!(is_compressed(&kept) && kept.len() < 40);
            assert_eq!(*zlib.load_before(oid, now).unwrap().unwrap().data, *long);
            assert_eq!(*zlib.load_serial(oid, then).unwrap(), *long);
            assert_eq!(*zlib.record_iternext(Some(oid)).unwrap().data, *long);
        }
        assert_eq!(*base.load_serial(Oid::new(3), then).unwrap(), *b"short");
        let transaction = zlib.iterator(None, None).unwrap().next().unwrap().unwrap();
        let records = || (transaction.records)().map(|record| record.unwrap().data.unwrap());
        let shown: Vec<_> = records().map(|data| data.len()).collect();
        assert_eq!(shown, [1000, 1000, 5]);
        assert!(zlib.size() < 400);
    }

    #[test]
    fn conflicts_are_told_in_the_words_of_clients() {
        let (long, other) = (vec![b'x'; 1000], vec![b'y'; 1000]);
        let (_, zlib) = storages(BOTH);
        commit(&zlib, 10, &[store(1, 0, long.clone())]).unwrap();
        commit(&zlib, 20, &[store(1, 10, long.clone())]).unwrap();
        match vote(
            &zlib,
            30,
            &[store(1, 10, other.clone())],
            OnConflict::Report,
        )
        .unwrap()
        {
            Vote::Conflicts(conflicts) => assert_eq!(conflicts[0].data, other),
            Vote::Ready(_) => panic!("no conflict"),
        }
    }

    #[test]
    fn merged_records_are_compressed_as_the_setting_says() {
        let set = |last: &str| {
            let state = format!("((X\x64\0\0\0{}X\x01\0\0\0{last}tt.", "x".repeat(100));
            [b"\x80\x03cBTrees.OOBTree\nOOSet\nq\x00.", state.as_bytes()].concat()
        };
        for (transform, zipped) in [
            (BOTH, true),
            (DECOMPRESS, false),
            (NOTHING, true),
            (transform(false, false), false),
        ] {
            let (base, zlib) = storages(transform);
            commit(&zlib, 10, &[store(1, 0, compress(set("y")))]).unwrap();
            commit(&zlib, 20, &[store(1, 10, set("y"))]).unwrap();
            let resolved = commit(&zlib, 30, &[store(1, 10, set("z"))]).unwrap();
            assert_eq!(resolved, [ONE]);
            let kept = base.load_serial(ONE, Tid::new(30)).unwrap();
            assert_eq!(is_compressed(&kept), zipped, "{transform:?}");
        }
    }

    #[test]
    fn without_compression_records_come_as_they_are_and_go_plain() {
        let long = vec![b'x'; 1000];
        let zipped = compress(long.clone());
        let (base, zlib) = storages(DECOMPRESS);
        let other = store(2, 0, long.clone());
        commit(&zlib, 10, &[store(1, 0, zipped.clone()), other]).unwrap();
        let ten = Tid::new(10);
        assert_eq!(*base.load_serial(ONE, ten).unwrap(), *zipped);
        assert_eq!(*base.load_serial(Oid::new(2), ten).unwrap(), *long);
        assert_eq!(*zlib.load_serial(ONE, ten).unwrap(), *long);

        let clients = ZlibStorage::new(base, NOTHING);
        assert_eq!(*clients.load_serial(ONE, ten).unwrap(), *zipped);
        let interfaces = clients.capabilities().interfaces;
        assert_eq!(interfaces[interfaces.len() - 2].1, "IStorageWrapper");
        assert_eq!(interfaces[interfaces.len() - 1].1, "Interface");
    }

    #[test]
    fn what_cannot_be_decompressed_is_an_error_that_names_it() {
        let (_, zlib) = storages(BOTH);
        commit(&zlib, 10, &[store(1, 0, b".znot zipped")]).unwrap();
        let error = zlib.load_before(ONE, Tid::new(11)).unwrap_err();
        let (ten, text) = (Tid::new(10), error.to_string());
        let expected =
            format!("the record of object {ONE} in transaction {ten} can't be decompressed: ");
        assert!(text.starts_with(&expected), "{text}");
        let transaction = zlib.iterator(None, None).unwrap().next().unwrap().unwrap();
        assert!((transaction.records)().next().unwrap().is_err());
    }
}
