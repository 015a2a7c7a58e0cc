//! Commits at every read of a pack: the outcome is that of the pack, and of
//! the commits after it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use zeo_proto::Oid;

use super::online::fill;
use super::support::{check_whole, commit, record, store, tid};
use crate::disk::backend::{Backend, MemoryBackend};
use crate::file_storage::{FileStorage, Options};
use crate::storage::Op;
use crate::testing::prepare;
use crate::{Error, Result, Storage};

type Hook = Box<dyn FnOnce() + Send>;

/// Memory that calls something before it is read for the `left`-th time.
#[derive(Default)]
struct Hooked {
    memory: MemoryBackend,
    left: AtomicUsize,
    hook: Mutex<Option<Hook>>,
}

impl Backend for Hooked {
    fn path(&self) -> &Path {
        self.memory.path()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let hook = self.hook.lock().unwrap().take();
            hook.into_iter().for_each(|hook| hook());
        }
        self.memory.read_at(buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.memory.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.memory.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.memory.truncate(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn reserve(&self, start: u64, end: u64) -> io::Result<()> {
        self.memory.reserve(start, end)
    }

    fn sibling(&self) -> Option<Arc<dyn Backend>> {
        self.memory.sibling()
    }
}

/// What is committed.
type Change = fn(&FileStorage) -> Vec<Vec<Op>>;

const CHANGES: [Change; 5] = [
    // One object again and again.
    |storage| {
        let texts = ["new", "newer", "newest"].into_iter();
        texts
            .map(|text| vec![store(storage, 3, record(&[], text))])
            .collect()
    },
    // Garbage.
    |storage| vec![vec![store(storage, 50, record(&[], "found"))]],
    // A reference goes, and the object as well.
    |storage| vec![vec![store(storage, 0, record(&[1, 2, 3], "root"))]],
    // New objects.
    |storage| {
        let root = store(storage, 0, record(&[1, 70], "root"));
        vec![vec![root, store(storage, 70, record(&[1], "new"))]]
    },
    |storage| {
        let oid = Oid::new(7);
        let serial = storage.get_tid(oid).unwrap();
        vec![vec![Op::Delete { oid, serial }]]
    },
];

fn filled() -> (Arc<Hooked>, Arc<FileStorage>) {
    let backend = Arc::new(Hooked::default());
    let options = Options {
        pack_keep_old: false,
        ..Options::default()
    };
    let over = Arc::clone(&backend);
    let storage = FileStorage::over(over, "memory", &options).unwrap();
    (backend, Arc::new(fill(storage)))
}

fn make(storage: &FileStorage, change: Change) {
    let count = change(storage).len();
    for number in 0..count {
        let ops = change(storage).swap_remove(number);
        commit(storage, 300 + number as u64, ops);
    }
}

/// All transactions with their records, and the current records.
fn shown(storage: &FileStorage) -> Vec<String> {
    let transactions = storage.iterator(None, None).unwrap().map(Result::unwrap);
    let shown = transactions.flat_map(|txn| {
        let records = (txn.records)().map(Result::unwrap);
        let status = txn.status;
        records
            .map(move |record| format!("{} {status} {} {:?}", record.tid, record.oid, record.data))
    });
    let objects: Vec<Oid> = storage
        .generation()
        .index
        .iter()
        .map(|(oid, _)| oid)
        .collect();
    let current =
        objects
            .into_iter()
            .map(|oid| match storage.load_before(oid, zeo_proto::Tid::MAX) {
                Ok(found) => format!("{oid} {found:?}"),
                Err(Error::NoObject(_)) => format!("{oid} is gone"),
                Err(error) => panic!("{error}"),
            });
    shown.chain(current.collect::<Vec<_>>()).collect()
}

#[test]
fn commits_at_every_read() {
    for (number, &change) in CHANGES.iter().enumerate() {
        for (time, gc) in [(206.0, true), (206.0, false), (209.0, true), (209.0, false)] {
            let (_, expected) = filled();
            expected.pack(time, Some(gc)).unwrap();
            make(&expected, change);
            let expected = shown(&expected);
            for read in 1.. {
                let (backend, storage) = filled();
                let changed = Arc::clone(&storage);
                *backend.hook.lock().unwrap() = Some(Box::new(move || make(&changed, change)));
                backend.left.store(read, Ordering::Relaxed);
                storage.pack(time, Some(gc)).unwrap();
                if backend.hook.lock().unwrap().take().is_some() {
                    assert!(read > 50, "only {read} reads");
                    break;
                }
                let place = format!("change {number}, time {time}, {gc}, read {read}");
                assert_eq!(shown(&storage), expected, "{place}");
                check_whole(&storage);
            }
        }
    }
}

/// What it brings back may refer to what the pack has not seen any more.
#[test]
fn nothing_is_undone_at_any_read() {
    for read in 1.. {
        let (backend, storage) = filled();
        let undoing = Arc::clone(&storage);
        *backend.hook.lock().unwrap() = Some(Box::new(move || {
            let ops = vec![Op::Undo { tid: tid(208) }];
            let refused = prepare(&*undoing, ops).map(|_| ()).unwrap_err();
            assert!(matches!(refused, Error::Undo { .. }), "{refused}");
            assert!(refused.to_string().contains("disabled"), "{refused}");
        }));
        backend.left.store(read, Ordering::Relaxed);
        storage.pack(206.0, Some(true)).unwrap();
        if backend.hook.lock().unwrap().take().is_some() {
            assert!(read > 50, "only {read} reads");
            break;
        }
        commit(&storage, 300, vec![Op::Undo { tid: tid(208) }]);
        check_whole(&storage);
    }
}
