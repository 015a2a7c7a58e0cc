//! Copying all transactions from one storage to another, as they are
//! (`copyTransactionsFrom`).

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;
use zeo_proto::{Oid, Tid};

use crate::blob::is_blob;
use crate::log::Level;
use crate::observer::{Cancelled, Observer};
use crate::storage::{
    Bulk, Commit, DataRecord, OnConflict, Op, TransactionMeta, TransactionRecord, Vote,
};
use crate::{Error, Result, Storage};

/// About how many bytes a record takes besides its data.
const RECORD_OVERHEAD_BYTES: u64 = 42;

/// How much was copied.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Transactions.
    pub transactions: u64,
    /// Their records.
    pub records: u64,
    /// Files of blobs.
    pub blobs: u64,
    /// Blobs that were left out, as their files are missing, or can't be
    /// read.
    pub missing_blobs: u64,
    /// Records of blobs in a source that has no directory for their files.
    pub lone_records: u64,
}

/// Why a storage can't be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// One of the storages failed, or the observer has cancelled it.
    #[error(transparent)]
    Storage(#[from] Error),
    /// There is no place for the files of blobs.
    #[error("the source has blobs, but the destination has no blob directory")]
    NoBlobDirectory,
    /// The destination has transactions, and is not to be continued.
    #[error("{destination} is not empty")]
    NotEmpty {
        /// Its name.
        destination: String,
    },
    /// The last transaction of the destination is none of the source.
    #[error(
        "{destination} can't be continued: its last transaction, {last}, is not the same in {origin}"
    )]
    OtherHistory {
        /// The name of the destination.
        destination: String,
        /// The name of the source.
        origin: String,
        /// The last transaction of the destination.
        last: Tid,
    },
}

impl From<Cancelled> for CopyError {
    fn from(cancelled: Cancelled) -> Self {
        CopyError::Storage(cancelled.into())
    }
}

/// Copies all transactions with their tids, texts, status, records and blobs.
/// With `go_on`, those behind the last one of the destination.
///
/// Reads the source, which others may be writing to: what is committed later
/// may be left out. Writes to the destination only, where nobody else may
/// commit meanwhile; the caller closes it. `copied` hears of each transaction
/// when it is in the destination, or will be with those behind it, and may cancel. `observer` is told each blob
/// that is left out.
///
/// # Errors
///
/// See [`CopyError`]. After these, and when it is cancelled, the destination
/// holds all transactions up to one, whole: another copy can go on.
pub fn copy(
    source: &dyn Storage,
    destination: &dyn Storage,
    go_on: bool,
    copied: &mut dyn FnMut(&TransactionRecord) -> std::result::Result<(), Cancelled>,
    observer: &mut dyn Observer,
) -> std::result::Result<Copied, CopyError> {
    if source.blobs().is_some() && destination.blobs().is_none() {
        return Err(CopyError::NoBlobDirectory);
    }
    let bulk = destination.bulk()?;
    let keeps_history = bulk.as_ref().is_none_or(|bulk| bulk.keeps_history());
    let start = start(source, (destination, keeps_history), go_on)?;
    observer.begin("copying", Some(source.size()));
    let mut copy = Copy {
        source,
        destination,
        bulk,
        observer,
        copied: Copied::default(),
        bytes: 0,
    };
    let done = source.iterator(start, None)?.try_for_each(|txn| {
        let txn = txn?;
        copy.transaction(&txn)?;
        Ok(copied(&txn)?)
    });
    // What was copied until an error stays.
    let kept = copy.bulk.as_mut().map_or(Ok(()), |bulk| bulk.finish());
    done.and(kept.map_err(CopyError::Storage))?;
    Ok(copy.copied)
}

/// Where to begin: behind what the destination has.
fn start(
    source: &dyn Storage,
    (destination, keeps_history): (&dyn Storage, bool),
    go_on: bool,
) -> std::result::Result<Option<Tid>, CopyError> {
    let last = destination.last_tid();
    if last == Tid::ZERO {
        return Ok(None);
    }
    let name = destination.name();
    if !go_on {
        return Err(CopyError::NotEmpty { destination: name });
    }
    if !same_transaction(source, (destination, keeps_history), last)? {
        return Err(CopyError::OtherHistory {
            destination: name,
            origin: source.name(),
            last,
        });
    }
    Ok(Some(Tid::new(last.as_u64().saturating_add(1))))
}

