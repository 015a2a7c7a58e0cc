//! What a vote refuses, and what it lays out.

use zeo_proto::Tid;

use crate::file_storage::commit::laid_out::LaidOut;
use crate::file_storage::format::META_MAX;
use crate::file_storage::{FileStorage, Options};
use crate::storage::{Commit, OnConflict, Op, Prepared, TransactionMeta, Vote};
use crate::testing::{commit, load, meta, oid, prepare, read_only, store, tid, vote};
use crate::{Error, Storage};

/// Objects 1 and 2 of transaction 10.
fn storage() -> FileStorage {
    let storage = FileStorage::in_memory().unwrap();
    let ops = vec![store(1, 0, "one"), store(2, 0, "two")];
    commit(&storage, 10, ops).unwrap();
    storage
}

fn with_quota(quota: u64) -> FileStorage {
    let options = Options {
        quota: Some(quota),
        ..Options::default()
    };
    let backend = std::sync::Arc::new(crate::disk::backend::MemoryBackend::default());
    FileStorage::over(backend, "test", &options).unwrap()
}

fn delete(number: u64, serial: u64) -> Op {
    Op::Delete {
        oid: oid(number),
        serial: tid(serial),
    }
}

fn check(number: u64, serial: u64) -> Op {
    Op::Check {
        oid: oid(number),
        serial: tid(serial),
    }
}

fn restore(number: u64, serial: u64, data: Option<&str>) -> Op {
    Op::Restore {
        oid: oid(number),
        serial: tid(serial),
        data: data.map(Into::into),
        prev_tid: None,
    }
}

fn refusal(storage: &FileStorage, meta: &TransactionMeta, ops: Vec<Op>) -> Error {
    let vote = storage.prepare(meta, &mut ops.into_iter().map(Ok), OnConflict::Resolve);
    vote.unwrap_err()
}

#[test]
fn stores_must_start_from_the_committed_revision() {
    let storage = storage();
    for read in [0, 9, 11] {
        let error = prepare(&storage, vec![store(1, read, "new")]).unwrap_err();
        let Error::Conflict(conflict) = error else {
            panic!("{error}");
        };
        assert_eq!(conflict.oid, oid(1));
        assert_eq!((conflict.committed, conflict.read), (tid(10), tid(read)));
        assert_eq!(conflict.data, b"new");
    }
    // New objects take any serial.
    prepare(&storage, vec![store(3, 7, "new")]).unwrap();
    // A deleted object is at the serial of its deletion.
    commit(&storage, 11, vec![delete(1, 10)]).unwrap();
    assert_eq!(load(&storage, 1), None);
    assert!(prepare(&storage, vec![store(1, 0, "new")]).is_err());
    commit(&storage, 12, vec![store(1, 11, "new")]).unwrap();
    assert_eq!(load(&storage, 1).as_deref(), Some("new"));
}

#[test]
fn conflicts_are_reported_one_an_object() {
    let storage = storage();
    let ops = vec![
        store(2, 3, "first"),
        store(1, 4, "a"),
        store(3, 0, "fine"),
        store(2, 5, "second"),
        store(1, 10, "now right"),
    ];
    let Vote::Conflicts(found) = vote(&storage, ops, OnConflict::Report).unwrap() else {
        panic!("no conflicts");
    };
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].oid, found[0].read), (oid(2), tid(5)));
    assert_eq!(found[0].data, b"second");
    let ops = vec![store(1, 4, "a"), store(1, 10, "b")];
    let Vote::Ready(prepared) = vote(&storage, ops, OnConflict::Report).unwrap() else {
        panic!("conflicts");
    };
    assert_eq!(prepared.oids, [oid(1)]);
    // Deletions are not reported.
    assert!(vote(&storage, vec![delete(1, 4)], OnConflict::Report).is_err());
}

#[test]
fn checks_and_deletions() {
    let storage = storage();
    prepare(&storage, vec![check(1, 10)]).unwrap();
    let error = prepare(&storage, vec![check(1, 9)]).unwrap_err();
    assert!(matches!(error, Error::ReadConflict { committed, read, .. }
            if committed == tid(10) && read == tid(9)));
    for op in [check(3, 0), delete(3, 0)] {
        let error = prepare(&storage, vec![op]).unwrap_err();
        assert!(
            matches!(error, Error::NoObject(o) if o == oid(3)),
            "{error}"
        );
    }
    assert!(
        prepare(&storage, vec![delete(1, 9)])
            .unwrap_err()
            .is_conflict()
    );
    commit(&storage, 11, vec![delete(1, 10)]).unwrap();
    let error = prepare(&storage, vec![check(1, 11)]).unwrap_err();
    assert!(matches!(error, Error::NoObject(_)), "{error}");
}

