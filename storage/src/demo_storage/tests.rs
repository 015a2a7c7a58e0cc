use std::fs;
use std::io::Write;

use super::*;
use crate::FileStorage;
use crate::record::class_name;
use crate::testing::{commit_under, oid, store, tid, vote};

/// A base with object 1 by transactions 10 and 20, and object 2 by 10.
fn base() -> Arc<dyn Storage> {
    let base = FileStorage::in_memory().unwrap();
    commit_under(&base, 10, &[store(1, 0, "one"), store(2, 0, "two")]).unwrap();
    commit_under(&base, 20, &[store(1, 10, "uno")]).unwrap();
    Arc::new(base)
}

fn over(base: Arc<dyn Storage>) -> DemoStorage {
    let changes = Arc::new(FileStorage::in_memory().unwrap());
    DemoStorage::new(None, base, changes)
}

/// Data, serial and next serial just before a transaction.
fn before(storage: &dyn Storage, object: u64, before: u64) -> Option<(String, u64, Option<u64>)> {
    let revision = storage.load_before(oid(object), tid(before)).unwrap()?;
    Some((
        String::from_utf8(revision.data.to_vec()).unwrap(),
        revision.serial.as_u64(),
        revision.next.map(|next| next.as_u64()),
    ))
}

fn found(text: &str, serial: u64, next: Option<u64>) -> Option<(String, u64, Option<u64>)> {
    Some((text.to_owned(), serial, next))
}

fn length(n: u8) -> Vec<u8> {
    [b"\x80\x03cBTrees.Length\nLength\n.K", &[n, b'.'][..]].concat()
}

#[test]
fn revisions_of_both_stand_in_one_row() {
    let demo = over(base());
    assert_eq!(demo.last_tid(), tid(20));
    assert_eq!(before(&demo, 1, 99), found("uno", 20, None));
    commit_under(&demo, 30, &[store(1, 20, "eins"), store(3, 0, "three")]).unwrap();
    commit_under(&demo, 40, &[store(1, 30, "ein"), store(2, 10, "zwei")]).unwrap();
    for (time, expected) in [
        (99, found("ein", 40, None)),
        (40, found("eins", 30, Some(40))),
        (30, found("uno", 20, Some(30))),
        (25, found("uno", 20, Some(30))),
        (20, found("one", 10, Some(20))),
        (10, None),
    ] {
        assert_eq!(before(&demo, 1, time), expected, "before {time}");
    }
    assert_eq!(before(&demo, 2, 15), found("two", 10, Some(40)));
    assert_eq!(before(&demo, 3, 30), None);
    assert!(matches!(
        demo.load_before(oid(4), tid(99)),
        Err(Error::NoObject(_))
    ));
    assert_eq!(*demo.load_serial(oid(1), tid(10)).unwrap(), *b"one");
    assert_eq!(*demo.load_serial(oid(1), tid(30)).unwrap(), *b"eins");
    let tids = |size| {
        let entries = demo.history(oid(1), size).unwrap();
        let tids: Vec<_> = entries.iter().map(|entry| entry.tid.as_u64()).collect();
        tids
    };
    assert_eq!(tids(9), [40, 30, 20, 10]);
    assert_eq!(tids(3), [40, 30, 20]);
    assert_eq!(tids(1), [40]);
    let transactions = demo.iterator(Some(tid(20)), Some(tid(30))).unwrap();
    let tids: Vec<_> = transactions.map(|txn| txn.unwrap().tid.as_u64()).collect();
    assert_eq!(tids, [20, 30]);
    // Only the changes count.
    assert_eq!((demo.len(), demo.last_tid()), (3, tid(40)));
}

#[test]
fn the_base_stays_as_it_is() {
    let base = base();
    let size = base.size();
    let demo = over(Arc::clone(&base));
    commit_under(&demo, 30, &[store(1, 20, "eins")]).unwrap();
    demo.pack(1e9, None).unwrap();
    assert_eq!((base.size(), base.last_tid()), (size, tid(20)));
    assert_eq!(before(&*base, 1, 99), found("uno", 20, None));
}