/// Whether both have a transaction, with the same texts and records; without history, with those
/// records that are still there.
fn same_transaction(
    source: &dyn Storage,
    (destination, keeps_history): (&dyn Storage, bool),
    tid: Tid,
) -> Result<bool> {
    let find = |storage: &dyn Storage| -> Result<Option<TransactionRecord>> {
        storage.iterator(Some(tid), Some(tid))?.next().transpose()
    };
    let (Some(theirs), Some(ours)) = (find(source)?, find(destination)?) else {
        return Ok(false);
    };
    let (records, copied) = (digests(&theirs)?, digests(&ours)?);
    if !keeps_history {
        return Ok(copied
            .iter()
            .all(|(oid, digest)| records.get(oid) == Some(digest)));
    }
    let is_packed = |txn: &TransactionRecord| txn.status == b'p';
    Ok(is_packed(&theirs) == is_packed(&ours)
        && texts(&theirs.meta) == texts(&ours.meta)
        && records == copied)
}

/// What a transaction has of each object: a checksum of the last record, `None` if the object is gone.
fn digests(txn: &TransactionRecord) -> Result<HashMap<Oid, Option<u128>>> {
    let digest = |record: DataRecord| (record.oid, record.data.as_deref().map(xxh3_128));
    (txn.records)().map(|record| record.map(digest)).collect()
}

fn texts(meta: &TransactionMeta) -> [&[u8]; 3] {
    [&meta.user, &meta.description, &meta.extension]
}

struct Copy<'a> {
    source: &'a dyn Storage,
    destination: &'a dyn Storage,
    /// If the destination has it.
    bulk: Option<Box<dyn Bulk + 'a>>,
    observer: &'a mut dyn Observer,
    copied: Copied,
    /// About how much of the source was copied.
    bytes: u64,
}

impl Copy<'_> {
    fn transaction(&mut self, txn: &TransactionRecord) -> Result<()> {
        let meta = TransactionMeta {
            tid: Some(txn.tid),
            status: txn.status,
            ..txn.meta.clone()
        };
        // Both borrow from the copy.
        let (destination, mut bulk) = (self.destination, self.bulk.take());
        let mut records = (txn.records)();
        // The file of a blob follows its record, of which clients store two.
        let (mut blob, mut with_files) = (None, HashSet::new());
        let mut ops = std::iter::from_fn(|| {
            if let Some(blob) = blob.take() {
                return Some(Ok(blob));
            }
            let record = records.next()?;
            Some(record.and_then(|record| {
                self.count(&record)?;
                blob = self.blob(&record, &mut with_files)?;
                Ok(Op::Restore {
                    oid: record.oid,
                    serial: record.tid,
                    data: record.data.map(|data| data.to_vec()),
                    prev_tid: record.data_txn,
                })
            }))
        });
        let done = match &mut bulk {
            Some(bulk) => bulk.add(&meta, &mut ops),
            None => commit(destination, &meta, &mut ops),
        };
        self.bulk = bulk;
        done?;
        self.copied.transactions += 1;
        Ok(())
    }

    fn count(&mut self, record: &DataRecord) -> Result<()> {
        let length = record.data.as_ref().map_or(0, |data| data.len() as u64);
        self.copied.records += 1;
        self.bytes = self
            .bytes
            .saturating_add(length)
            .saturating_add(RECORD_OVERHEAD_BYTES);
        Ok(self.observer.set(self.bytes)?)
    }

    /// The file of the record's blob, if it has one that is not done yet.
    fn blob(&mut self, record: &DataRecord, done: &mut HashSet<Oid>) -> Result<Option<Op>> {
        if !record.data.as_deref().is_some_and(is_blob) {
            return Ok(None);
        }
        let (Some(_), Some(blobs)) = (self.source.blobs(), self.destination.blobs()) else {
            self.copied.lone_records += 1;
            return Ok(None);
        };
        if !done.insert(record.oid) {
            return Ok(None);
        }
        let copied = match self.source.load_blob(record.oid, record.tid) {
            Ok(path) => blobs.copy_if_readable(&path)?.map_err(|why| (path, why)),
            Err(Error::NoBlob { path, .. }) => Err((path, io::ErrorKind::NotFound.into())),
            Err(error) => return Err(error),
        };
        let file = match copied {
            Ok(file) => Arc::new(file),
            Err((path, why)) => {
                self.copied.missing_blobs += 1;
                let (oid, path) = (record.oid, path.display());
                let what = format!("Object {oid}: its blob {path} is missing: {why}");
                self.observer.say(Level::Warning, &what);
                return Ok(None);
            }
        };
        self.copied.blobs += 1;
        Ok(Some(Op::Blob {
            oid: record.oid,
            serial: Some(record.tid),
            file,
        }))
    }
}

