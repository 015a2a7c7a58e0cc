use super::*;
use crate::conflict::DecidedBy;
use crate::error::Conflict;
use crate::testing::{commit_under, store, vote};

/// Objects 1 and 2 by transaction 10, object 1 again by 20.
fn filled() -> MappingStorage {
    let storage = MappingStorage::new("here").unwrap();
    commit_under(&storage, 10, &[store(1, 0, "one"), store(2, 0, "second")]).unwrap();
    commit_under(&storage, 20, &[store(1, 10, "four")]).unwrap();
    storage
}

/// The numbers are what Python's MappingStorage gives after the same.
#[test]
fn answers_as_python() {
    let storage = filled();
    assert_eq!((storage.name(), storage.len()), ("here".to_owned(), 2));
    assert_eq!(storage.size(), 413);
    assert_eq!(storage.last_tid(), Tid::new(20));
    assert!(storage.last_invalidations(5).unwrap().is_none());
    let undo_log = storage.undo_log(0, 9, &mut |_| Ok(true)).unwrap();
    assert!(undo_log.is_empty());

    let one = Oid::new(1);
    let history = storage.history(one, 5).unwrap();
    let sizes: Vec<_> = history.iter().map(|h| (h.tid.as_u64(), h.size)).collect();
    assert_eq!(sizes, [(20, 4), (10, 3)]);
    assert_eq!(history[0].meta.user, b"u");
    let old = storage.load_before(one, Tid::new(20)).unwrap().unwrap();
    assert_eq!((&*old.data, old.next), (&b"one"[..], Some(Tid::new(20))));
    assert_eq!(storage.load_before(one, Tid::new(10)).unwrap(), None);
    assert_eq!(storage.load_before(one, Tid::ZERO).unwrap(), None);
    let found = storage.iterator(Some(Tid::new(11)), Some(Tid::new(20)));
    let tids: Vec<_> = found.unwrap().map(|txn| txn.unwrap().tid).collect();
    assert_eq!(tids, [Tid::new(20)]);
}

#[test]
fn unknown_objects_are_missing() {
    let (storage, five) = (filled(), Oid::new(5));
    let missing = [
        storage.load_serial(Oid::new(1), Tid::new(11)).err(),
        storage.load_before(five, Tid::MAX).err(),
        storage.get_tid(five).err(),
        storage.history(five, 1).err(),
    ];
    for error in missing {
        assert!(matches!(error, Some(Error::NoObject(_))), "{error:?}");
    }
}

#[test]
fn packs() {
    let storage = MappingStorage::new("here").unwrap();
    let record = "\u{28}X\0\0\0\0t.N.";
    commit_under(&storage, 10, &[store(0, 0, record), store(1, 0, record)]).unwrap();
    commit_under(&storage, 20, &[store(0, 10, record)]).unwrap();
    storage.pack(1e9, None).unwrap();
    assert_eq!(
        (storage.len(), storage.size()),
        (1, 50 + 100 + record.len() as u64)
    );
    assert!(
        storage
            .load_before(Oid::new(0), Tid::new(20))
            .unwrap()
            .is_none()
    );
    storage.pack(1e9, None).unwrap();
    let refused = storage.pack(1e8, None);
    assert!(matches!(refused, Err(Error::Value(_))), "{refused:?}");
}

#[test]
fn conflicts_are_errors_or_reported() {
    let storage = filled();
    let mut expected = Conflict {
        reason: Some("a MappingStorage resolves none".to_owned()),
        decided_by: DecidedBy::Storage,
        oid: Oid::new(1),
        committed: Tid::new(20),
        read: Tid::new(10),
        data: b"other".to_vec(),
        class: None,
    };
    let ops = [store(2, 10, "fine"), store(1, 10, "other")];
    match vote(&storage, &ops, OnConflict::Resolve) {
        Err(Error::Conflict(conflict)) => assert_eq!(*conflict, expected),
        other => panic!("{other:?}"),
    }
    expected.reason = None;
    match vote(&storage, &ops, OnConflict::Report) {
        Ok(Vote::Conflicts(conflicts)) => assert_eq!(conflicts, [expected]),
        other => panic!("{other:?}"),
    }
    let (oid, serial) = (Oid::new(1), Tid::new(10));
    let stale = vote(&storage, &[Op::Check { oid, serial }], OnConflict::Resolve);
    assert!(
        matches!(stale, Err(Error::ReadConflict { .. })),
        "{stale:?}"
    );
}

#[test]
fn what_python_lacks_is_unsupported() {
    let storage = filled();
    let (oid, serial) = (Oid::new(1), Tid::new(20));
    let restore = Op::Restore {
        oid,
        serial,
        data: None,
        prev_tid: None,
    };
    for op in [
        Op::Delete { oid, serial },
        restore,
        Op::Undo { tid: serial },
    ] {
        let refused = vote(&storage, &[op], OnConflict::Resolve);
        assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
    }
    assert!(matches!(
        storage.record_iternext(None),
        Err(Error::Unsupported(_))
    ));
    let capabilities = storage.capabilities();
    assert!(!capabilities.undo && !capabilities.record_iternext);
}

/// A record that refers to these objects.
fn referring(oids: &[u8]) -> Vec<u8> {
    let mut record = b"\x80\x03ca\nC\nq\x00.\x80\x03(".to_vec();
    for &oid in oids {
        record.extend([&b"C\x08\0\0\0\0\0\0\0"[..], &[oid, b'Q']].concat());
    }
    record.extend(b"t.");
    record
}

/// As in Python, and other than in a FileStorage: object 1 was out of
/// reach at the pack time, and came back.
#[test]
fn references_after_the_pack_time_count() {
    let storage = MappingStorage::new("here").unwrap();
    let first = [
        store(0, 0, referring(&[1])),
        store(1, 0, referring(&[2])),
        store(2, 0, referring(&[])),
        store(3, 0, referring(&[])),
    ];
    let second = Tid::from_time(std::time::UNIX_EPOCH + std::time::Duration::from_secs(2000));
    let later = second.as_u64() + (1 << 40);
    commit_under(&storage, 10, &first).unwrap();
    commit_under(&storage, 20, &[store(0, 10, referring(&[]))]).unwrap();
    let last = [
        store(0, 20, referring(&[1, 5])),
        store(5, 0, referring(&[9])),
    ];
    commit_under(&storage, later, &last).unwrap();
    storage.pack(2000.0, None).unwrap();
    assert_eq!(storage.len(), 4);
    for (oid, there) in [(0, true), (1, true), (2, true), (3, false), (5, true)] {
        let found = storage.get_tid(Oid::new(oid));
        assert_eq!(found.is_ok(), there, "{oid}: {found:?}");
    }
}
