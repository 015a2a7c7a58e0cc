//! The same result as Python's packer: `testdata/generate/make_pack_data.py`.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use flate2::read::ZlibDecoder;
use serde_json::Value;
use zeo_proto::Oid;

use super::support::{bytes, check_whole, open_bytes};
use crate::file_storage::FileStorage;
use crate::packing::pack_stop as stop;
use crate::storage::DataRecord;
use crate::{Error, Storage};

pub fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata"))
}

#[test]
fn golden_files() {
    let packed = check_directory(&data().join("pack"));
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
        .arg(data().join("generate/make_pack_data.py"))
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
                let before = open_bytes(&before);
                let expected = hex::decode(expected).unwrap();
                check_same(&place, &before, &storage, &expected);
                packed += 1;
                if bytes(&storage).len() > expected.len() {
                    // The next one finds another file than Python's.
                    break;
                }
            }
        }
        check_whole(&storage);
        // From the file alone, too.
        storage = open_bytes(&bytes(&storage));
    }
    packed
}

/// Byte for byte, but for back-pointers to a transaction that wrote several
/// records for one object, or one of several with the same tid: ours lead to
/// that to which they led before, and Python's to another one, if its data are
/// the same or it is a back-pointer itself, whatever that leads to. Ours may be longer: [`check_more`].
pub fn check_same(place: &str, before: &FileStorage, storage: &FileStorage, expected: &[u8]) {
    let found = bytes(storage);
    if found == expected {
        return;
    }
    if found.len() > expected.len() {
        return check_more(place, before, storage, &open_bytes(expected));
    }
    assert_eq!(found.len(), expected.len(), "{place}");
    let (before, python) = (transactions(before), transactions(&open_bytes(expected)));
    let found = transactions(storage);
    assert_eq!(found.len(), python.len(), "{place}");
    for (txn, python) in found.iter().zip(&python) {
        if txn != python {
            let leads = |record: &DataRecord| leads_to_several(&found, record);
            assert!(txn.1.iter().any(leads), "{place}: {txn:?}, not {python:?}");
            assert!(before.contains(txn), "{place}: {txn:?}");
        }
    }
    assert_eq!(index(storage), index(&open_bytes(expected)), "{place}");
}

/// What Python keeps, and perhaps objects that only an undo has made reachable again, which Python loses.
fn check_more(place: &str, before: &FileStorage, storage: &FileStorage, python: &FileStorage) {
    let kept = |storage: &FileStorage| -> HashMap<_, _> {
        let records = transactions(storage).into_iter();
        let records = records.flat_map(|(_, records)| records);
        records
            .map(|record| ((record.oid, record.tid), record.data))
            .collect()
    };
    let (before, found) = (kept(before), kept(storage));
    assert!(
        found.iter().all(|(at, data)| before.get(at) == Some(data)),
        "{place}"
    );
    let lost = kept(python)
        .into_iter()
        .find(|(at, data)| found.get(at) != Some(data));
    assert!(lost.is_none(), "{place}: {lost:?}");
    let current = index(storage);
    for (oid, _) in index(python) {
        assert!(
            current.iter().any(|&(other, _)| other == oid),
            "{place}: {oid}"
        );
    }
}

/// All transactions and records.
fn transactions(storage: &FileStorage) -> Vec<(String, Vec<DataRecord>)> {
    let transactions = storage.iterator(None, None).unwrap().map(Result::unwrap);
    transactions
        .map(|txn| {
            let records = (txn.records)().map(Result::unwrap).collect();
            (
                format!("{} {} {:?}", txn.tid, txn.status, txn.meta),
                records,
            )
        })
        .collect()
}

/// Over one back-pointer, or some.
fn leads_to_several(found: &[(String, Vec<DataRecord>)], record: &DataRecord) -> bool {
    let records = found.iter().flat_map(|(_, records)| records);
    let is_there =
        |other: &&DataRecord| other.oid == record.oid && Some(other.tid) == record.data_txn;
    let there: Vec<_> = records.filter(is_there).collect();
    there.len() > 1 || there.iter().any(|record| leads_to_several(found, record))
}

/// Where the current records stand.
fn index(storage: &FileStorage) -> Vec<(Oid, u64)> {
    storage.generation().index.iter().collect()
}

/// What was written after the pack time can be read as before; without
/// garbage collection, what was current then as well. (Back-pointers to
/// records that the object is gone may become 0.)
pub fn check_readable(place: &str, old: &FileStorage, new: &FileStorage, time: f64, gc: bool) {
    let stop = stop(time).unwrap();
    let records = |storage: &FileStorage| -> Vec<_> {
        let transactions = storage.iterator(None, None).unwrap().map(Result::unwrap);
        let late = transactions.filter(|transaction| transaction.tid > stop);
        late.flat_map(|transaction| (transaction.records)().map(Result::unwrap))
            .map(|record| DataRecord {
                data_txn: record.data_txn.filter(|_| record.data.is_some()),
                ..record
            })
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