#[test]
fn explicit_tids_and_restored_serials_must_fit() {
    let storage = storage();
    let explicit = |tid| TransactionMeta {
        tid: Some(tid),
        ..meta()
    };
    for number in [0, 9, 10] {
        let error = refusal(&storage, &explicit(tid(number)), vec![]);
        assert!(matches!(error, Error::Value(_)), "{error}");
    }
    let error = refusal(
        &storage,
        &explicit(tid(20)),
        vec![restore(1, 21, Some("x"))],
    );
    assert!(error.to_string().contains("0x01"), "{error}");
    let error = refusal(&storage, &meta(), vec![restore(1, u64::MAX, Some("x"))]);
    assert!(matches!(error, Error::Value(_)), "{error}");
    // Without a hint, without data, onto a revision unseen.
    let ops = vec![restore(1, 20, Some("x")), restore(2, 20, None)];
    let mut ops = ops.into_iter().map(Ok);
    let vote = storage.prepare(&explicit(tid(20)), &mut ops, OnConflict::Resolve);
    let Vote::Ready(prepared) = vote.unwrap() else {
        panic!("conflicts");
    };
    let mut batch = [Commit {
        tid: tid(20),
        prepared,
    }];
    storage.append(&mut batch).unwrap();
    storage.publish(&batch[0]);
    assert_eq!(load(&storage, 1).as_deref(), Some("x"));
    assert_eq!(load(&storage, 2), None);
}

#[test]
fn tids_that_go_backwards_are_not_written() {
    let storage = storage();
    let prepared = prepare(&storage, vec![store(3, 0, "x")]).unwrap();
    let mut batch = [Commit {
        tid: tid(10),
        prepared,
    }];
    let error = storage.append(&mut batch).unwrap_err();
    assert!(matches!(error, Error::Transaction(_)), "{error}");
    assert!(storage.latched().is_some());
    storage.publish(&batch[0]);
    assert_eq!(storage.last_tid(), tid(10));
    assert_eq!(load(&storage, 3), None);
}

#[test]
fn texts_and_records_have_their_limits() {
    let storage = storage();
    let long = vec![b'x'; META_MAX + 1];
    for (field, expected) in [
        "user name too long",
        "description too long",
        "too much extension data",
    ]
    .into_iter()
    .enumerate()
    {
        let mut meta = meta();
        *[&mut meta.user, &mut meta.description, &mut meta.extension][field] = long.clone();
        let refused = refusal(&storage, &meta, vec![]);
        assert!(matches!(refused, Error::FileStorage(_)), "{refused:?}");
        assert_eq!(refused.to_string(), expected);
    }
    for op in [store(3, 0, ""), restore(3, 0, Some(""))] {
        let error = prepare(&storage, vec![op]).unwrap_err();
        assert!(error.to_string().contains("0x03"), "{error}");
    }
    let all = TransactionMeta {
        user: long[1..].to_vec(),
        description: long[1..].to_vec(),
        extension: long[1..].to_vec(),
        ..meta()
    };
    let vote = storage.prepare(&all, &mut std::iter::empty(), OnConflict::Resolve);
    let Ok(Vote::Ready(prepared)) = vote else {
        panic!("{vote:?}");
    };
    let mut batch = [Commit {
        tid: tid(11),
        prepared,
    }];
    storage.append(&mut batch).unwrap();
    storage.publish(&batch[0]);
    let mut txns = storage.iterator(Some(tid(11)), None).unwrap();
    assert_eq!(txns.next().unwrap().unwrap().meta.extension, long[1..]);
}

#[test]
fn the_quota_holds_for_stores_that_begin_behind_it() {
    // Behind the header with its seal the first record begins at 70, the
    // second at 70 + 42 + 3 = 115.
    let ops = || vec![store(1, 0, "abc"), store(2, 0, "x")];
    assert!(prepare(&with_quota(115), ops()).is_ok());
    let error = prepare(&with_quota(114), ops()).unwrap_err();
    assert!(matches!(error, Error::Quota { quota: 114 }), "{error}");
    // Restores don't count, as in Python.
    assert!(prepare(&with_quota(1), vec![restore(1, 0, Some("abc"))]).is_ok());
    // What others have prepared does.
    let storage = with_quota(115);
    let _held = prepare(&storage, ops()).unwrap();
    assert!(prepare(&storage, vec![store(3, 0, "y")]).is_err());
}