#[test]
fn tids_and_serials_of_the_base_are_checked() {
    let demo = over(base());
    let early = commit_under(&demo, 20, &[store(1, 20, "early")]);
    assert!(matches!(early, Err(Error::Value(_))), "{early:?}");
    let check = |serial| {
        [Op::Check {
            oid: oid(1),
            serial: tid(serial),
        }]
    };
    commit_under(&demo, 30, check(20)).unwrap();
    let stale = commit_under(&demo, 31, check(10));
    assert!(
        matches!(stale, Err(Error::ReadConflict { committed, .. }) if committed == tid(20)),
        "{stale:?}"
    );
    let stale = commit_under(&demo, 31, &[store(1, 10, "late")]);
    match stale {
        Err(Error::Conflict(conflict)) => {
            assert_eq!((conflict.committed, conflict.read), (tid(20), tid(10)));
            assert!(conflict.reason.is_some());
        }
        other => panic!("{other:?}"),
    }
    let ops = [store(1, 10, "late"), store(2, 0, "late"), store(1, 20, "x")];
    match vote(&demo, &ops, OnConflict::Report).unwrap() {
        Vote::Conflicts(conflicts) => {
            let oids: Vec<_> = conflicts.iter().map(|c| c.oid.as_u64()).collect();
            assert_eq!(oids, [2]);
        }
        Vote::Ready(_) => panic!("no conflict"),
    }
}

#[test]
fn conflicts_are_resolved_with_the_states_of_both() {
    for in_file in [true, false] {
        let base = Arc::new(FileStorage::in_memory().unwrap());
        commit_under(&*base, 10, &[store(1, 0, length(1))]).unwrap();
        commit_under(&*base, 20, &[store(1, 10, length(4))]).unwrap();
        let demo = if in_file {
            over(base)
        } else {
            DemoStorage::in_memory(None, base).unwrap()
        };
        // Against the base, against the changes, and with the old state in
        // the base.
        let resolved = commit_under(&demo, 30, &[store(1, 10, length(3))]).unwrap();
        assert_eq!(resolved, [oid(1)]);
        commit_under(&demo, 40, &[store(1, 20, length(9))]).unwrap();
        let sum = demo.load_before(oid(1), tid(99)).unwrap().unwrap();
        assert!(sum.data.ends_with(b"K\x0b."), "{:x?}", &*sum.data);
        assert_eq!(class_name(&sum.data).unwrap(), "BTrees.Length.Length");
    }
}

#[test]
fn undo_brings_the_base_back() {
    let demo = over(base());
    commit_under(&demo, 30, &[store(1, 20, "eins"), store(3, 0, "new")]).unwrap();
    let undone = commit_under(&demo, 40, &[Op::Undo { tid: tid(30) }]).unwrap();
    assert_eq!(undone, [oid(1), oid(3)]);
    assert_eq!(before(&demo, 1, 99), found("uno", 20, None));
    assert_eq!(before(&demo, 1, 35), found("eins", 30, Some(40)));
    assert_eq!(before(&demo, 1, 25), found("uno", 20, Some(30)));
    assert!(matches!(demo.get_tid(oid(3)), Err(Error::NoObject(_))));
    // And it can be changed again.
    commit_under(&demo, 50, &[store(1, 20, "un")]).unwrap();
    assert_eq!(before(&demo, 1, 99), found("un", 50, None));
    let stale = commit_under(&demo, 60, &[store(1, 20, "late")]);
    assert!(matches!(stale, Err(Error::Conflict(_))), "{stale:?}");
    // What never was in the base stays gone.
    let stale = commit_under(&demo, 60, &[store(3, 30, "late")]);
    assert!(matches!(stale, Err(Error::Conflict(_))), "{stale:?}");
}

#[test]
fn oids_are_those_of_neither() {
    let demo = over(base());
    let first = demo.new_oid().unwrap().as_u64();
    let second = demo.new_oid().unwrap().as_u64();
    assert_eq!(second, first + 1);
    commit_under(&demo, 30, &[store(second + 1, 0, "taken")]).unwrap();
    let third = demo.new_oid().unwrap().as_u64();
    assert!(third != second + 1 && third != first && third != second);
}

