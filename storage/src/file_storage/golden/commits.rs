//! The same files through the whole of FileStorage: loads, undo, copies. What
//! is written is the same but for the seals.

use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::{Case, cases, hex, list, some_tid, tid};
use crate::disk::backend::MemoryBackend;
use crate::file_storage::Options;
use crate::storage::{OnConflict, Op, TransactionMeta, TransactionRecord, Vote};
use crate::testing::files::{content, memory, without_seals};
use crate::testing::finish;
use crate::{Error, FileStorage, Result, Storage};

fn open(backend: &Arc<MemoryBackend>) -> FileStorage {
    FileStorage::over(backend.clone(), "test", &Options::default()).unwrap()
}

impl Case {
    fn backend(&self) -> Arc<MemoryBackend> {
        memory(&self.bytes)
    }
}

fn commit(storage: &FileStorage, meta: &TransactionMeta, ops: Vec<Op>) -> Result<()> {
    let mut ops = ops.into_iter().map(Ok);
    let Vote::Ready(prepared) = storage.prepare(meta, &mut ops, OnConflict::Resolve)? else {
        panic!("conflicts are errors here");
    };
    finish(storage, meta.tid.unwrap(), prepared)
}

#[test]
fn loads_agree_with_python() {
    for case in cases() {
        let storage = open(&case.backend());
        for expected in list(&case.answers["loads"]) {
            let oid = Oid::from_slice(&hex(&expected["oid"])).unwrap();
            let before = tid(&expected["before"]);
            match storage.load_before(oid, before) {
                Ok(Some(found)) => {
                    assert_eq!(Some(found.data.to_vec()), case.text(&expected["data"]));
                    assert_eq!(found.serial, tid(&expected["serial"]));
                    assert_eq!(found.next, some_tid(&expected["next"]));
                    assert_eq!(storage.load_serial(oid, found.serial).unwrap(), found.data);
                }
                Ok(None) => {
                    assert!(expected.get("serial").is_none() && expected.get("gone").is_none())
                }
                Err(Error::NoObject(_)) => assert_eq!(expected["gone"], true),
                Err(other) => panic!("{}: {other}", case.name),
            }
        }
    }
}

#[test]
fn undo_leaves_the_file_that_python_leaves() {
    for case in cases() {
        for expected in list(&case.answers["undo"]) {
            let backend = case.backend();
            let storage = open(&backend);
            let written = expected.get("written").map(hex);
            let undo_tid = match &written {
                Some(written) => Tid::from_slice(&written[..8]).unwrap(),
                None => Tid::MAX,
            };
            let meta = TransactionMeta {
                user: b"undoer".to_vec(),
                description: b"undo".to_vec(),
                tid: Some(undo_tid),
                status: b' ',
                ..TransactionMeta::default()
            };
            let tids = list(&expected["tids"]).iter().map(tid);
            let outcome = commit(&storage, &meta, tids.map(|tid| Op::Undo { tid }).collect());
            storage.close().unwrap();
            let now = without_seals(&content(&*backend)).0;
            let (before, added) = now.split_at(case.bytes.len());
            assert!(before == case.bytes, "{}", case.name);
            match outcome {
                Ok(()) => assert_eq!(Some(added), written.as_deref(), "{}", case.name),
                Err(Error::Undo { reason, .. }) => {
                    assert_eq!(expected["reason"], reason);
                    assert!(added.is_empty());
                }
                Err(other) => panic!("{}: {other}", case.name),
            }
        }
    }
}

/// As Python's `copyTransactionsFrom` does it.
fn restore(transaction: &TransactionRecord) -> Vec<Op> {
    let records = (transaction.records)().map(Result::unwrap);
    records
        .map(|record| Op::Restore {
            oid: record.oid,
            serial: record.tid,
            data: record.data.map(|data| data.to_vec()),
            prev_tid: record.data_txn,
        })
        .collect()
}

#[test]
fn copies_are_the_same_byte_by_byte() {
    // Ignored transactions are not copied.
    for case in cases().filter(|case| case.name != "ignored") {
        let source = open(&case.backend());
        let copied = Arc::new(MemoryBackend::default());
        let copy = open(&copied);
        for transaction in source.iterator(None, None).unwrap() {
            let transaction = transaction.unwrap();
            commit(&copy, &transaction.meta, restore(&transaction)).unwrap();
        }
        assert_eq!(copy.last_tid(), source.last_tid());
        assert_eq!(copy.len(), source.len());
        assert!(
            without_seals(&content(&*copied)).0 == case.bytes,
            "{}",
            case.name
        );
    }
}