/// Commits one transaction under the tid in `meta`. Nobody else may commit
/// meanwhile.
pub(crate) fn commit(
    storage: &dyn Storage,
    meta: &TransactionMeta,
    ops: &mut dyn Iterator<Item = Result<Op>>,
) -> Result<()> {
    let Some(tid) = meta.tid else {
        return Err(Error::Value(
            "a copy needs the tid of its transaction".to_owned(),
        ));
    };
    match storage.prepare(meta, ops, OnConflict::Resolve)? {
        Vote::Ready(prepared) => {
            let mut batch = [Commit { tid, prepared }];
            let appended = storage.append(&mut batch)?;
            if let Some((_, why)) = appended.refused.into_iter().next() {
                return Err(why);
            }
            batch.iter().for_each(|commit| storage.publish(commit));
            Ok(())
        }
        Vote::Conflicts(_) => {
            let what = format!("transaction {tid} conflicts with another one");
            Err(Error::Transaction(what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileStorage;
    use crate::backend::MemoryBackend;
    use crate::file_storage::Options;
    use crate::testing::{Cancelling, commit_under as store_all, store, tid};

    fn storage(name: &str) -> FileStorage {
        let backend = Arc::new(MemoryBackend::default());
        FileStorage::over(backend, name, &Options::default()).unwrap()
    }

    /// Three transactions of two records.
    fn source() -> FileStorage {
        let source = storage("source");
        for number in 1..=3 {
            let ops = [store(number, 0, "a"), store(number + 10, 0, "b")];
            store_all(&source, number, &ops).unwrap();
        }
        source
    }

    fn tids(storage: &dyn Storage) -> Vec<Tid> {
        let all = storage.iterator(None, None).unwrap();
        all.map(|txn| txn.unwrap().tid).collect()
    }

    #[test]
    fn cancelled_after_any_record_it_leaves_whole_transactions_and_can_go_on() {
        let source = source();
        for calls in 0..6 {
            let destination = storage("destination");
            let mut observer = Cancelling::after(calls);
            let done = copy(&source, &destination, false, &mut |_| Ok(()), &mut observer);
            assert!(matches!(done, Err(CopyError::Storage(Error::Cancelled))));
            let whole = tids(&destination);
            assert_eq!(whole, tids(&source)[..calls / 2], "{calls}");

            let again = copy(&source, &destination, true, &mut |_| Ok(()), &mut ()).unwrap();
            assert_eq!(again.transactions, 3 - whole.len() as u64);
            assert_eq!(tids(&destination), tids(&source));
        }
    }

    #[test]
    fn whoever_hears_of_transactions_can_cancel() {
        let (source, destination) = (source(), storage("destination"));
        let mut heard = Vec::new();
        let mut on_event = |txn: &TransactionRecord| {
            heard.push(txn.tid);
            Err(Cancelled)
        };
        copy(&source, &destination, false, &mut on_event, &mut ()).unwrap_err();
        assert_eq!((heard, tids(&destination)), (vec![tid(1)], vec![tid(1)]));
    }

    #[test]
    fn what_can_not_be_continued() {
        let (source, destination) = (source(), storage("destination"));
        let copy = |go_on| copy(&source, &destination, go_on, &mut |_| Ok(()), &mut ());
        store_all(&destination, 1, &[store(1, 0, "a")]).unwrap();
        assert!(matches!(copy(false), Err(CopyError::NotEmpty { .. })));
        let Err(CopyError::OtherHistory { last, .. }) = copy(true) else {
            panic!("it goes on behind a transaction that has other records");
        };
        assert_eq!(last, tid(1));
    }
}
