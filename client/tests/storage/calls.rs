//! All that a storage can be asked for: history, undo, iterators, packs, blobs, conflicts.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use tempfile::TempDir;
use zeo_client::{ClientStorage, Error, Question, Resolver, Unmerged};
use zeo_proto::marshal::Encoding;
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::file_storage::Options;
use zeo_storage::storage::TransactionMeta;
use zeo_storage::{FileStorage, Storage};

use crate::basics::{create, write};
use crate::support::{Served, record};

const ENCODINGS: [Encoding; 2] = [Encoding::Pickle, Encoding::Msgpack];

/// A server with a file, and with blobs.
fn served(directory: &TempDir, encoding: Encoding, client_resolves: bool) -> Served {
    let options = Options::with(|it| {
        it.create = true;
        it.blob_dir = Some(directory.path().join("blobs"));
    });
    let path = directory.path().join("Data.fs");
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(path, options).unwrap());
    let mut settings = zeo_server::Settings::default();
    settings.encoding = encoding;
    settings.client_conflict_resolution = client_resolves;
    Served::with("127.0.0.1:0", settings, storage)
}

fn meta(description: &str) -> TransactionMeta {
    TransactionMeta {
        user: b"jane".to_vec(),
        description: description.as_bytes().to_vec(),
        // {"number": 7}
        extension: b"\x80\x03}q\x00X\x06\x00\x00\x00numberq\x01K\x07s.".to_vec(),
        ..TransactionMeta::default()
    }
}

#[test]
fn history_undo_and_pack() {
    for encoding in ENCODINGS {
        let directory = tempfile::tempdir().unwrap();
        let server = served(&directory, encoding, false);
        let storage = server.client().server_sync(true).open().unwrap();
        storage.sync().unwrap();
        assert!(storage.info().supports_undo);
        let oid = Oid::ZERO;
        let first = write(&storage, oid, Tid::ZERO, record(1)).unwrap();
        let mut transaction = storage.begin(meta("second")).unwrap();
        transaction.store(oid, first, record(2)).unwrap();
        transaction.vote().unwrap();
        let second = transaction.finish().unwrap();
        assert_eq!(storage.get_tid(oid).unwrap(), second);
        assert_eq!(storage.server_last_tid().unwrap(), second);
        let history = storage.history(oid, 10).unwrap();
        let tids: Vec<_> = history.iter().map(|entry| entry.tid().unwrap()).collect();
        assert_eq!(tids, [second, first]);

        let undoable = storage.undo_info(0, 10, None).unwrap();
        assert_eq!(undoable.len(), 2);
        assert_eq!(undoable[0].description(), Some(&b"second"[..]));
        let janes = Value::Dict(vec![(Value::str("user_name"), Value::bytes(b"jane"))]);
        assert_eq!(storage.undo_info(0, 10, Some(janes)).unwrap().len(), 1);
        let log = storage.undo_log(0, -1).unwrap();
        let mut undo = storage.begin(TransactionMeta::default()).unwrap();
        undo.undo(log[0].id().unwrap()).unwrap();
        assert_eq!(undo.vote().unwrap(), [oid]);
        let third = undo.finish().unwrap();
        let found = storage.load(oid).unwrap();
        assert_eq!((&*found.data, found.serial), (&*record(1), third));

        let mut wrong = storage.begin(TransactionMeta::default()).unwrap();
        wrong.undo(b"AAAAAAAAAAA=\n").unwrap();
        let error = wrong.vote().unwrap_err();
        assert!(matches!(error, Error::Undo { .. }), "{error}");
        drop(wrong);

        let current = storage.record_iternext(None).unwrap();
        assert_eq!(
            (current.oid, current.serial, current.next),
            (oid, third, None)
        );
        storage.pack(SystemTime::now(), true).unwrap();
        assert!(matches!(
            storage.load_serial(oid, first),
            Err(Error::NoObject { .. })
        ));
        let status = storage.server_status().unwrap();
        assert!(status.iter().any(|(name, _)| name == "commits"));
        assert!(storage.is_connected());
    }
}

