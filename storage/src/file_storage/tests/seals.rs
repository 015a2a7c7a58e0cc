//! Seals: what they find, and that nobody sees them.

use std::fs;

use crate::file_storage::format::seal::{self, SEAL_LEN, Sum};
use crate::file_storage::format::verify::verify_seal;
use crate::file_storage::format::walk::Txn;
use crate::file_storage::format::{FIRST, META_MAX, Reader};
use crate::file_storage::index::file::{Loaded, empty, read};
use crate::file_storage::{FileStorage, Options};
use crate::storage::{Commit, OnConflict, TransactionMeta, Vote};
use crate::testing::files::{content, encode_txn, memory, without_seals};
use crate::testing::{commit, finish, load, meta, oid, prepare, store, tid};
use crate::{Error, Result, Storage};

/// Opens a file that this storage was writing when the power failed.
fn open(bytes: &[u8]) -> Result<FileStorage> {
    let (name, options) = ("test".to_owned(), Options::default());
    FileStorage::over_with_index(memory(bytes), name, &options, Some(open_index()))
}

/// What the index says of such a file that was new.
fn open_index() -> Loaded {
    read(&empty(0).unwrap()[..], FIRST).unwrap()
}

/// Commits a transaction of these objects, with texts.
fn commit_texts(storage: &FileStorage, number: u64, oids: &[u64], extension: &[u8]) {
    let meta = TransactionMeta {
        user: b"user".to_vec(),
        description: b"what was done".to_vec(),
        extension: extension.to_vec(),
        ..meta()
    };
    let serial = |number| storage.get_tid(oid(number)).map_or(0, |tid| tid.as_u64());
    let ops = oids.iter().map(|&oid| store(oid, serial(oid), "some data"));
    let vote = storage.prepare(&meta, &mut ops.map(Ok), OnConflict::Resolve);
    let Ok(Vote::Ready(prepared)) = vote else {
        panic!("{vote:?}");
    };
    finish(storage, tid(number), prepared).unwrap();
}

/// A file of four transactions, the first and the last of one object, and
/// where they begin and end.
pub(super) fn file() -> (Vec<u8>, Vec<usize>) {
    let storage = FileStorage::in_memory().unwrap();
    let mut borders = vec![4];
    for (number, oids) in [(1, &[1][..]), (2, &[1, 2]), (3, &[]), (4, &[1])] {
        commit_texts(&storage, number, oids, b"");
        borders.push(usize::try_from(storage.size()).unwrap());
    }
    (content(&*storage.backend()), borders)
}

#[test]
fn every_changed_bit_is_found() {
    let (bytes, borders) = file();
    for at in 4..bytes.len() {
        let txn = borders.iter().rposition(|&border| border <= at).unwrap();
        let (start, end) = (borders[txn], borders[txn + 1]);
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            match open(&changed) {
                // Nothing tells the last transaction from one that was torn
                // before its sync.
                Ok(storage) => assert_eq!(
                    (end, storage.size()),
                    (bytes.len(), start as u64),
                    "bit {bit} at {at}"
                ),
                Err(ref error @ Error::Corrupt { position, .. }) => {
                    let position = usize::try_from(position).unwrap();
                    assert!((start..end).contains(&position), "bit {bit} at {at}");
                    assert!(
                        end < bytes.len(),
                        "bit {bit} at {at} of {borders:?}: {error}"
                    );
                }
                Err(error) => panic!("bit {bit} at {at}: {error}"),
            }
        }
    }
}

#[test]
fn damage_that_the_index_knows_to_be_durable_is_not_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    commit_texts(&storage, 1, &[1], b"");
    commit_texts(&storage, 2, &[1, 2], b"");
    storage.close().unwrap();
    let bytes = fs::read(&path).unwrap();
    for at in bytes.len() / 2 + 30..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 8;
        fs::write(&path, &changed).unwrap();
        let error = match FileStorage::open(&path, Options::default()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("opened with a change at {at}"),
        };
        assert!(error.contains("is damaged at position"), "{error}");
        assert!(fs::read(&path).unwrap() == changed);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

