//! The same transactions as Python commits, byte for byte but for the seals,
//! and its answers to loads.

use std::path::Path;

use serde_json::Value;
use zeo_proto::{Oid, Tid};

use crate::disk::paths::beside;
use crate::file_storage::index;
use crate::file_storage::{FileStorage, Options};
use crate::storage::{Commit, OnConflict, Op, TransactionMeta, Vote};
use crate::testing::files::without_seals;
use crate::testing::{listening, read_only};
use crate::{Error, Storage};

struct Script(Value);

impl Script {
    fn read() -> Self {
        let json = std::fs::read(golden("answers.json")).unwrap();
        Self(serde_json::from_slice(&json).unwrap())
    }

    fn tid(&self, number: &Value) -> Tid {
        as_tid(&self.0["tids"][number.as_u64().unwrap() as usize])
    }

    fn transactions(&self) -> &[Value] {
        self.0["transactions"].as_array().unwrap()
    }

    /// Commits the transaction of this number, the first being 1.
    fn commit(&self, storage: &FileStorage, number: usize) {
        let txn = &self.transactions()[number - 1];
        let tid = self.tid(&number.into());
        let meta = TransactionMeta {
            user: txn["user"].as_str().unwrap().into(),
            description: txn["description"].as_str().unwrap().into(),
            extension: hex(&txn["extension_bytes"]),
            tid: Some(tid),
            status: txn["status"].as_str().unwrap().as_bytes()[0],
        };
        let ops = txn["ops"].as_array().unwrap().iter();
        let mut ops = ops.map(|op| Ok(self.op(tid, op)));
        let vote = storage.prepare(&meta, &mut ops, OnConflict::Resolve);
        let Ok(Vote::Ready(prepared)) = vote else {
            panic!("transaction {number}: {vote:?}");
        };
        let mut batch = [Commit { tid, prepared }];
        storage.append(&mut batch).unwrap();
        storage.publish(&batch[0]);
    }

    fn op(&self, tid: Tid, op: &Value) -> Op {
        let oid = Oid::new(op["oid"].as_u64().unwrap_or(0));
        let serial = match op["serial"].as_u64() {
            Some(0) | None => Tid::ZERO,
            Some(_) => self.tid(&op["serial"]),
        };
        match op["op"].as_str().unwrap() {
            "store" => Op::Store {
                oid,
                serial,
                data: hex(&op["data"]),
            },
            "delete" => Op::Delete { oid, serial },
            "undo" => Op::Undo {
                tid: self.tid(&op["tid"]),
            },
            "restore" => Op::Restore {
                oid,
                serial: tid,
                data: op["data"].as_str().map(|_| hex(&op["data"])),
                // One hint leads to a transaction that is not there.
                prev_tid: op["hint"].as_u64().map(|hint| match hint {
                    77 => Tid::MAX,
                    _ => self.tid(&op["hint"]),
                }),
            },
            other => panic!("{other}"),
        }
    }

    fn check_answers(&self, storage: &FileStorage) {
        let facts = &self.0["facts"];
        assert_eq!(storage.len(), facts["len"].as_u64().unwrap());
        assert_eq!(storage.last_tid(), as_tid(&facts["last"]));
        for answers in self.0["loads"].as_array().unwrap() {
            self.check_loads(storage, answers);
        }
    }

