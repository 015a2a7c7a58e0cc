//! FileStorage on files that Python made, with Python's answers about them
//! (see `make_history_data.py`): loads, undo and copies through the whole
//! commit path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use zeo_proto::{Oid, Tid};
use zeo_storage::backend::{Backend, MemoryBackend};
use zeo_storage::file_storage::Options;
use zeo_storage::storage::{Commit, OnConflict, Op, TransactionMeta, TransactionRecord, Vote};
use zeo_storage::{Error, FileStorage, Result, Storage};

const NAMES: [&str; 6] = ["plain", "undone", "packed", "gone", "ignored", "empty"];

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    answers: Value,
    directory: TempDir,
}

fn cases() -> impl Iterator<Item = Case> {
    NAMES.into_iter().map(|name| {
        let stem = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/history");
        let json = std::fs::read(stem.join(format!("{name}.json"))).unwrap();
        Case {
            name,
            bytes: std::fs::read(stem.join(format!("{name}.fs"))).unwrap(),
            answers: serde_json::from_slice(&json).unwrap(),
            directory: tempfile::tempdir().unwrap(),
        }
    })
}

impl Case {
    /// A fresh copy of the file.
    fn path(&self) -> PathBuf {
        let path = self.directory.path().join("Data.fs");
        std::fs::write(&path, &self.bytes).unwrap();
        path
    }

    fn text(&self, number: &Value) -> Vec<u8> {
        let number = usize::try_from(number.as_u64().unwrap()).unwrap();
        hex(&self.answers["texts"][number])
    }
}

fn open(path: &Path) -> FileStorage {
    FileStorage::open(path, Options::default()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn tid(value: &Value) -> Tid {
    Tid::from_slice(&hex(value)).unwrap()
}

fn commit(storage: &FileStorage, meta: &TransactionMeta, ops: Vec<Op>) -> Result<()> {
    let mut ops = ops.into_iter().map(Ok);
    let Vote::Ready(prepared) = storage.prepare(meta, &mut ops, OnConflict::Resolve)? else {
        panic!("conflicts are errors here");
    };
    let tid = meta.tid.unwrap();
    let mut batch = [Commit { tid, prepared }];
    storage.append(&mut batch)?;
    storage.publish(&batch[0]);
    Ok(())
}

#[test]
fn loads_agree_with_python() {
    for case in cases() {
        let storage = open(&case.path());
        for expected in list(&case.answers["loads"]) {
            let oid = Oid::from_slice(&hex(&expected["oid"])).unwrap();
            let before = tid(&expected["before"]);
            match storage.load_before(oid, before) {
                Ok(Some(found)) => {
                    assert_eq!(*found.data, *case.text(&expected["data"]));
                    assert_eq!(found.serial, tid(&expected["serial"]));
                    let next = expected["next"].as_str().map(|_| tid(&expected["next"]));
                    assert_eq!(found.next, next);
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
            let backend = Arc::new(MemoryBackend::default());
            backend.write_all_at(&case.bytes, 0).unwrap();
            let storage =
                FileStorage::over(backend.clone(), case.name, &Options::default()).unwrap();
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
            let mut now = vec![0; usize::try_from(backend.len().unwrap()).unwrap()];
            backend.read_at(&mut now, 0).unwrap();
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
        let source = open(&case.path());
        let copy_path = case.directory.path().join("Copy.fs");
        let copy = open(&copy_path);
        for transaction in source.iterator(None, None).unwrap() {
            let transaction = transaction.unwrap();
            commit(&copy, &transaction.meta, restore(&transaction)).unwrap();
        }
        assert_eq!(copy.last_tid(), source.last_tid());
        assert_eq!(copy.len(), source.len());
        copy.close().unwrap();
        assert!(
            std::fs::read(&copy_path).unwrap() == case.bytes,
            "{}",
            case.name
        );
    }
}
