//! What crashes and broken disks leave behind, and how a storage opens on it.

use std::fs;
use std::path::Path;

use super::commits::golden;
use crate::disk::backend::Backend;
use crate::file_storage::format::walk::Txn;
use crate::file_storage::format::{FIRST, Reader};
use crate::file_storage::index;
use crate::file_storage::index::file::State;
use crate::file_storage::{FileStorage, Options};
use crate::storage::Commit;
use crate::testing::files::memory;
use crate::testing::{commit, listening, load, oid, prepare, read_only, store, tid};
use crate::{Error, Result, Storage};

fn bytes() -> Vec<u8> {
    fs::read(golden("Data.fs")).unwrap()
}

fn open_bytes(bytes: &[u8]) -> Result<FileStorage> {
    FileStorage::over(memory(bytes), "test", &Options::default())
}

/// Where transactions begin, and where the last one ends.
fn borders(bytes: &[u8]) -> Vec<u64> {
    let backend = memory(bytes);
    let reader = Reader {
        backend: &*backend,
        end: bytes.len() as u64,
    };
    let mut borders = vec![FIRST];
    while let Some(&last) = borders.last().filter(|&&last| last < reader.end) {
        borders.push(Txn::read(&reader, last).unwrap().end());
    }
    borders
}

/// All that can be loaded.
fn contents(storage: &FileStorage) -> Vec<(u64, Option<String>)> {
    let oids = storage.generation().index.iter().collect::<Vec<_>>();
    let number = |oid: zeo_proto::Oid| oid.as_u64();
    oids.iter()
        .map(|&(oid, _)| (number(oid), storage.load_before(oid, zeo_proto::Tid::MAX)))
        .map(|(oid, found)| (oid, found.ok().flatten().map(|r| hex::encode(&*r.data))))
        .collect()
}

#[test]
fn a_file_cut_anywhere_opens_to_its_whole_transactions() {
    let bytes = bytes();
    let borders = borders(&bytes);
    for cut in borders[borders.len() - 4] as usize..=bytes.len() {
        let whole = *borders.iter().rfind(|&&end| end <= cut as u64).unwrap();
        let expected = contents(&open_bytes(&bytes[..whole as usize]).unwrap());
        for options in [Options::default(), read_only()] {
            let backend = memory(&bytes[..cut]);
            let left = if options.read_only { cut as u64 } else { whole };
            let storage = FileStorage::over(backend.clone(), "test", &options).unwrap();
            assert_eq!(storage.size(), whole, "cut at {cut}");
            assert_eq!(backend.len().unwrap(), left, "cut at {cut}");
            assert_eq!(contents(&storage), expected, "cut at {cut}");
        }
    }
}

#[test]
fn a_changed_byte_never_costs_whole_transactions() {
    let bytes = bytes();
    let borders = borders(&bytes);
    let last = borders[borders.len() - 2] as usize;
    for at in 0..last {
        let mut changed = bytes.clone();
        changed[at] ^= 0x63;
        match open_bytes(&changed) {
            Ok(storage) => assert_eq!(storage.size(), bytes.len() as u64, "changed at {at}"),
            Err(Error::Corrupt { position, .. }) => {
                // In the same transaction.
                let end = *borders.iter().find(|&&end| end > at as u64).unwrap();
                assert!(position < end, "changed at {at}, found at {position}");
            }
            Err(error) => panic!("changed at {at}: {error}"),
        }
    }
}

#[test]
fn a_torn_end_is_saved_and_cut_off() {
    let (bytes, dir) = (bytes(), tempfile::tempdir().unwrap());
    let path = dir.path().join("Data.fs");
    let border = borders(&bytes)[7] as usize;
    let mut unfinished = bytes[..borders(&bytes)[8] as usize].to_vec();
    unfinished[border + 16] = b'c';
    let with_zeros = |count| [&bytes[..border], &vec![0; count]].concat();
    let cases = [
        bytes[..border + 5].to_vec(),
        bytes[..border + 60].to_vec(),
        unfinished,
        with_zeros(10),
        with_zeros(5000),
    ];
    for (number, torn) in cases.iter().enumerate() {
        fs::write(&path, torn).unwrap();
        let (options, messages) = listening();
        let storage = FileStorage::open(&path, read_only()).unwrap();
        assert_eq!(storage.size(), border as u64);
        assert_eq!(fs::read(&path).unwrap(), *torn);

        let storage = FileStorage::open(&path, options).unwrap();
        assert_eq!(storage.size(), border as u64);
        storage.close().unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes[..border]);
        let saved = fs::read(dir.path().join(format!("Data.fs.tr{number}"))).unwrap();
        assert_eq!(saved, torn[border..]);
        let messages = messages.lock().unwrap();
        let told = messages.iter().any(|(_, text)| text.contains("cut off"));
        assert!(told, "{messages:?}");
    }
}

