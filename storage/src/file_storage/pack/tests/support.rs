//! What the tests here share.

use zeo_proto::{Oid, Tid};

use crate::Storage;
use crate::file_storage::format::verify::verify_seal;
use crate::file_storage::format::walk::Backwards;
use crate::file_storage::{FileStorage, Options};
use crate::storage::{Commit, Op, Prepared};
use crate::testing::files::{memory, positions};
use crate::testing::{self, finish, prepare};

/// A storage in memory with these bytes.
pub fn open_bytes(bytes: &[u8]) -> FileStorage {
    FileStorage::over(memory(bytes), "memory", &Options::default()).unwrap()
}

/// The bytes of a storage's file.
pub fn bytes(storage: &FileStorage) -> Vec<u8> {
    let generation = storage.generation();
    let mut bytes = vec![0; usize::try_from(generation.end()).unwrap()];
    generation.reader().read_exact(&mut bytes, 0).unwrap();
    bytes
}

/// A record that refers to these objects, with some text.
pub fn record(references: &[u64], text: &str) -> Vec<u8> {
    let mut record = b"\x80\x03ca\nC\nq\x00.\x80\x03(X".to_vec();
    record.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    record.extend(text.as_bytes());
    for reference in references {
        record.extend(b"C\x08");
        record.extend(reference.to_be_bytes());
        record.push(b'Q');
    }
    record.extend(b"t.");
    record
}

/// A change on top of whatever is committed.
pub fn store(storage: &FileStorage, oid: u64, data: Vec<u8>) -> Op {
    let oid = Oid::new(oid);
    let serial = storage.get_tid(oid).unwrap_or_default();
    Op::Store { oid, serial, data }
}

/// Appends under the tid of a second; not yet visible.
pub fn append(storage: &FileStorage, second: u64, prepared: Prepared) -> Commit {
    testing::append(storage, tid(second), prepared).unwrap()
}

pub fn commit(storage: &FileStorage, second: u64, ops: Vec<Op>) {
    let prepared = prepare(storage, ops).unwrap();
    finish(storage, tid(second), prepared).unwrap();
}

/// The tid of a second.
pub fn tid(second: u64) -> Tid {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
    Tid::from_time(time)
}

/// The text of an object's record, as it was just before a tid.
pub fn text_before(storage: &FileStorage, oid: u64, before: Tid) -> Option<String> {
    let found = storage.load_before(Oid::new(oid), before).ok()??;
    text(&found.data)
}

pub fn text_of(storage: &FileStorage, oid: u64) -> Option<String> {
    text_before(storage, oid, Tid::MAX)
}

fn text(data: &[u8]) -> Option<String> {
    let from = data.windows(2).position(|pair| pair == b"(X")? + 2;
    let (length, rest) = data[from..].split_first_chunk()?;
    let text = rest.get(..u32::from_le_bytes(*length) as usize)?;
    String::from_utf8(text.to_vec()).ok()
}

/// Fails unless a scan gives the index that the storage has, and all seals
/// hold.
pub fn check_whole(storage: &FileStorage) {
    let bytes = bytes(storage);
    let mut expected = std::collections::BTreeMap::new();
    expected.extend(positions(&bytes));
    let index: Vec<_> = storage.generation().index.iter().collect();
    assert_eq!(index, expected.into_iter().collect::<Vec<_>>());
    let generation = storage.generation();
    for txn in Backwards::new(generation.reader()) {
        verify_seal(&generation.reader(), &txn.unwrap()).unwrap();
    }
}
