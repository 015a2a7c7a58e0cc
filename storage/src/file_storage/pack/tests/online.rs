//! Packs beside loads, commits, undo and iterators.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use zeo_proto::{Oid, Tid};

use super::support::{
    append, bytes, check_whole, commit, open_bytes, record, store, text_before, text_of, tid,
};
use crate::file_storage::{FileStorage, Options};
use crate::storage::Op;
use crate::testing::prepare;
use crate::{Error, Result, Storage};

fn filled() -> FileStorage {
    fill(FileStorage::in_memory().unwrap())
}

/// The root refers to objects 1 to 9, of which each has two revisions, by
/// the seconds 100 to 109 and 200 to 209. Object 50 is garbage.
pub fn fill(storage: FileStorage) -> FileStorage {
    let all: Vec<u64> = (1..10).collect();
    commit(
        &storage,
        100,
        vec![
            store(&storage, 0, record(&all, "root")),
            store(&storage, 50, record(&[], "garbage")),
        ],
    );
    for round in [100, 200] {
        for oid in 1..10 {
            let change = store(&storage, oid, record(&[], &format!("{oid} at {round}")));
            commit(&storage, round + oid, vec![change]);
        }
    }
    storage
}

fn undo(number: u64) -> Vec<Op> {
    vec![Op::Undo { tid: tid(number) }]
}

#[test]
fn voted_before_and_written_after() {
    let storage = filled();
    let held = prepare(&storage, vec![store(&storage, 3, record(&[], "new"))]).unwrap();
    let garbage = prepare(&storage, vec![store(&storage, 50, record(&[], "found"))]).unwrap();
    storage.pack(206.0, Some(true)).unwrap();
    assert_eq!(text_of(&storage, 3).unwrap(), "3 at 200");
    for (number, prepared) in [(300, held), (301, garbage)] {
        storage.publish(&append(&storage, number, prepared));
        check_whole(&storage);
    }
    assert_eq!(text_of(&storage, 3).unwrap(), "new");
    assert_eq!(text_before(&storage, 3, tid(300)).unwrap(), "3 at 200");
    assert_eq!(text_of(&storage, 50).unwrap(), "found");
    assert_eq!(text_before(&storage, 50, tid(301)), None);
    assert_eq!(text_of(&open_bytes(&bytes(&storage)), 3).unwrap(), "new");
}

#[test]
fn written_before_and_visible_after() {
    let storage = filled();
    let prepared = prepare(&storage, vec![store(&storage, 3, record(&[], "new"))]).unwrap();
    let written = append(&storage, 300, prepared);
    storage.pack(206.0, Some(true)).unwrap();
    // Two packs may come between.
    storage.pack(207.0, Some(true)).unwrap();
    assert_eq!(storage.generation().number, 2);
    assert_eq!(storage.last_tid(), tid(209));
    assert_eq!(text_of(&storage, 3).unwrap(), "3 at 200");
    storage.publish(&written);
    assert_eq!(storage.last_tid(), tid(300));
    assert_eq!(text_of(&storage, 3).unwrap(), "new");
    assert_eq!(text_before(&storage, 3, tid(300)).unwrap(), "3 at 200");
    commit(
        &storage,
        301,
        vec![store(&storage, 3, record(&[], "newer"))],
    );
    check_whole(&storage);
}

#[test]
fn a_pack_waits_for_back_pointers() {
    let storage = filled();
    let undoing = prepare(&storage, undo(205)).unwrap();
    let plain = prepare(&storage, vec![store(&storage, 6, record(&[], "new"))]).unwrap();
    thread::scope(|scope| {
        let packing = scope.spawn(|| storage.pack(209.0, Some(true)));
        while storage.packing().is_none() {
            thread::yield_now();
        }
        storage.publish(&append(&storage, 300, plain));
        assert!(!packing.is_finished());
        let undone = append(&storage, 301, undoing);
        storage.publish(&undone);
        drop(undone);
        packing.join().unwrap().unwrap();
    });
    // The record that it leads to has been kept.
    assert_eq!(text_of(&storage, 5).unwrap(), "5 at 100");
    assert_eq!(text_before(&storage, 5, tid(300)).unwrap(), "5 at 200");
    assert_eq!(text_before(&storage, 4, tid(200)), None);
    check_whole(&storage);
}