#[test]
fn damage_before_the_end_is_named_and_left_alone() {
    let (bytes, dir) = (bytes(), tempfile::tempdir().unwrap());
    let path = dir.path().join("Data.fs");
    let txn = borders(&bytes)[6] as usize;
    let [length, status, tloc] = [txn + 8, txn + 16, txn + 23 + 24];
    for (at, what) in [
        (length, "a transaction is longer than the file"),
        (status, "a transaction is marked as unfinished"),
        (length + 7, "the transaction's length differs"),
        (tloc, "the record belongs to a transaction at"),
    ] {
        let mut damaged = bytes.clone();
        damaged[at] = b'c';
        fs::write(&path, &damaged).unwrap();
        let Err(error) = FileStorage::open(&path, Options::default()) else {
            panic!("opened without: {what}");
        };
        let error = error.to_string();
        let place = format!("Data.fs is damaged at position {txn}");
        if what.starts_with("a transaction") {
            assert!(error.contains(&place), "{error}");
        }
        assert!(error.contains("position"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
    // A header shorter than itself at the end of the file.
    let last = borders(&bytes)[borders(&bytes).len() - 2] as usize;
    let mut damaged = bytes.clone();
    damaged[last + 8..last + 16].copy_from_slice(&9_u64.to_be_bytes());
    assert!(open_bytes(&damaged).is_err());
}

#[test]
fn files_that_are_no_file_storages_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path, options: Options| match FileStorage::open(path, options) {
        Ok(_) => panic!("opened {}", path.display()),
        Err(error) => error.to_string(),
    };
    let path = dir.path().join("Data.fs");
    for (content, told) in [
        ("FS31", "not a FileStorage"),
        ("something else", "not a FileStorage"),
        ("FS21", "Python 2"),
    ] {
        fs::write(&path, content).unwrap();
        let error = open(&path, Options::default());
        assert!(error.contains(told), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    let nowhere = dir.path().join("no/Data.fs");
    let error = open(&nowhere, Options::default());
    assert!(error.contains("there is no directory"), "{error}");
    let error = open(&dir.path().join("missing.fs"), read_only());
    assert!(error.contains("missing.fs"), "{error}");
    let create = Options {
        create: true,
        ..read_only()
    };
    assert!(open(&path, create).contains("read-only"));
}

#[test]
fn a_file_that_was_only_begun_is_begun_anew() {
    for begun in [&b""[..], b"F\0", b"FS3", b"\0\0\0\0", b"FS\x000", b"FS30"] {
        let backend = memory(begun);
        let options = Options::default();
        let storage = FileStorage::over(backend.clone(), "test", &options).unwrap();
        commit(&storage, 1, vec![store(1, 0, "a")]).unwrap();
        let again = FileStorage::over(backend, "test", &options).unwrap();
        assert_eq!(load(&again, 1).as_deref(), Some("a"));
    }
    assert!(open_bytes(b"\0\0\0\0\0").is_err());
}

#[test]
fn one_writer_at_a_time_and_create_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    fs::write(&path, "").unwrap();
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    commit(&storage, 1, vec![store(1, 0, "a")]).unwrap();
    let Err(error) = FileStorage::open(&path, Options::default()) else {
        panic!("opened twice");
    };
    let pid = std::process::id().to_string();
    assert!(error.to_string().contains(&pid), "{error}");
    let reader = FileStorage::open(&path, read_only()).unwrap();
    assert_eq!(load(&reader, 1).as_deref(), Some("a"));
    storage.close().unwrap();
    let create = Options {
        create: true,
        ..Options::default()
    };
    let storage = FileStorage::open(&path, create).unwrap();
    assert_eq!((storage.len(), storage.size()), (0, 4));
    assert_eq!(storage.new_oid().unwrap().as_u64(), 1);
}

/// Opens Python's file with this index; gives its size in the end, and
/// whether the index was used.
fn open_with_index(dir: &Path, data: &[u8], index: &[u8]) -> (FileStorage, bool) {
    let path = dir.join("Data.fs");
    fs::write(&path, data).unwrap();
    fs::write(dir.join("Data.fs.index"), index).unwrap();
    let (options, messages) = listening();
    let options = Options {
        read_only: true,
        ..options
    };
    let storage = FileStorage::open(&path, options).unwrap();
    let messages = messages.lock().unwrap();
    let used = !messages.iter().any(|(_, text)| text.contains("ignoring"));
    (storage, used)
}

#[test]
fn stale_and_foreign_indexes() {
    let (bytes, dir) = (bytes(), tempfile::tempdir().unwrap());
    let index = fs::read(golden("Data.fs.index")).unwrap();
    let whole = open_bytes(&bytes).unwrap();
    // Of an earlier state: the rest is scanned.
    let path = dir.path().join("Data.fs");
    for &end in &borders(&bytes)[3..] {
        fs::write(&path, &bytes[..end as usize]).unwrap();
        let earlier = FileStorage::open(&path, Options::default()).unwrap();
        earlier.close().unwrap();
        let earlier = fs::read(dir.path().join("Data.fs.index")).unwrap();
        let (storage, used) = open_with_index(dir.path(), &bytes, &earlier);
        assert!(used);
        assert_eq!(contents(&storage), contents(&whole));
    }
    // Of a later state, of nothing, of another shape.
    let shorter = &bytes[..borders(&bytes)[5] as usize];
    for index in [&index[..], b"", b"\x80\x03}.", &index[..100]] {
        let (storage, used) = open_with_index(dir.path(), shorter, index);
        assert!(!used);
        assert_eq!(contents(&storage), contents(&open_bytes(shorter).unwrap()));
    }
}

#[test]
fn a_changed_byte_in_the_index_does_no_harm() {
    let (bytes, dir) = (bytes(), tempfile::tempdir().unwrap());
    let index = fs::read(golden("Data.fs.index")).unwrap();
    let mut used_all = 0;
    for at in 0..index.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = index.clone();
            changed[at] ^= change;
            let (storage, used) = open_with_index(dir.path(), &bytes, &changed);
            assert_eq!(storage.size(), bytes.len() as u64);
            used_all += usize::from(used);
            contents(&storage);
        }
    }
    // Only what the sanity check does not look at may pass.
    assert!(used_all < 2 * index.len(), "{used_all}");
}

#[test]
fn a_saved_index_is_exact_while_commits_go_on() {
    let storage = FileStorage::in_memory().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for tid in 1..3000 {
                let serial = |oid| {
                    storage
                        .get_tid(zeo_proto::Oid::new(oid))
                        .unwrap_or_default()
                };
                let ops = [tid % 7, tid % 300, tid + 300];
                let ops = ops.map(|oid| store(oid, serial(oid).as_u64(), "data"));
                commit(&storage, tid, ops).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let (generation, state) = (storage.generation(), State::default());
            let end = generation.indexed();
            index::file::save(&path, end, generation.entries_at(end), state).unwrap();
            let backend = &storage.generation().backend;
            let saved = dir.path().join("Data.fs.index");
            let saved = index::file::load(&saved, &**backend).unwrap().unwrap();
            assert_eq!(saved.position, end);
            let mut bytes = vec![0; end as usize];
            assert_eq!(backend.read_at(&mut bytes, 0).unwrap(), bytes.len());
            let scanned = open_bytes(&bytes).unwrap();
            assert_eq!(scanned.size(), end);
            assert!(saved.index.iter().eq(scanned.generation().index.iter()));
        }
    });
}

#[test]
fn an_index_saved_before_a_publication_leads_to_the_record_before() {
    let storage = FileStorage::in_memory().unwrap();
    commit(&storage, 1, vec![store(1, 0, "a")]).unwrap();
    let generation = storage.generation();
    let (end, first) = (generation.indexed(), generation.index.get(oid(1)).unwrap());
    let prepared = prepare(&storage, vec![store(1, 1, "b"), store(2, 0, "c")]).unwrap();
    let mut batch = [Commit {
        tid: tid(2),
        prepared,
    }];
    storage.append(&mut batch).unwrap();
    storage.publish(&batch[0]);
    let mut out = Vec::new();
    let state = State::default();
    index::file::write(&mut out, end, generation.entries_at(end), state, |source| {
        Error::Io {
            doing: "",
            file: "".into(),
            source,
        }
    })
    .unwrap();
    let loaded = index::file::read(&out[..], u64::MAX).unwrap();
    let entries: Vec<_> = loaded.index.iter().collect();
    assert_eq!(entries, [(oid(1), first)]);
}