#[test]
fn iterators_give_all_transactions_and_their_records() {
    for encoding in ENCODINGS {
        let directory = tempfile::tempdir().unwrap();
        let server = served(&directory, encoding, false);
        let storage = server.client().open().unwrap();
        let mut serials: BTreeMap<Oid, Tid> = BTreeMap::new();
        let mut expected = Vec::new();
        for number in 0..100_u64 {
            let mut transaction = storage.begin(meta(&number.to_string())).unwrap();
            let oids: Vec<Oid> = (0..number % 5 + 1)
                .map(|it| Oid::new(it * (number % 7 + 1)))
                .collect();
            for oid in &oids {
                let serial = serials.get(oid).copied().unwrap_or_default();
                transaction
                    .store(*oid, serial, record(number as u8))
                    .unwrap();
            }
            transaction.vote().unwrap();
            let tid = transaction.finish().unwrap();
            serials.extend(oids.iter().map(|oid| (*oid, tid)));
            expected.push((tid, oids));
        }
        let mut found = Vec::new();
        for (number, transaction) in storage.iterator(None, None).unwrap().enumerate() {
            let transaction = transaction.unwrap();
            assert_eq!(transaction.meta.description, number.to_string().as_bytes());
            assert_eq!(transaction.meta.extension, meta("").extension);
            let records = transaction.records.map(|it| it.unwrap());
            let oids: Vec<Oid> = records
                .inspect(|it| assert_eq!(it.data.as_deref(), Some(&*record(number as u8))))
                .map(|it| it.oid)
                .collect();
            found.push((transaction.tid, oids));
        }
        assert_eq!(found, expected);

        // Some records are left out, or read later.
        let (start, stop) = (expected[10].0, expected[80].0);
        let mut kept = Vec::new();
        for (number, transaction) in storage
            .iterator(Some(start), Some(stop))
            .unwrap()
            .enumerate()
        {
            let transaction = transaction.unwrap();
            assert_eq!(transaction.tid, expected[number + 10].0);
            if number % 2 == 0 {
                kept.push((number + 10, transaction.records));
            }
        }
        assert_eq!(kept.len(), 36);
        for (number, records) in kept {
            let oids: Vec<Oid> = records.map(|it| it.unwrap().oid).collect();
            assert_eq!(oids, expected[number].1);
        }
        // One that is dropped early.
        assert!(storage.iterator(None, None).unwrap().next().is_some());
        storage.ping().unwrap();
    }
}

#[test]
fn blobs_go_up_and_come_down() {
    for encoding in ENCODINGS {
        let directory = tempfile::tempdir().unwrap();
        let server = served(&directory, encoding, false);
        let client = |name: &str| {
            let path = directory.path().join(name);
            server.client().blob_dir(path).open().unwrap()
        };
        let (one, two) = (client("one"), client("two"));
        let oid = one.new_oid().unwrap();
        for size in [0, 1, 59_000, 500_001] {
            let content: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
            let path = directory.path().join("content");
            std::fs::write(&path, &content).unwrap();
            let serial = one.get_tid(oid).unwrap_or_default();
            let mut transaction = one.begin(TransactionMeta::default()).unwrap();
            transaction
                .store_blob(oid, serial, record(1), &path)
                .unwrap();
            transaction.vote().unwrap();
            let tid = transaction.finish().unwrap();
            assert!(!path.exists());
            for storage in [&one, &two, &two] {
                let mut read = Vec::new();
                let mut file = storage.open_blob(oid, tid).unwrap();
                file.read_to_end(&mut read).unwrap();
                assert_eq!(read, content);
            }
        }
        // No blob of that revision; nothing is left of the attempt.
        let error = two.open_blob(oid, Tid::new(1)).unwrap_err();
        assert!(matches!(error, Error::NoObject { .. }), "{error}");
        let path = directory.path().join("content");
        std::fs::write(&path, b"never").unwrap();
        let serial = one.get_tid(oid).unwrap();
        let mut transaction = one.begin(TransactionMeta::default()).unwrap();
        transaction
            .store_blob(oid, serial, record(1), &path)
            .unwrap();
        transaction.vote().unwrap();
        drop(transaction);
        for name in ["one", "two"] {
            let left = std::fs::read_dir(directory.path().join(name).join("tmp")).unwrap();
            assert_eq!(left.count(), 0, "{name}");
        }
        let none = server.client().open().unwrap();
        let error = none.open_blob(oid, serial).unwrap_err();
        assert_eq!(error.to_string(), "No blob cache directory is configured.");
    }
}

/// Takes the larger number.
struct Larger;

impl Resolver for Larger {
    fn resolve(&self, question: &Question<'_>) -> Result<Vec<u8>, Unmerged> {
        assert_eq!(question.class, Some("app.Thing"));
        let number = |record: &[u8]| record[record.len() - 2];
        if number(question.new) == 13 {
            return Err(Unmerged::Refused("thirteen".to_owned()));
        }
        Ok(record(number(question.committed).max(number(question.new))))
    }
}

fn length(number: u8) -> Vec<u8> {
    let class = b"\x80\x03cBTrees.Length\nLength\nq\x00.\x80\x03K";
    [&class[..], &[number], b"."].concat()
}