#[test]
fn nothing_is_brought_back_while_packing() {
    let storage = filled();
    let running = storage.packing.begin().unwrap();
    let refused = prepare(&storage, undo(205)).map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Undo { .. }), "{refused}");
    let restore = |data, prev_tid| Op::Restore {
        oid: Oid::new(5),
        serial: tid(300),
        data: Some(record(&[], data)),
        prev_tid,
    };
    let as_it_was = vec![restore("5 at 100", Some(tid(105)))];
    let refused = prepare(&storage, as_it_was).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("0x05"), "{refused}");
    // What is new does no harm.
    let new = prepare(&storage, vec![restore("new", None)]).unwrap();
    drop(running);
    storage.pack(206.0, Some(true)).unwrap();
    storage.publish(&append(&storage, 300, new));
    assert_eq!(text_of(&storage, 5).unwrap(), "new");
    commit(&storage, 301, undo(300));
    assert_eq!(text_of(&storage, 5).unwrap(), "5 at 200");
    check_whole(&storage);
}

#[test]
fn readers_finish_on_the_old_file() {
    let storage = filled();
    let mut iterator = storage.iterator(None, None).unwrap();
    let first = iterator.next().unwrap().unwrap();
    storage.pack(206.0, Some(true)).unwrap();
    assert_eq!(iterator.count(), 18);
    assert_eq!((first.records)().count(), 2);
    assert_eq!(storage.iterator(None, None).unwrap().count(), 13);
}

/// Rather than that a record is lost.
#[test]
fn an_index_that_is_wrong_stops_a_pack() {
    for (oid, wrong) in [(3, 3), (3, 5), (5, 3), (50, 3), (9, 50)] {
        for gc in [true, false] {
            let storage = filled();
            let generation = storage.generation();
            let position = generation.index.get(Oid::new(wrong)).unwrap();
            let older = generation
                .reader()
                .data_header(position, None)
                .unwrap()
                .prev;
            let position = if oid == wrong { older } else { position };
            generation.index.set(Oid::new(oid), position);
            let before = bytes(&storage);
            let error = storage.pack(209.0, Some(gc)).unwrap_err().to_string();
            assert!(error.contains("the index points here"), "{error}");
            assert_eq!(bytes(&storage), before);
        }
    }
}

#[test]
fn refusals() {
    let storage = filled();
    let before = bytes(&storage);
    assert!(matches!(storage.pack(f64::NAN, None), Err(Error::Value(_))));
    let dangling = record(&[77], "dangling");
    commit(&storage, 300, vec![store(&storage, 9, dangling)]);
    let missing = storage.pack(400.0, Some(true)).unwrap_err();
    assert!(
        matches!(missing, Error::Dangling { oid, .. } if oid == Oid::new(77)),
        "{missing}"
    );
    commit(
        &storage,
        301,
        vec![store(&storage, 9, b"no pickle".to_vec())],
    );
    let unreadable = storage.pack(400.0, Some(true)).unwrap_err().to_string();
    for named in ["object 0x09", "at position"] {
        assert!(unreadable.contains(named), "{unreadable}");
    }
    assert_eq!(bytes(&storage)[..before.len()], before);
    assert!(storage.packing().is_none());
    storage.pack(400.0, Some(false)).unwrap();
    check_whole(&storage);

    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let generation = storage.generation();
    let backend = Arc::clone(&generation.backend);
    let read_only = FileStorage::over(backend, "memory", &options).unwrap();
    assert!(matches!(read_only.pack(400.0, None), Err(Error::ReadOnly)));
    storage.close().unwrap();
    assert!(storage.pack(400.0, None).is_err());
}

#[test]
fn empty_storages() {
    let storage = FileStorage::in_memory().unwrap();
    storage.pack(400.0, None).unwrap();
    assert_eq!(bytes(&storage), b"FS30");
}

