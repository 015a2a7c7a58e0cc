//! Large records, which are opened and not read.

use crate::file_storage::{FileStorage, Options};
use crate::storage::{Op, OpenData};
use crate::testing::{commit, load, oid, store, tid};
use crate::{Error, Storage};

const SIZE: usize = 300_000;
const PIECE: usize = 70_000;

/// Object 1: large as of transaction 10, small as of 11, and by an undo large again as of 12.
fn storage() -> (tempfile::TempDir, FileStorage) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::with(|options| options.pack_keep_old = false);
    let storage = FileStorage::open(dir.path().join("Data.fs"), options).unwrap();
    commit(&storage, 10, vec![store(1, 0, "x".repeat(SIZE))]).unwrap();
    commit(&storage, 11, vec![store(1, 10, "small")]).unwrap();
    commit(&storage, 12, vec![Op::Undo { tid: tid(11) }]).unwrap();
    (dir, storage)
}

fn read(data: OpenData) -> Vec<u8> {
    let OpenData::Unread(mut unread) = data else {
        panic!("it was read");
    };
    assert_eq!(unread.len(), SIZE);
    let mut buffer = b"before".to_vec();
    while !unread.is_empty() {
        unread.read(&mut buffer, PIECE).unwrap();
    }
    buffer
}

#[test]
fn a_large_record_is_read_in_pieces_also_behind_a_back_pointer() {
    let (_dir, storage) = storage();
    let expected = format!("before{}", "x".repeat(SIZE)).into_bytes();
    for (before, serial, next) in [(11, 10, Some(11)), (13, 12, None)] {
        let found = storage.open_before(oid(1), tid(before)).unwrap().unwrap();
        assert_eq!((found.serial, found.next), (tid(serial), next.map(tid)));
        assert!(read(found.data) == expected);
        assert!(read(storage.open_serial(oid(1), tid(serial)).unwrap()) == expected);
    }
    let small = storage.open_before(oid(1), tid(12)).unwrap().unwrap();
    assert!(matches!(small.data, OpenData::Read(data) if *data == *b"small"));
    assert_eq!(load(&storage, 1), Some("x".repeat(SIZE)));
}

#[test]
fn a_record_that_is_packed_away_can_still_be_read() {
    let (_dir, storage) = storage();
    let opened = storage.open_serial(oid(1), tid(10)).unwrap();
    commit(&storage, 13, vec![store(1, 12, "new")]).unwrap();
    storage.pack(150.0, Some(false)).unwrap();
    let gone = storage.open_serial(oid(1), tid(10));
    assert!(matches!(gone, Err(Error::NoObject(_))));
    assert!(read(opened).ends_with(b"xxx"));
    storage.close().unwrap();
}
