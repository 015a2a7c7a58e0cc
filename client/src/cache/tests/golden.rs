//! Files that Python's client wrote: what Python finds in them is found here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zeo_proto::{Oid, Tid};

use super::disk::{Disk, reopen};
use crate::cache::open;
use crate::cache::trace::Trace;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zec")
}

fn contents() -> Value {
    let text = std::fs::read_to_string(folder().join("contents.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Each file: its name, its bytes, and what is known of it.
pub fn files() -> Vec<(String, Vec<u8>, Value)> {
    let Value::Object(all) = contents() else {
        panic!("a list of files")
    };
    let files = all.into_iter().filter(|(name, _)| name.ends_with(".zec"));
    files
        .map(|(name, known)| {
            let bytes = std::fs::read(folder().join(&name)).unwrap();
            (name, bytes, known)
        })
        .collect()
}

fn id(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn is_read_as_python_reads_it() {
    assert_eq!(files().len(), 8);
    for (name, bytes, known) in files() {
        let size = number(&known["cache_size"]);
        let disk = Disk::new(bytes.clone());
        let opened = open::open(&*disk, size).unwrap();
        let python = &known["reopened_by_python"];
        assert_eq!(opened.at, number(&python["write_offset"]), "{name}");
        assert_eq!(
            opened.last_tid,
            Tid::new(id(known["last_tid"].as_str().unwrap()))
        );
        assert_eq!(
            opened.index.len() as u64,
            number(&python["records"]),
            "{name}"
        );
        for (oid, offset) in python["current"].as_object().unwrap() {
            let found: Vec<_> = opened.index.current.find(Oid::new(id(oid))).collect();
            assert_eq!(found.len(), 1, "{name}: {oid}");
            assert_eq!(found[0].offset(), number(offset), "{name}: {oid}");
        }
        let mut noncurrent = BTreeMap::new();
        for (oid, tids) in python["noncurrent"].as_object().unwrap() {
            for (tid, offset) in tids.as_object().unwrap() {
                noncurrent.insert((Oid::new(id(oid)), Tid::new(id(tid))), number(offset));
            }
        }
        let found = opened
            .index
            .noncurrent
            .iter()
            .map(|(&key, place)| (key, place.offset()));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), noncurrent, "{name}");
        assert_eq!(
            disk.bytes().len() as u64,
            number(&python["file_size_after"]),
            "{name}"
        );
        if name != "grown.zec" {
            assert_eq!(*disk.bytes(), bytes, "{name} is changed");
        }
    }
}

#[test]
fn all_records_have_their_data() {
    for (name, bytes, known) in files() {
        let (_, mut cache) = reopen(bytes, number(&known["cache_size"])).unwrap();
        for block in known["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|block| block["kind"] == "a")
        {
            let text = |key: &str| block[key].as_str().unwrap();
            let (oid, start) = (Oid::new(id(text("oid"))), Tid::new(id(text("start_tid"))));
            let end = Some(Tid::new(id(text("end_tid")))).filter(|&tid| tid != Tid::ZERO);
            let found = cache.load_before(oid, end.unwrap_or(Tid::MAX)).unwrap();
            assert_eq!((found.serial, found.next), (start, end), "{name}");
            assert_eq!(hex::encode(&*found.data), text("data"), "{name}");
        }
    }
}

/// A block that reaches behind the end, where Python has made a file larger: Python drops such a file
/// when it grows again.
#[test]
fn grows_once_more() {
    let (_, bytes, _) = files()
        .into_iter()
        .find(|(name, ..)| name == "grown.zec")
        .unwrap();
    let (disk, mut cache) = reopen(bytes, 1000).unwrap();
    assert_eq!(cache.load(Oid::new(1)).unwrap().0.len(), 50);
    assert_eq!(disk.bytes().len(), 1000);
    cache.store(Oid::new(2), Tid::new(9), None, &[b'y'; 700]);
    let (_, mut cache) = reopen(disk.bytes().clone(), 1000).unwrap();
    assert_eq!(cache.load(Oid::new(2)).unwrap().0.len(), 700);
}

#[test]
fn writes_pythons_trace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.trace");
    let (_disk, mut cache) = super::disk::create(1000);
    cache.trace = Some(Trace::open(&path).unwrap());
    let (oid, tid) = (Oid::new, Tid::new);
    cache.store(oid(1), tid(2), None, &[b'x'; 300]);
    assert!(cache.load(oid(1)).is_some());
    assert!(cache.load(oid(9)).is_none());
    assert!(cache.load_before(oid(1), tid(5)).is_some());
    cache.invalidate(oid(1), Some(tid(7)));
    cache.invalidate(oid(8), Some(tid(7)));
    cache.store(oid(5), tid(2), None, b"y");
    cache.invalidate(oid(5), None);
    cache.store(oid(6), tid(2), Some(tid(3)), b"z");
    cache.close().unwrap();
    let timeless = |bytes: Vec<u8>| {
        let (mut at, mut records) = (0, Vec::new());
        while at < bytes.len() {
            let end = at + 26 + usize::from(bytes[at + 9]);
            records.push(bytes[at + 4..end].to_vec());
            at = end;
        }
        records
    };
    let python = std::fs::read(folder().join("traced.zec.trace")).unwrap();
    assert_eq!(timeless(std::fs::read(&path).unwrap()), timeless(python));
}