#[test]
fn oids_grow_past_all_that_are_stored() {
    let storage = storage();
    assert_eq!(storage.new_oid().unwrap(), oid(3));
    drop(prepare(&storage, vec![store(100, 0, "aborted")]).unwrap());
    assert_eq!(storage.new_oid().unwrap(), oid(101));
    prepare(&storage, vec![restore(u64::MAX - 1, 0, Some("x"))]).unwrap();
    assert_eq!(storage.new_oid().unwrap(), oid(u64::MAX));
    assert!(matches!(storage.new_oid(), Err(Error::Value(_))));
    assert_eq!(storage.len(), 2);
}

#[test]
fn aborted_and_unpublished_transactions_are_not_seen() {
    let storage = storage();
    let size = storage.size();
    drop(prepare(&storage, vec![store(1, 10, "aborted")]).unwrap());
    let prepared = prepare(&storage, vec![store(1, 10, "a"), store(1, 10, "b")]).unwrap();
    let changes: Vec<_> = prepared.work::<LaidOut>().unwrap().records().collect();
    assert_eq!(changes, [(false, 1)]);
    let mut batch = [Commit {
        tid: tid(11),
        prepared,
    }];
    storage.append(&mut batch).unwrap();
    assert_eq!((storage.size(), storage.last_tid()), (size, tid(10)));
    assert_eq!(load(&storage, 1).as_deref(), Some("one"));
    storage.publish(&batch[0]);
    assert_eq!(load(&storage, 1).as_deref(), Some("b"));
    let before = storage.load_before(oid(1), tid(11)).unwrap().unwrap();
    assert_eq!((&*before.data, before.next), (&b"one"[..], Some(tid(11))));
}

#[test]
fn undo_sees_what_the_transaction_stored() {
    let storage = storage();
    commit(&storage, 11, vec![store(1, 10, "changed")]).unwrap();
    let undo = || Op::Undo { tid: tid(11) };
    assert!(prepare(&storage, vec![store(1, 11, "other"), undo()]).is_err());
    let prepared = prepare(&storage, vec![store(2, 10, "2"), undo()]).unwrap();
    assert_eq!(prepared.oids, [oid(2), oid(1)]);
    assert_eq!(prepared.resolved, [oid(1)]);
    drop(prepared);
    let twice = prepare(&storage, vec![undo(), undo()]).unwrap_err();
    assert!(matches!(twice, Error::Undo { .. }), "{twice}");
    commit(&storage, 12, vec![undo()]).unwrap();
    assert_eq!(load(&storage, 1).as_deref(), Some("one"));
}

#[test]
fn closed_and_read_only_storages_take_no_writes() {
    let storage = storage();
    storage.close().unwrap();
    storage.close().unwrap();
    let error = prepare(&storage, vec![]).unwrap_err();
    assert!(matches!(error, Error::Transaction(_)), "{error}");
    assert_eq!(load(&storage, 1).as_deref(), Some("one"));

    let backend = std::sync::Arc::new(crate::disk::backend::MemoryBackend::default());
    let storage = FileStorage::over(backend, "test", &read_only()).unwrap();
    assert!(matches!(prepare(&storage, vec![]), Err(Error::ReadOnly)));
    assert!(matches!(storage.append(&mut []), Err(Error::ReadOnly)));
    assert!(storage.is_read_only() && storage.is_empty());
    assert_eq!(storage.last_tid(), Tid::ZERO);
}

#[test]
fn what_another_storage_has_prepared_is_not_taken() {
    let storage = storage();
    let prepared = Prepared::new(vec![oid(1)], "work of another kind");
    let mut batch = [Commit {
        tid: tid(11),
        prepared,
    }];
    let error = storage.append(&mut batch).unwrap_err();
    assert!(matches!(error, Error::Transaction(_)), "{error}");
    storage.publish(&batch[0]);
    assert_eq!(storage.last_tid(), tid(10));
    commit(&storage, 11, vec![store(1, 10, "of its own")]).unwrap();
    assert_eq!(load(&storage, 1).as_deref(), Some("of its own"));
}