#[test]
fn names_and_abilities() {
    let name = |text: &str| Arc::new(MappingStorage::new(text).unwrap());
    let unnamed = DemoStorage::new(None, name("it's"), name("b\\"));
    assert_eq!(unnamed.name(), "DemoStorage(\"it's\", 'b\\\\')");
    let named = DemoStorage::in_memory(Some("n".into()), name("b")).unwrap();
    assert_eq!(named.name(), "n");
    assert!(named.blobs().is_some() && unnamed.blobs().is_none());
    assert_eq!(unnamed.capabilities(), Capabilities::default());
    assert!(over(base()).capabilities().undo);
    let refused = |op| commit_under(&unnamed, 10, &[op]);
    let delete = Op::Delete {
        oid: oid(1),
        serial: tid(1),
    };
    assert!(matches!(refused(delete), Err(Error::Unsupported(_))));
    assert!(matches!(
        unnamed.pack(1e9, Some(true)),
        Err(Error::Unsupported(_))
    ));
}

#[test]
fn demos_stand_on_demos() {
    let middle = over(base());
    commit_under(&middle, 30, &[store(1, 20, "eins")]).unwrap();
    let top = DemoStorage::in_memory(None, Arc::new(middle)).unwrap();
    commit_under(&top, 40, &[store(2, 10, "deux"), store(1, 30, "un")]).unwrap();
    for (time, expected) in [
        (99, found("un", 40, None)),
        (40, found("eins", 30, Some(40))),
        (30, found("uno", 20, Some(30))),
    ] {
        assert_eq!(before(&top, 1, time), expected, "before {time}");
    }
    top.close().unwrap();
}

/// The file of a blob with this text, on its way.
fn upload(storage: &dyn Storage, object: u64, text: &str) -> Op {
    let (mut file, blob) = storage.blobs().unwrap().new_file().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Op::Blob {
        oid: oid(object),
        serial: None,
        file: Arc::new(blob),
    }
}

#[test]
fn blobs_of_changes_in_memory_end_with_them() {
    let demo = DemoStorage::in_memory(None, base()).unwrap();
    let blob = b"\x80\x03cZODB.blob\nBlob\nq\x00.N.";
    let ops = [store(7, 0, *blob), upload(&demo, 7, "text")];
    commit_under(&demo, 30, &ops).unwrap();
    let path = demo.load_blob(oid(7), tid(30)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    let none = demo.load_blob(oid(7), tid(31));
    assert!(matches!(none, Err(Error::NoBlob { .. })), "{none:?}");
    let directory = demo.blobs().unwrap().path().to_owned();
    demo.close().unwrap();
    assert!(!directory.exists());
}

/// Wherever the changes begin, all answers are those of one storage that has
/// every transaction.
#[test]
fn nobody_sees_where_the_base_ends() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let whole = FileStorage::in_memory().unwrap();
        let base = Arc::new(FileStorage::in_memory().unwrap());
        let demo = over(Arc::clone(&base) as Arc<_>);
        let begin = random.u64(1..30);
        for time in 1..30 {
            let ops: Vec<_> = (0..random.u64(1..4))
                .map(|_| {
                    let object = random.u64(1..8);
                    let serial = whole.get_tid(oid(object)).map_or(0, |tid| tid.as_u64());
                    store(object, serial, format!("{object} at {time}"))
                })
                .collect();
            commit_under(&whole, time, &ops).unwrap();
            if time < begin {
                commit_under(&*base, time, &ops).unwrap()
            } else {
                commit_under(&demo, time, &ops).unwrap()
            };
        }
        assert_eq!(
            answers(&demo),
            answers(&whole),
            "seed {seed}, from {begin} on"
        );
    }
}

/// All that a storage tells of its revisions, errors included.
fn answers(storage: &dyn Storage) -> Vec<String> {
    let mut answers = Vec::new();
    for object in 0..9 {
        let oid = oid(object);
        answers.push(format!("{:?}", storage.get_tid(oid)));
        answers.push(format!("{:?}", storage.history(oid, 5)));
        for time in 0..32 {
            let loaded = storage.load_before(oid, tid(time));
            let text = loaded.as_ref().map(|found| {
                let data = found.as_ref().map(|found| found.data.to_vec());
                data.map(String::from_utf8)
            });
            answers.push(format!("{loaded:?} {text:?}"));
            let data = storage.load_serial(oid, tid(time));
            answers.push(format!("{:?}", data.map(|data| data.to_vec())));
        }
    }
    for start in [None, Some(tid(7)), Some(tid(20))] {
        let transactions = storage.iterator(start, Some(tid(25))).unwrap();
        for transaction in transactions {
            let transaction = transaction.unwrap();
            let records: Vec<_> = (transaction.records)().map(|r| r.unwrap().oid).collect();
            answers.push(format!("{} {records:?}", transaction.tid));
        }
    }
    answers
}
