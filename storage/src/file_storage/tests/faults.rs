//! A disk that fails: at each call in turn, once or from then on.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use zeo_proto::Tid;

use crate::disk::backend::{Backend, MemoryBackend};
use crate::file_storage::{FileStorage, Options};
use crate::storage::{Commit, Op};
use crate::testing::{commit, load, oid, prepare, store, tid};
use crate::{Error, Storage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Write,
    Sync,
    Truncate,
    Reserve,
}

/// Memory that fails as told.
#[derive(Default)]
struct Faulty {
    inner: MemoryBackend,
    /// Calls that still succeed; negative: all of them.
    left: AtomicI64,
    /// After the first failure, all calls fail.
    for_good: AtomicBool,
    /// Reads count as calls, and others don't.
    reading: AtomicBool,
    failed: Mutex<Vec<Call>>,
    syncs: AtomicUsize,
}

impl Faulty {
    fn call(&self, call: Call) -> io::Result<()> {
        if (call == Call::Read) != self.reading.load(Ordering::Relaxed) {
            return Ok(());
        }
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        if left == 0 || (left < 0 && self.for_good.load(Ordering::Relaxed) && self.has_failed()) {
            self.failed.lock().unwrap().push(call);
            return Err(io::Error::other("the disk is on fire"));
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        !self.failed.lock().unwrap().is_empty()
    }
}

impl Backend for Faulty {
    fn path(&self) -> &Path {
        Path::new("faulty")
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.call(Call::Read)?;
        self.inner.read_at(buffer, position)
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if let Err(error) = self.call(Call::Write) {
            let half = bytes.len() / 2;
            self.inner.write_all_at(&bytes[..half], position)?;
            return Err(error);
        }
        self.inner.write_all_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.call(Call::Sync)
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.call(Call::Truncate)?;
        self.inner.truncate(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
        self.call(Call::Reserve)
    }
}

/// Two commits in one batch: objects 1 and 2 get a revision each.
fn commit_two(storage: &FileStorage, round: u64) -> Result<(), Error> {
    let serial = |number| storage.get_tid(oid(number)).map_or(0, |tid| tid.as_u64());
    let mut batch = Vec::new();
    for number in [1, 2] {
        let data = format!("{number} in round {round}");
        let prepared = prepare(storage, vec![store(number, serial(number), &data)])?;
        batch.push(Commit {
            tid: tid(2 * round + number),
            prepared,
        });
    }
    storage.append(&mut batch)?;
    assert_eq!(load(storage, 1), round_text(1, round), "visible too early");
    for commit in &batch {
        storage.publish(commit);
    }
    Ok(())
}

/// What object `oid` holds before this round.
fn round_text(oid: u64, round: u64) -> Option<String> {
    Some(format!("{oid} in round {}", round.checked_sub(1)?))
}

/// The storage fails at call `n` of three rounds; gives false when that is
/// past all calls.
fn fails_at(n: i64, for_good: bool) -> bool {
    let backend = Arc::new(Faulty::default());
    backend.left.store(-1, Ordering::Relaxed);
    let storage = FileStorage::over(backend.clone(), "test", &Options::default()).unwrap();
    backend.left.store(n, Ordering::Relaxed);
    backend.for_good.store(for_good, Ordering::Relaxed);
    let failure = (0..3).find_map(|round| Some((round, commit_two(&storage, round).err()?)));
    let Some((round, error)) = failure else {
        // A piece that can't be reserved may be tried smaller.
        let failed = backend.failed.lock().unwrap();
        assert!(failed.iter().all(|&call| call == Call::Reserve));
        return !failed.is_empty();
    };
    let text = error.to_string();
    assert!(text.contains("faulty: the disk is on fire"), "{text}");
    let call = backend.failed.lock().unwrap()[0];
    let latched = matches!(call, Call::Write | Call::Sync);
    assert_eq!(storage.latched().is_some(), latched, "{call:?}");
    let syncs = backend.syncs.load(Ordering::Relaxed);
    let again = commit_two(&storage, round);
    if latched {
        assert!(matches!(again, Err(Error::Latched(first)) if first == text))
    } else {
        assert_eq!(again.is_err(), for_good)
    }
    if latched {
        storage.close().unwrap();
        assert_eq!(backend.syncs.load(Ordering::Relaxed), syncs);
    }
    let seen = if again_ok(&storage, round) {
        round + 1
    } else {
        round
    };
    for oid in [1, 2] {
        assert_eq!(load(&storage, oid), round_text(oid, seen), "{call:?}");
    }
    reopens(&backend, &storage);
    true
}

fn again_ok(storage: &FileStorage, round: u64) -> bool {
    storage.last_tid() > tid(2 * round)
}

/// A storage opened on what is left has all that was visible, and nothing
/// half.
fn reopens(backend: &Faulty, storage: &FileStorage) {
    let mut bytes = vec![0; backend.inner.len().unwrap() as usize];
    backend.inner.read_at(&mut bytes, 0).unwrap();
    let left = MemoryBackend::default();
    left.write_all_at(&bytes, 0).unwrap();
    let again = FileStorage::over(Arc::new(left), "again", &Options::default()).unwrap();
    assert!(again.size() >= storage.size());
    for txn in again.iterator(None, None).unwrap() {
        assert_eq!((txn.unwrap().records)().map(Result::unwrap).count(), 1);
    }
}

#[test]
fn each_failing_call_latches_or_leaves_all_as_it_was() {
    for for_good in [false, true] {
        let calls = (0..20).take_while(|&n| fails_at(n, for_good)).count();
        // One reservation, three writes, three syncs.
        assert_eq!(calls, 7);
    }
}

impl Faulty {
    /// Holds these bytes; the read after `n` others fails.
    fn reading(bytes: &[u8], n: i64) -> Arc<Self> {
        let backend = Self::default();
        backend.inner.write_all_at(bytes, 0).unwrap();
        backend.left.store(n, Ordering::Relaxed);
        backend.reading.store(true, Ordering::Relaxed);
        Arc::new(backend)
    }