/// One batch of four transactions behind one that is durable.
fn batch() -> (Vec<u8>, Vec<usize>) {
    let storage = FileStorage::in_memory().unwrap();
    commit(&storage, 1, vec![store(9, 0, "durable")]).unwrap();
    let mut batch = Vec::new();
    for number in 2..6 {
        let data = number.to_string().repeat(2000);
        let prepared = prepare(&storage, vec![store(number, 0, &data)]).unwrap();
        let tid = tid(number);
        batch.push(Commit { tid, prepared });
    }
    let mut borders = vec![usize::try_from(storage.size()).unwrap()];
    storage.append(&mut batch).unwrap();
    for commit in &batch {
        storage.publish(commit);
        borders.push(usize::try_from(storage.size()).unwrap());
    }
    (content(&*storage.backend()), borders)
}

#[test]
fn a_hole_in_a_batch_cuts_it_off_from_there() {
    let (bytes, borders) = batch();
    for start in (0..bytes.len()).step_by(512) {
        let hole = start.max(borders[0])..(start + 512).min(bytes.len());
        if hole.is_empty() {
            continue;
        }
        for length in [bytes.len(), bytes.len() + 3000] {
            let mut torn = bytes.clone();
            torn[hole.clone()].fill(0);
            torn.resize(length, 0);
            let whole = *borders.iter().rfind(|&&end| end <= hole.start).unwrap();
            let storage = open(&torn).unwrap();
            assert_eq!(storage.size(), whole as u64, "hole at {hole:?}");
            assert_eq!(load(&storage, 9).as_deref(), Some("durable"));
        }
    }
}

#[test]
fn a_hole_before_the_batch_is_damage() {
    let (bytes, borders) = batch();
    let first = 30..borders[0] - 10;
    // A whole transaction of the batch tells, wherever it stands.
    for damaged in 0..4 {
        let mut torn = bytes.clone();
        torn[first.clone()].fill(0);
        torn[borders[damaged] + 8..borders[damaged] + 1000].fill(0);
        let error = open(&torn).map(|_| "opened").unwrap_err().to_string();
        assert!(
            error.contains("was written after this one was on disk"),
            "{error}"
        );
    }
}

#[test]
fn readers_see_extensions_without_their_seals() {
    let storage = FileStorage::in_memory().unwrap();
    let extensions: [&[u8]; 3] = [b"", b"}.", b"\x80\x03}X\x01\x00\x00\x00aK\x01s."];
    for (number, extension) in (1..).zip(extensions) {
        commit_texts(&storage, number, &[1], extension);
    }
    // The pickle of an empty dict is what stands for none.
    let expected = [extensions[0], extensions[0], extensions[2]];
    let found = storage.iterator(None, None).unwrap();
    let found: Vec<_> = found.map(|txn| txn.unwrap().meta.extension).collect();
    assert_eq!(found, expected);
    let undo = storage.undo_log(0, 9, &mut |_| Ok(true)).unwrap();
    let history = storage.history(oid(1), 9).unwrap();
    assert!(
        undo.iter()
            .rev()
            .map(|entry| &entry.meta.extension)
            .eq(&expected)
    );
    assert!(
        history
            .iter()
            .rev()
            .map(|entry| &entry.meta.extension)
            .eq(&expected)
    );
    // All three have one.
    let (bytes, _) = without_seals(&content(&*storage.backend()));
    assert_eq!(storage.size() as usize - bytes.len(), 3 * SEAL_LEN + 4);
}

#[test]
fn a_seal_that_was_moved_means_nothing_and_is_replaced_in_a_copy() {
    let (bytes, borders) = file();
    let generation = open(&bytes).unwrap().generation();
    let reader = generation.reader();
    let header = reader.txn_header(borders[1] as u64).unwrap();
    let at = seal::seal_at(borders[1] as u64, &header).unwrap() as usize;
    let extension = [b"}.", &bytes[at..at + SEAL_LEN]].concat();
    // As Python's pack would copy a transaction, with other contents.
    let mut moved = bytes[..borders[1]].to_vec();
    let texts = [&b"longer user name"[..], b"", &extension];
    moved.extend(encode_txn(borders[1] as u64, tid(2), b'p', texts, &[]));
    let storage = open(&moved).unwrap();
    assert_eq!(storage.size(), moved.len() as u64);
    let txn = storage.iterator(Some(tid(2)), None).unwrap().next();
    assert_eq!(txn.unwrap().unwrap().meta.extension, b"");

    let other = FileStorage::in_memory().unwrap();
    commit_texts(&other, 1, &[], &extension);
    let copy = other.generation();
    let txn = Txn::read(&copy.reader(), 4).unwrap();
    let own = verify_seal(&copy.reader(), &txn).unwrap().unwrap();
    assert_eq!((own.position, own.durable), (4, 4));
    assert_eq!(usize::from(txn.header.meta_lens[2]), 2 + SEAL_LEN);
}

