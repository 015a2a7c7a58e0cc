use super::*;
use crate::FileStorage;
use crate::testing::{commit_under, store, vote};

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
    commit_under(&zlib, 10, &[store(1, 0, long.clone()), restored, short]).unwrap();
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
    commit_under(&zlib, 10, &[store(1, 0, long.clone())]).unwrap();
    commit_under(&zlib, 20, &[store(1, 10, long.clone())]).unwrap();
    // Those that nobody can read included.
    for data in [other, b".zbroken".to_vec()] {
        let ops = [store(1, 10, data.clone())];
        match vote(&zlib, &ops, OnConflict::Report).unwrap() {
            Vote::Conflicts(conflicts) => assert_eq!(conflicts[0].data, data),
            Vote::Ready(_) => panic!("no conflict"),
        }
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
        commit_under(&zlib, 10, &[store(1, 0, compress(set("y")))]).unwrap();
        commit_under(&zlib, 20, &[store(1, 10, set("y"))]).unwrap();
        let resolved = commit_under(&zlib, 30, &[store(1, 10, set("z"))]).unwrap();
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
    commit_under(&zlib, 10, &[store(1, 0, zipped.clone()), other]).unwrap();
    let ten = Tid::new(10);
    assert_eq!(*base.load_serial(ONE, ten).unwrap(), *zipped);
    assert_eq!(*base.load_serial(Oid::new(2), ten).unwrap(), *long);
    assert_eq!(*zlib.load_serial(ONE, ten).unwrap(), *long);

    let clients = ZlibStorage::new(base, NOTHING);
    assert_eq!(*clients.load_serial(ONE, ten).unwrap(), *zipped);
    assert!(clients.capabilities().transforms);
}

#[test]
fn what_cannot_be_decompressed_is_an_error_that_names_it() {
    let (_, zlib) = storages(BOTH);
    commit_under(&zlib, 10, &[store(1, 0, b".znot zipped")]).unwrap();
    let error = zlib.load_before(ONE, Tid::new(11)).unwrap_err();
    let (ten, text) = (Tid::new(10), error.to_string());
    let expected =
        format!("the record of object {ONE} in transaction {ten} can't be decompressed: ");
    assert!(text.starts_with(&expected), "{text}");
    let transaction = zlib.iterator(None, None).unwrap().next().unwrap().unwrap();
    assert!((transaction.records)().next().unwrap().is_err());
}