    fn content(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.inner.len().unwrap() as usize];
        self.inner.read_at(&mut bytes, 0).unwrap();
        bytes
    }
}

/// Three rounds on a good disk.
fn rounds() -> Vec<u8> {
    let backend = Faulty::reading(b"", -1);
    let storage = FileStorage::over(backend.clone(), "test", &Options::default()).unwrap();
    (0..3).for_each(|round| commit_two(&storage, round).unwrap());
    backend.content()
}

#[test]
fn a_failed_read_while_opening_changes_nothing() {
    let whole = rounds();
    let (mut hole, mut damaged) = (whole.clone(), whole.clone());
    let torn = whole[..whole.len() - 20].to_vec();
    let length = whole.len();
    hole[length - 150..length - 120].fill(0);
    damaged[100] ^= 1;
    for bytes in [whole, hole, torn, damaged] {
        let mut reads = 0;
        loop {
            let backend = Faulty::reading(&bytes, reads);
            let opened = FileStorage::over(backend.clone(), "test", &Options::default());
            if !backend.has_failed() {
                break;
            }
            assert!(matches!(opened, Err(Error::Io { .. })), "read {reads}");
            assert!(backend.content() == bytes, "read {reads}");
            reads += 1;
        }
        assert!(reads >= 2);
    }
}

#[test]
fn a_failed_read_costs_only_what_was_asked() {
    let bytes = rounds();
    let backend = Faulty::reading(&bytes, -1);
    let storage = FileStorage::over(backend.clone(), "test", &Options::default()).unwrap();
    for n in 0.. {
        backend.failed.lock().unwrap().clear();
        backend.left.store(n, Ordering::Relaxed);
        let loaded = storage.load_before(oid(1), Tid::MAX).map(drop);
        let history = storage.history(oid(1), 9).map(drop);
        let log = storage.undo_log(0, 9, &mut |_| Ok(true)).map(drop);
        let vote = prepare(
            &storage,
            vec![store(1, storage.last_tid().as_u64() - 1, "x")],
        );
        let all = [loaded, history, log, vote.map(drop)];
        let failed = all.iter().filter(|outcome| outcome.is_err()).count();
        let io = all.iter().flat_map(|outcome| outcome.as_ref().err());
        assert!(io.clone().all(|error| matches!(error, Error::Io { .. })));
        assert!(storage.latched().is_none());
        assert_eq!(failed, usize::from(backend.has_failed()), "read {n}");
        if failed == 0 {
            break;
        }
    }
    backend.left.store(-1, Ordering::Relaxed);
    commit_two(&storage, 3).unwrap();
}

#[test]
fn a_failed_reading_of_the_file_is_no_torn_end() {
    struct Unreadable(MemoryBackend);
    impl Backend for Unreadable {
        fn path(&self) -> &Path {
            Path::new("unreadable")
        }
        fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            match position {
                0 => self.0.read_at(buffer, position),
                _ => Err(io::Error::other("bad sector")),
            }
        }
        fn write_all_at(&self, _bytes: &[u8], _position: u64) -> io::Result<()> {
            panic!("written")
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
        fn truncate(&self, _length: u64) -> io::Result<()> {
            panic!("truncated")
        }
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
            Ok(())
        }
    }
    let backend = Unreadable(MemoryBackend::default());
    backend
        .0
        .write_all_at(b"FS30 and more than a header", 0)
        .unwrap();
    let opened = FileStorage::over(Arc::new(backend), "test", &Options::default());
    assert!(matches!(opened, Err(Error::Io { .. })));
}

#[test]
fn large_transactions_wait_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    let data = |oid: u64| format!("{oid} ").repeat(2 << 20);
    let ops: Vec<Op> = (1..5).map(|oid| store(oid, 0, data(oid))).collect();
    commit(&storage, 1, ops).unwrap();
    commit(&storage, 2, vec![store(3, 1, "small")]).unwrap();
    storage.close().unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    for with_index in [true, false] {
        if !with_index {
            std::fs::remove_file(dir.path().join("Data.fs.index")).unwrap();
        }
        let storage = FileStorage::open(&path, Options::default()).unwrap();
        assert_eq!(storage.size(), size);
        for oid in [1, 2, 4] {
            assert!(load(&storage, oid) == Some(data(oid)));
        }
        assert_eq!(load(&storage, 3).as_deref(), Some("small"));
        storage.close().unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}