    fn check_loads(&self, storage: &FileStorage, answers: &Value) {
        let oid = Oid::new(answers["oid"].as_u64().unwrap());
        for (i, expected) in answers["before"].as_array().unwrap().iter().enumerate() {
            let before = self.0["tids"].get(i + 1).map_or(Tid::MAX, as_tid);
            let found = storage.load_before(oid, before).map(|found| {
                found.map_or(Value::Null, |found| {
                    serde_json::json!([
                        self.text(&found.data),
                        hex::encode(found.serial.to_bytes()),
                        found.next.map(|next| hex::encode(next.to_bytes())),
                    ])
                })
            });
            assert_eq!(or_key_error(found), *expected, "{oid} before {before}");
        }
        for (i, expected) in answers["serial"].as_array().unwrap().iter().enumerate() {
            let serial = as_tid(&self.0["tids"][i + 1]);
            let found = storage.load_serial(oid, serial);
            let found = found.map(|data| self.text(&data).into());
            assert_eq!(or_key_error(found), *expected, "{oid} at {serial}");
        }
        let found = storage.get_tid(oid);
        let found = found.map(|tid| hex::encode(tid.to_bytes()).into());
        assert_eq!(or_key_error(found), answers["getTid"], "{oid}");
    }

    /// The number of a record's data.
    fn text(&self, data: &[u8]) -> Option<usize> {
        let hex = hex::encode(data);
        let texts = self.0["texts"].as_array().unwrap();
        texts.iter().position(|text| text == hex.as_str())
    }
}

/// A file that Python made: see `testdata/generate/make_commit_data.py`.
pub(super) fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/commits")
        .join(name)
}

fn or_key_error(found: Result<Value, Error>) -> Value {
    match found {
        Err(Error::NoObject(_)) => "POSKeyError".into(),
        found => found.unwrap(),
    }
}

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn as_tid(value: &Value) -> Tid {
    Tid::from_slice(&hex(value)).unwrap()
}

/// File and index are Python's, but for the seals.
fn same_files(path: &Path) {
    let (bytes, moved) = without_seals(&std::fs::read(path).unwrap());
    assert!(
        bytes == std::fs::read(golden("Data.fs")).unwrap(),
        "Data.fs differs"
    );
    let load = |path: &Path| {
        let index = std::fs::read(path).unwrap();
        index::file::read(&index[..], u64::MAX).unwrap()
    };
    let (ours, pythons) = (
        load(&beside(path, ".index")),
        load(&golden("Data.fs.index")),
    );
    assert_eq!(moved[&ours.position], pythons.position);
    let ours = ours.index.iter().map(|(oid, at)| (oid, moved[&at]));
    assert!(ours.eq(pythons.index.iter()), "Data.fs.index differs");
}

#[test]
fn writes_the_bytes_that_python_writes() {
    let script = Script::read();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    for number in 1..=script.transactions().len() {
        script.commit(&storage, number);
    }
    script.check_answers(&storage);
    let next = storage.new_oid().unwrap();
    assert_eq!(
        hex::encode(next.to_bytes()),
        script.0["facts"]["new_oid"].as_str().unwrap()
    );
    storage.close().unwrap();
    same_files(&path);
}

#[test]
fn a_reopened_storage_goes_on_where_it_was() {
    let script = Script::read();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    for number in 1..=script.transactions().len() {
        let storage = FileStorage::open(&path, Options::default()).unwrap();
        script.commit(&storage, number);
        // Every other time as after a crash: with an old index.
        if number % 2 == 0 {
            storage.close().unwrap();
        }
    }
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    script.check_answers(&storage);
    storage.close().unwrap();
    same_files(&path);
}

#[test]
fn answers_as_python_on_its_file() {
    let script = Script::read();
    // With the index, of which nothing is to be said; read-only, so that the
    // files stay as they are.
    let (options, messages) = listening();
    let options = Options {
        read_only: true,
        ..options
    };
    let storage = FileStorage::open(golden("Data.fs"), options).unwrap();
    script.check_answers(&storage);
    let size = script.0["facts"]["size"].as_u64().unwrap();
    assert_eq!(storage.size(), size);
    assert_eq!(*messages.lock().unwrap(), []);
    assert!(matches!(storage.new_oid(), Err(Error::ReadOnly)));
    // Without the index.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("copy.fs");
    std::fs::copy(golden("Data.fs"), &path).unwrap();
    script.check_answers(&FileStorage::open(&path, read_only()).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