#[test]
fn a_seal_means_nothing_in_a_transaction_that_was_packed_in_place() {
    let (mut bytes, borders) = file();
    bytes[borders[1] + 16] = b'p';
    let prev_at = borders[2] - 8 - (42 + 9) * 2 + 16;
    bytes[prev_at..prev_at + 8].fill(0);
    assert_eq!(open(&bytes).unwrap().size(), bytes.len() as u64);
    bytes[borders[1] + 16] = b' ';
    assert!(open(&bytes).is_err());
}

#[test]
fn a_transaction_larger_than_the_buffer_is_sealed() {
    let storage = FileStorage::in_memory().unwrap();
    commit(&storage, 1, vec![store(1, 0, "x".repeat(9 << 20))]).unwrap();
    commit(&storage, 2, vec![store(2, 0, "small")]).unwrap();
    let mut bytes = content(&*storage.backend());
    assert_eq!(open(&bytes).unwrap().size(), bytes.len() as u64);
    bytes[5 << 20] ^= 1;
    let error = open(&bytes).map(|_| "opened").unwrap_err().to_string();
    assert!(error.contains("position 4: the transaction does not match its checksum"));
}

#[test]
fn the_longest_extension_with_a_seal_and_those_without() {
    for (length, sealed) in [
        (META_MAX - SEAL_LEN, true),
        (META_MAX - SEAL_LEN + 1, false),
        (META_MAX, false),
    ] {
        let storage = FileStorage::in_memory().unwrap();
        let extension = vec![b'.'; length];
        commit_texts(&storage, 1, &[1], &extension);
        commit_texts(&storage, 2, &[1], b"");
        let bytes = content(&*storage.backend());
        let reader = Reader {
            backend: &*memory(&bytes),
            end: bytes.len() as u64,
        };
        let txn = Txn::read(&reader, 4).unwrap();
        assert_eq!(verify_seal(&reader, &txn).unwrap().is_some(), sealed);
        let meta = reader.txn_meta(4, &txn.header).unwrap();
        assert_eq!((meta.extension, meta.status), (extension, b' '));
        assert_eq!(open(&bytes).unwrap().size(), bytes.len() as u64);
    }
}

#[test]
fn nothing_is_written_that_would_be_taken_for_torn() {
    let storage = FileStorage::in_memory().unwrap();
    let vote = |extension: Vec<u8>, status| {
        let meta = TransactionMeta {
            extension,
            status,
            ..meta()
        };
        storage.prepare(&meta, &mut std::iter::empty(), OnConflict::Resolve)
    };
    let long = |end: &[u8]| [&vec![b'x'; META_MAX - end.len()], end].concat();
    for extension in [long(b"rzeX"), long(b"\0\0\0\0"), long(b"rzeo")] {
        assert!(matches!(
            vote(extension.clone(), b' '),
            Err(Error::Value(_))
        ));
        // With room for a seal behind it, it does no harm.
        let short = extension[extension.len() - 200..].to_vec();
        assert!(vote(short, b' ').is_ok());
    }
    assert!(vote(long(b"."), b' ').is_ok());
    for status in [b'c', 0, b'x'] {
        assert!(matches!(vote(Vec::new(), status), Err(Error::Value(_))));
    }
}

#[test]
fn checksums_do_not_depend_on_pieces() {
    let bytes: Vec<u8> = (0..500_u32).map(|n| (n % 251) as u8).collect();
    let sum = |pieces: usize, bytes: &[u8]| {
        let mut sum = Sum::new(100);
        bytes.chunks(pieces).for_each(|piece| sum.add(piece));
        sum.finish()
    };
    let whole = sum(500, &bytes);
    for pieces in 1..120 {
        assert_eq!(sum(pieces, &bytes), whole);
    }
    for at in 0..500 {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let skipped = at == 16 || (84..96).contains(&at);
        assert_eq!(sum(7, &changed) == whole, skipped, "changed at {at}");
    }
}
