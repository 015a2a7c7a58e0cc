//! The same result as Python's packer: `tests/make_pack_data.py`.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use flate2::read::ZlibDecoder;
use serde_json::Value;

use super::super::time::stop;
use super::support::{bytes, check_whole, open_bytes};
use crate::file_storage::FileStorage;
use crate::{Error, Storage};

pub fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

#[test]
fn golden_files() {
    let packed = check_directory(&data().join("data/pack"));
    assert!(packed > 100, "{packed}");
}

/// Set `RZEO_VENV6` to a virtual environment with ZODB, and
/// `RZEO_PACK_SEEDS` to the number of histories.
#[test]
fn random_histories() {
    let Some(venv) = std::env::var_os("RZEO_VENV6") else {
        return;
    };
    let seeds = std::env::var("RZEO_PACK_SEEDS").map_or(40, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new(Path::new(&venv).join("bin/python"))
        .arg(data().join("make_pack_data.py"))
        .arg(directory.path())
        .args((1000..1000 + seeds).map(|seed: u32| seed.to_string()))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{errors}");
    check_directory(directory.path());
}

/// Packs all files as Python did; says how many packs changed something.
fn check_directory(directory: &Path) -> usize {
    let mut packed = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mut json = String::new();
        ZlibDecoder::new(std::fs::File::open(&path).unwrap())
            .read_to_string(&mut json)
            .unwrap();
        let answer: Value = serde_json::from_str(&json).unwrap();
        let file = hex::decode(answer["file"].as_str().unwrap()).unwrap();
        for case in answer["packs"].as_array().unwrap() {
            let name = path.file_stem().unwrap().to_string_lossy();
            packed += check_case(&name, &file, case.as_array().unwrap());
        }
    }
    packed
}

/// Some packs one after the other.
fn check_case(name: &str, file: &[u8], steps: &[Value]) -> usize {
    let mut storage = open_bytes(file);
    let mut packed = 0;
    for step in steps {
        let (time, gc) = (
            step["time"].as_f64().unwrap(),
            step["gc"].as_bool().unwrap(),
        );
        let place = format!("{name}: to {time}, garbage collection {gc}");
        let before = bytes(&storage);
        let result = storage.pack(time, Some(gc));
        match step["result"].as_str() {
            None => {
                result.unwrap();
                assert_eq!(bytes(&storage), before, "{place}");
            }
            Some("KeyError") => {
                assert!(matches!(result, Err(Error::Dangling { .. })), "{place}");
                assert_eq!(bytes(&storage), before, "{place}");
            }
            // Python loses track of records that later ones point to.
            Some("PackError" | "AssertionError") => {
                result.unwrap();
                check_readable(&place, &open_bytes(&before), &storage, time, gc);
            }
            Some(expected) => {
                result.unwrap();
                check_same(&place, &storage, &hex::decode(expected).unwrap());
                packed += 1;
            }
        }
        check_whole(&storage);
        // From the file alone, too.
        storage = open_bytes(&bytes(&storage));
    }
    packed
}

/// Byte for byte, except that of several records that a transaction wrote for
/// one object, a back-pointer leads to that to which it led before, where
/// Python takes the first one if its data are the same.
pub fn check_same(place: &str, storage: &FileStorage, expected: &[u8]) {
    let found = bytes(storage);
    if found == expected {
        return;
    }
    assert_eq!(found.len(), expected.len(), "{place}");
    let python = open_bytes(expected);
    assert_eq!(everything(storage), everything(&python), "{place}");
}

/// All transactions and records, and where they stand.
fn everything(storage: &FileStorage) -> Vec<String> {
    let transactions = storage.iterator(None, None).unwrap().map(Result::unwrap);
    let shown = transactions.map(|txn| {
        let records: Vec<_> = (txn.records)()
            .map(Result::unwrap)
            .map(|record| (record.data.as_deref().map(hex::encode), record))
            .collect();
        format!("{} {} {:?} {records:?}", txn.tid, txn.status, txn.meta)
    });
    let index = storage.generation();
    let index = index.index.iter().map(|entry| format!("{entry:?}"));
    shown.chain(index.collect::<Vec<_>>()).collect()
}

/// What was written after the pack time can be read as before; without
/// garbage collection, what was current then as well.
pub fn check_readable(place: &str, old: &FileStorage, new: &FileStorage, time: f64, gc: bool) {
    let stop = stop(time).unwrap();
    let records = |storage: &FileStorage| -> Vec<_> {
        let transactions = storage.iterator(None, None).unwrap().map(Result::unwrap);
        let late = transactions.filter(|transaction| transaction.tid > stop);
        late.flat_map(|transaction| (transaction.records)().map(Result::unwrap))
            .collect()
    };
    assert_eq!(records(old), records(new), "{place}");
    for (oid, _) in old.generation().index.iter().filter(|_| !gc) {
        let load = |storage: &FileStorage| storage.load_before(oid, zeo_proto::Tid::MAX);
        match load(old) {
            Ok(found) => assert_eq!(found, load(new).unwrap(), "{place}: {oid}"),
            Err(_) => assert!(load(new).is_err(), "{place}: {oid}"),
        }
    }
}
