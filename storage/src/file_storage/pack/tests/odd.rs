//! Packs of files with oddities, where Python's result or a better one is to
//! be had.

use zeo_proto::{Oid, Tid};

use super::support::{bytes, check_whole, open_bytes, record, text_of};
use crate::file_storage::commit::pending::Payload;
use crate::log::Level;
use crate::testing::files::Builder;
use crate::testing::{Cancelling, listening};
use crate::{Error, FileStorage, Storage};

/// All earlier transactions are packed, and those from `LATER` on are not.
const TIME: f64 = 1e9;
const LATER: u64 = 0x0400_0000_0000_0000;
const GONE: Payload = Payload::Back(0);

fn data(references: &[u64], text: &str) -> Payload {
    Payload::Data(record(references, text))
}

/// Where the first record of a transaction stands.
fn first(txn: u64) -> u64 {
    txn + 23
}

#[test]
fn without_garbage_collection_no_record_is_kept_to_say_that_an_object_is_gone() {
    let mut file = Builder::new();
    let one = first(file.txn(1, b' ', &[(1, 0, data(&[], "one"))]));
    let gone = first(file.txn(2, b' ', &[(1, one, GONE)]));
    let again = first(file.txn(3, b' ', &[(1, gone, Payload::Back(gone))]));
    let two = first(file.txn(4, b' ', &[(1, again, data(&[], "two"))]));
    let undone = first(file.txn(LATER, b' ', &[(1, two, Payload::Back(again))]));
    file.txn(LATER + 1, b' ', &[(1, undone, Payload::Back(two))]);
    let storage = open_bytes(&file.bytes);
    storage.pack(TIME, Some(false)).unwrap();
    check_whole(&storage);

    let mut expected = Builder::new();
    let two = first(expected.txn(4, b'p', &[(1, 0, data(&[], "two"))]));
    let undone = first(expected.txn(LATER, b' ', &[(1, two, GONE)]));
    expected.txn(LATER + 1, b' ', &[(1, undone, Payload::Back(two))]);
    assert_eq!(bytes(&storage), expected.bytes);
    let found = storage.load_before(Oid::new(1), Tid::new(LATER + 1));
    assert!(matches!(found, Err(Error::NoObject(_))), "{found:?}");
}

/// Python's packer takes them for ordinary ones: what was undone is current
/// again after it.
#[test]
fn undone_transactions_stay_undone() {
    let mut file = Builder::new();
    let root = first(file.txn(1, b' ', &[(0, 0, data(&[1], "root"))]));
    let one = first(file.txn(2, b' ', &[(1, 0, data(&[], "one"))]));
    file.txn(3, b'u', &[(1, one, data(&[], "undone"))]);
    file.txn(4, b' ', &[(0, root, data(&[1], "root"))]);
    for gc in [true, false] {
        let storage = open_bytes(&file.bytes);
        assert_eq!(text_of(&storage, 1).as_deref(), Some("one"));
        storage.pack(TIME, Some(gc)).unwrap();
        check_whole(&storage);
        assert_eq!(text_of(&storage, 1).as_deref(), Some("one"));
    }
}

/// As Python, which looks at those tids only to collect garbage.
#[test]
fn one_tid_twice_behind_the_pack_time() {
    let mut file = Builder::new();
    let root = first(file.txn(1, b' ', &[(0, 0, data(&[], "old"))]));
    let new = first(file.txn(2, b' ', &[(0, root, data(&[], "new"))]));
    let later = first(file.txn(LATER, b' ', &[(0, new, data(&[], "later"))]));
    file.txn(LATER, b' ', &[(0, later, data(&[], "last"))]);
    let storage = open_bytes(&file.bytes);
    let error = storage.pack(TIME, Some(true)).unwrap_err().to_string();
    assert!(error.contains("is not later than the last"), "{error}");
    assert_eq!(bytes(&storage), file.bytes);
    storage.pack(TIME, Some(false)).unwrap();
    check_whole(&storage);
    assert_eq!(storage.iterator(None, None).unwrap().count(), 3);
    assert_eq!(text_of(&storage, 0).as_deref(), Some("last"));
}

#[test]
fn a_cancelled_pack_leaves_the_file_as_it_was() {
    let mut file = Builder::new();
    let root = first(file.txn(1, b' ', &[(0, 0, data(&[1], "root"))]));
    let one = first(file.txn(2, b' ', &[(1, 0, data(&[], "one"))]));
    file.txn(
        3,
        b' ',
        &[(0, root, data(&[1], "again")), (1, one, data(&[], "two"))],
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    std::fs::write(&path, &file.bytes).unwrap();
    let (options, messages) = listening();
    let storage = FileStorage::open(&path, options).unwrap();
    let mut calls = 0;
    loop {
        match storage.pack_observed(TIME, None, &mut Cancelling::after(calls)) {
            Ok(()) => break,
            Err(error) => assert!(matches!(error, Error::Cancelled), "{error}"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), file.bytes, "{calls}");
        let is_there = |suffix| crate::disk::paths::beside(&path, suffix).exists();
        assert!(![".pack", ".old"].into_iter().any(is_there), "{calls}");
        assert_eq!(text_of(&storage, 1).as_deref(), Some("two"));
        calls += 1;
    }
    assert!(calls > 3, "{calls}");
    check_whole(&storage);
    let is_error = |(level, _): &(Level, String)| *level == Level::Error;
    assert!(!messages.lock().unwrap().iter().any(is_error));
}

/// Python's packer loses object 2.
#[test]
fn what_an_undo_has_brought_back_is_whole() {
    let mut file = Builder::new();
    let root = first(file.txn(1, b' ', &[(0, 0, data(&[1], "root"))]));
    let one = first(file.txn(2, b' ', &[(1, 0, data(&[2, 9], "one"))]));
    file.txn(3, b' ', &[(2, 0, data(&[], "two"))]);
    let removed = first(file.txn(4, b' ', &[(0, root, data(&[], "root"))]));
    let last = first(file.txn(5, b' ', &[(1, one, data(&[], "removed"))]));
    file.txn(LATER, b' ', &[(0, removed, Payload::Back(root))]);
    file.txn(LATER + 1, b' ', &[(1, last, Payload::Back(one))]);
    let storage = open_bytes(&file.bytes);
    storage.pack(TIME, Some(true)).unwrap();
    check_whole(&storage);
    assert_eq!(text_of(&storage, 1).as_deref(), Some("one"));
    assert_eq!(text_of(&storage, 2).as_deref(), Some("two"));
    // What is in the way of other packs is not in that of this one.
    assert_eq!(text_of(&storage, 9), None);
}

/// Clients have its tid in their caches.
#[test]
fn the_last_transaction_stays() {
    let mut file = Builder::new();
    file.txn(1, b' ', &[(0, 0, data(&[], "root"))]);
    let one = first(file.txn(2, b' ', &[(1, 0, data(&[], "garbage"))]));
    file.txn(3, b' ', &[(1, one, data(&[], "more"))]);
    for gc in [true, false] {
        let storage = open_bytes(&file.bytes);
        storage.pack(TIME, Some(gc)).unwrap();
        check_whole(&storage);
        let again = open_bytes(&bytes(&storage));
        assert_eq!(again.last_tid(), Tid::new(3));
        assert_eq!(again.iterator(None, None).unwrap().count(), 2);
        // There is nothing left to do.
        again.pack(TIME, Some(gc)).unwrap();
        assert_eq!(bytes(&again), bytes(&storage));
    }
}