#[test]
fn conflicts_are_resolved_by_the_server_or_by_the_client() {
    for (encoding, client_resolves) in [
        (Encoding::Pickle, false),
        (Encoding::Pickle, true),
        (Encoding::Msgpack, true),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = served(&directory, encoding, client_resolves);
        let storage = server.client().resolver(Arc::new(Larger)).open().unwrap();
        let (oid, thing) = (Oid::new(1), Oid::new(2));
        let first = write(&storage, oid, Tid::ZERO, length(1)).unwrap();
        write(&storage, oid, first, length(4)).unwrap();
        // From 1 to 3, and meanwhile to 4.
        let mut transaction = storage.begin(TransactionMeta::default()).unwrap();
        transaction.store(oid, first, length(3)).unwrap();
        assert_eq!(transaction.vote().unwrap(), [oid]);
        let tid = transaction.finish().unwrap();
        let found = storage.load(oid).unwrap();
        assert_eq!((&*found.data, found.serial), (&*length(6), tid));

        let first = write(&storage, thing, Tid::ZERO, record(1)).unwrap();
        let second = write(&storage, thing, first, record(9)).unwrap();
        let store = |data| write(&storage, thing, first, data);
        if client_resolves {
            store(record(5)).unwrap();
            assert_eq!(*storage.load(thing).unwrap().data, *record(9));
            let error = store(record(13)).unwrap_err();
            assert!(error.to_string().ends_with("): thirteen"), "{error}");
            assert!(matches!(error, Error::Conflict(_)));
        } else {
            let error = store(record(5)).unwrap_err();
            assert!(matches!(error, Error::Conflict(_)), "{error}");
        }
        let stale = |storage: &ClientStorage| {
            let mut transaction = storage.begin(TransactionMeta::default())?;
            transaction.check_current(thing, first)?;
            transaction.store(oid, storage.get_tid(oid)?, length(1))?;
            transaction.vote()
        };
        let error = stale(&storage).unwrap_err();
        let Error::ReadConflict(conflict) = &error else {
            panic!("{error}");
        };
        assert_eq!(conflict.oid, Some(thing));
        assert!(conflict.serials.unwrap().0 >= second);
    }
}

#[test]
fn records_are_deleted_and_restored() {
    let directory = tempfile::tempdir().unwrap();
    let server = served(&directory, Encoding::Msgpack, false);
    let storage = server.client().open().unwrap();
    let oid = Oid::new(5);
    let mut transaction = storage
        .begin(TransactionMeta {
            tid: Some(Tid::new(0x0300_0000_0000_0000)),
            status: b'p',
            ..meta("copied")
        })
        .unwrap();
    let serial = Tid::new(0x0300_0000_0000_0000);
    transaction
        .restore(oid, serial, Some(record(3)), None)
        .unwrap();
    transaction.vote().unwrap();
    assert_eq!(transaction.finish().unwrap(), serial);
    assert_eq!(storage.load(oid).unwrap().serial, serial);
    let copied = storage
        .iterator(None, None)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(
        (copied.status, &*copied.meta.description),
        (b'p', &b"copied"[..])
    );
    let mut transaction = storage.begin(TransactionMeta::default()).unwrap();
    transaction.delete(oid, serial).unwrap();
    transaction.vote().unwrap();
    transaction.finish().unwrap();
    assert!(matches!(storage.load(oid), Err(Error::NoObject { .. })));
    assert_eq!(*storage.load_serial(oid, serial).unwrap(), *record(3));
}

#[test]
fn current_records_are_read_ahead() {
    for encoding in ENCODINGS {
        let directory = tempfile::tempdir().unwrap();
        let server = served(&directory, encoding, false);
        let storage = server.client().open().unwrap();
        assert!(storage.current_records().unwrap().next().is_none());
        // Without gaps at first, then with some, and without again.
        let oids = (0..200).chain((200..600).step_by(7)).chain(1000..1100);
        let oids: Vec<Oid> = oids.map(Oid::new).collect();
        let tid = create(&storage, &oids);
        let mut gone = storage.begin(TransactionMeta::default()).unwrap();
        for oid in [0, 50, 207, 1099] {
            gone.delete(Oid::new(oid), tid).unwrap();
        }
        gone.vote().unwrap();
        gone.finish().unwrap();
        let found = storage.current_records().unwrap().map(|it| it.unwrap());
        let found: Vec<Oid> = found
            .inspect(|it| assert_eq!(*it.data, *record(it.oid.as_u64() as u8)))
            .map(|it| it.oid)
            .collect();
        let left = oids
            .into_iter()
            .filter(|oid| ![0, 50, 207, 1099].contains(&oid.as_u64()));
        assert_eq!(found, left.collect::<Vec<_>>());
    }
}

#[test]
fn what_was_prefetched_is_there_without_a_server() {
    for encoding in ENCODINGS {
        let directory = tempfile::tempdir().unwrap();
        let server = served(&directory, encoding, false);
        let writer = server.client().open().unwrap();
        let oids: Vec<Oid> = (0..1200).map(Oid::new).collect();
        let tid = create(&writer, &oids);
        let reader = server.client().open().unwrap();
        let before = Tid::new(reader.last_tid().as_u64() + 1);
        reader.prefetch(&oids, before);
        reader.prefetch(&[Oid::new(5000)], before);
        reader.ping().unwrap();
        drop((writer, server));
        for oid in oids {
            let found = reader.load_before(oid, before).unwrap().unwrap();
            assert_eq!(
                (&*found.data, found.serial),
                (&*record(oid.as_u64() as u8), tid)
            );
        }
    }
}