/// Clients move amounts between objects 1 to 9: the sum stays, in every
/// snapshot; and what was committed stays committed. Some transactions are
/// undone at once.
#[test]
fn nothing_is_lost_beside_packs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    let all: Vec<u64> = (1..10).collect();
    let mut first = vec![store(&storage, 0, record(&all, "root"))];
    first.extend((1..10).map(|oid| store(&storage, oid, record(&[], "1000"))));
    commit(&storage, 101, first);
    let (number, ended) = (AtomicU64::new(101), AtomicBool::new(false));
    // One transaction at a time is voted, as under the server's locks; they
    // are written and made visible later, as by its threads.
    let turn = Mutex::new(());
    thread::scope(|scope| {
        for seed in 1..3 {
            let (storage, number, turn, ended) = (&storage, &number, &turn, &ended);
            scope.spawn(move || {
                let _ended = EndOnPanic(ended);
                let mut random: u64 = seed;
                while !ended.load(Ordering::Relaxed) {
                    random = random.wrapping_mul(6_364_136_223_846_793_005);
                    random = random.wrapping_add(1);
                    let _turn = turn.lock().unwrap();
                    transfer(storage, number, random >> 33);
                }
            });
        }
        scope.spawn(|| {
            let _ended = EndOnPanic(&ended);
            while !ended.load(Ordering::Relaxed) {
                check_sum(&storage);
                let iterator = storage.iterator(Some(tid(number.load(Ordering::SeqCst))), None);
                assert!(iterator.unwrap().all(|txn| txn.is_ok()));
            }
        });
        let mut pack = |round: u64| {
            // There is something to pack.
            while number.load(Ordering::SeqCst) < 105 + 5 * round && !ended.load(Ordering::Relaxed)
            {
                thread::yield_now();
            }
            let to = number.load(Ordering::SeqCst).saturating_sub(round % 3);
            storage.pack(to as f64, Some(round.is_multiple_of(2)))
        };
        let packed: Result<Vec<()>> = (0..15).map(&mut pack).collect();
        ended.store(true, Ordering::Relaxed);
        packed.unwrap();
    });
    assert!(storage.generation().number > 5);
    check_sum(&storage);
    check_whole(&storage);
    let texts: Vec<_> = (0..10).map(|oid| text_of(&storage, oid)).collect();
    let last = storage.last_tid();
    assert_eq!(last, tid(number.load(Ordering::SeqCst)));
    storage.close().unwrap();
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    assert_eq!(storage.last_tid(), last);
    assert!((0..10).map(|oid| text_of(&storage, oid)).eq(texts));
    check_whole(&storage);
}

/// So that nobody waits for ever for a test that has failed.
struct EndOnPanic<'a>(&'a AtomicBool);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

fn transfer(storage: &FileStorage, number: &AtomicU64, random: u64) {
    let (from, to) = (1 + random % 9, 1 + random / 9 % 9);
    if from == to {
        return;
    }
    let last = number.load(Ordering::SeqCst);
    let ops = if random.is_multiple_of(5) {
        undo(last)
    } else {
        let amount = |oid| text_of(storage, oid).unwrap().parse::<i64>().unwrap();
        let change = |oid, by: i64| {
            let text = (amount(oid) + by).to_string();
            store(storage, oid, record(&[], &text))
        };
        vec![change(from, -7), change(to, 7)]
    };
    let prepared = match prepare(storage, ops) {
        // Packed meanwhile, or the first of all.
        Err(Error::Undo { .. }) => return,
        prepared => prepared.unwrap(),
    };
    if random.is_multiple_of(3) {
        thread::yield_now();
    }
    let written = append(storage, last + 1, prepared);
    if random.is_multiple_of(7) {
        thread::yield_now();
    }
    storage.publish(&written);
    number.store(last + 1, Ordering::SeqCst);
}

/// In the snapshot of now, which no pack of the past may touch.
fn check_sum(storage: &FileStorage) {
    let before = Tid::new(storage.last_tid().as_u64() + 1);
    let amounts: Option<Vec<i64>> = (1..10)
        .map(|oid| text_before(storage, oid, before)?.parse().ok())
        .collect();
    // A pack to a later time has taken the snapshot's revisions away.
    if let Some(amounts) = amounts {
        assert_eq!(amounts.iter().sum::<i64>(), 9000, "{amounts:?}");
    }
}

#[test]
fn conflicts_are_reported_by_serials_that_moved() {
    let storage = filled();
    let serial = storage.get_tid(Oid::new(4)).unwrap();
    storage.pack(300.0, Some(true)).unwrap();
    assert_eq!(storage.get_tid(Oid::new(4)).unwrap(), serial);
    let data = record(&[], "stale");
    let stale = Op::Store {
        oid: Oid::new(4),
        serial: tid(104),
        data,
    };
    let vote = prepare(&storage, vec![stale]);
    assert!(matches!(vote, Err(Error::Conflict(_))));
}
