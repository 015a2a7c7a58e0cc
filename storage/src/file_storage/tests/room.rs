//! Prepared room: what others read in the file at any moment, and that what
//! would break its promises is noticed.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use zeo_proto::Tid;

use super::disk::Disk;
use super::power_cuts::{Run, Wrap};
use crate::disk::backend::{Backend, MemoryBackend};
use crate::file_storage::format::room::{MARK_LEN, data_end};
use crate::file_storage::format::{TXN_HEADER_LEN, TxnHeader};
use crate::file_storage::{DataFile, FileStorage, Options};
use crate::storage::{Commit, OnConflict, TransactionMeta, Vote};
use crate::testing::files::{content, memory};
use crate::testing::{commit, listening, load, meta, oid, read_only, store, tid};
use crate::{Result, Storage};

const ROOM: u64 = 3000;
/// Data that are written in pieces.
const LARGE: usize = 9 << 20;

fn with_room(size: u64) -> Options {
    Options::with(|options| options.prepare_room = size)
}

/// Where Python finds the end of the file when it opens it, and the last tid.
/// Panics where it refuses the file.
fn python(bytes: &[u8]) -> (usize, Tid) {
    let (mut at, mut last) = (4, Tid::ZERO);
    while let Some(header) = bytes[at..].first_chunk() {
        let header = TxnHeader::parse(header);
        assert!(header.tid > Tid::ZERO, "it takes zeros for the last tid");
        last = header.tid;
        let end = at + header.length as usize;
        if end + 8 > bytes.len() || header.status == b'c' {
            break;
        }
        assert!(header.length >= TXN_HEADER_LEN, "a length at {at}");
        assert_eq!(bytes[end..end + 8], header.length.to_be_bytes(), "at {at}");
        at = end + 8;
    }
    (at, last)
}

/// What is broken, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// A batch has no new mark behind it.
    NoMark,
    /// It is seen before it is there.
    NotHeld,
    /// The new room is written by somebody else, who is late.
    LateZeros,
}

/// Memory that is read by others after each write, and while it is written.
struct Watched {
    memory: MemoryBackend,
    broken: Broken,
    late: Mutex<Vec<(Vec<u8>, u64)>>,
    /// Where Python has found the end.
    ends: Mutex<Vec<usize>>,
}

impl Watched {
    fn new(broken: Broken) -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryBackend::default(),
            broken,
            late: Mutex::default(),
            ends: Mutex::default(),
        })
    }

    fn look(&self) {
        let (end, _) = python(&content(&self.memory));
        let mut ends = self.ends.lock().unwrap();
        if ends.last() != Some(&end) {
            ends.push(end);
        }
    }

    /// In pieces, after each of which others read.
    fn put(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let pieces = bytes.len().clamp(1, 40);
        for (number, piece) in bytes.chunks(bytes.len().div_ceil(pieces)).enumerate() {
            let at = position + (number * bytes.len().div_ceil(pieces)) as u64;
            self.memory.write_all_at(piece, at)?;
            self.look();
        }
        Ok(())
    }
}

impl Backend for Watched {
    fn path(&self) -> &Path {
        self.memory.path()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.memory.read_at(buffer, position)
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if position == 0 {
            return self.memory.write_all_at(bytes, position);
        }
        let mut bytes = bytes.to_vec();
        let is_zeros = bytes.ends_with(&[0; 1000]);
        match self.broken {
            Broken::NoMark if !is_zeros && bytes.ends_with(b"room of rzeo") => {
                bytes.truncate(bytes.len() - MARK_LEN);
            }
            Broken::NotHeld if bytes.len() > MARK_LEN && bytes[16] == b'c' => bytes[16] = b' ',
            Broken::LateZeros if is_zeros => {
                self.late.lock().unwrap().push((bytes, position));
                return Ok(());
            }
            _ => {}
        }
        self.put(&bytes, position)?;
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        late.iter().try_for_each(|(bytes, at)| self.put(bytes, *at))
    }
    fn sync(&self) -> io::Result<()> {
        self.look();
        Ok(())
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.memory.truncate(length)?;
        self.look();
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }
    fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Appends and publishes transactions that store something of these lengths,
/// in one batch; those of length 1 get no seal.
fn append(storage: &FileStorage, lengths: &[usize]) -> Result<()> {
    let first = storage.last_tid().as_u64() + 1;
    let mut batch: Vec<_> = (first..)
        .zip(lengths)
        .map(|(number, &length)| {
            let meta = TransactionMeta {
                extension: match length {
                    1 => vec![b'e'; 65_530],
                    _ => Vec::new(),
                },
                ..meta()
            };
            let op = store(number, 0, vec![b'd'; length]);
            let vote = storage.prepare(&meta, &mut [Ok(op)].into_iter(), OnConflict::Resolve);
            let Ok(Vote::Ready(prepared)) = vote else {
                panic!("{vote:?}");
            };
            Commit {
                tid: tid(number),
                prepared,
            }
        })
        .collect();
    storage.append(&mut batch)?;
    batch.iter().for_each(|commit| storage.publish(commit));
    Ok(())
}

const BATCHES: &[&[usize]] = &[
    &[100],
    &[200],
    &[300, 20, 500],
    &[700],
    &[800],
    &[900],
    &[2950],
    &[10],
    &[40, 1, 50, 60],
    &[70],
    &[5000, 6000],
    &[80],
    &[LARGE, 300],
    &[90],
    &[1],
    &[20],
];

/// After each write of each batch, and in the middle of it.
fn watch(broken: Broken) {
    let watched = Watched::new(broken);
    let storage = FileStorage::over(watched.clone(), "test", &with_room(ROOM)).unwrap();
    for &batch in BATCHES {
        let had_room = data_end(&watched.memory).unwrap() < watched.len().unwrap();
        let start = storage.size() as usize;
        *watched.ends.lock().unwrap() = vec![start];
        append(&storage, batch).unwrap();
        let (bytes, end) = (content(&watched.memory), storage.size() as usize);
        assert_eq!(python(&bytes), (end, storage.last_tid()));
        assert_eq!(data_end(&watched.memory).unwrap(), storage.size());
        let zeros = &bytes[end + MARK_LEN..];
        assert!(zeros.len() <= ROOM as usize && zeros.iter().all(|&byte| byte == 0));
        // All of it at once, but for transactions without seals.
        if had_room && !batch.contains(&1) {
            assert_eq!(*watched.ends.lock().unwrap(), [start, end], "{batch:?}");
        }
        // Killed at this moment.
        let left = memory(&bytes);
        let again = FileStorage::over(left.clone(), "again", &with_room(ROOM)).unwrap();
        assert_eq!(again.last_tid(), storage.last_tid());
        assert_eq!(left.len().unwrap(), storage.size());
    }
    storage.close().unwrap();
    assert_eq!(watched.len().unwrap(), storage.size());
}

#[test]
fn others_see_where_the_file_ends_at_any_moment() {
    watch(Broken::Nothing);
}

#[test]
fn broken_promises_are_noticed() {
    for broken in [Broken::NoMark, Broken::NotHeld, Broken::LateZeros] {
        let noticed = std::panic::catch_unwind(|| watch(broken)).is_err();
        assert!(noticed, "{broken:?} was not noticed");
    }
}

#[test]
fn syncs_are_few_and_most_need_no_longer_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let storage = FileStorage::open(&path, with_room(1 << 16)).unwrap();
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..100 {
        append(&storage, &[1000]).unwrap();
        lengths.insert(std::fs::metadata(&path).unwrap().len());
    }
    assert_eq!(lengths.len(), 2, "{lengths:?}");
    let file = DataFile::open(&path).unwrap();
    assert_eq!(file.size(), storage.size());
    assert!(file.ends_whole().unwrap());
    let beside = FileStorage::open(&path, read_only()).unwrap();
    assert_eq!(
        (beside.size(), beside.last_tid()),
        (storage.size(), tid(100))
    );
    // Killed: no part of the room is saved as torn.
    drop(beside);
    let killed = dir.path().join("killed");
    std::fs::copy(&path, &killed).unwrap();
    let (options, messages) = listening();
    let again = FileStorage::open(&killed, options).unwrap();
    assert_eq!(again.size(), storage.size());
    assert_eq!(std::fs::metadata(&killed).unwrap().len(), storage.size());
    assert!(!dir.path().join("killed.tr0").exists());
    assert_eq!(*messages.lock().unwrap(), []);
    storage.close().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), storage.size());
}

#[test]
fn a_pack_leaves_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let options = Options::with(|options| {
        options.prepare_room = 1 << 16;
        options.pack_gc = false;
    });
    let storage = FileStorage::open(&path, options).unwrap();
    for number in 1..10 {
        commit(&storage, number, [store(1, number - 1, "some data")]).unwrap();
    }
    let old_size = storage.size();
    storage.pack(f64::from(1 << 30), None).unwrap();
    assert!(storage.size() < old_size);
    let length = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert_eq!(length(&path), storage.size());
    assert_eq!(length(&dir.path().join("Data.fs.old")), old_size);
    commit(&storage, 10, [store(1, 9, "more")]).unwrap();
    assert!(length(&path) > storage.size() + (1 << 16));
    assert_eq!(load(&storage, 1).as_deref(), Some("more"));
    let size = storage.size();
    drop(storage);
    let again = FileStorage::open(&path, Options::default()).unwrap();
    assert_eq!(
        (again.size(), again.get_tid(oid(1)).unwrap()),
        (size, tid(10))
    );
}

/// A disk that is full behind some position, or fails there.
struct Full {
    memory: MemoryBackend,
    end: u64,
    reserves: bool,
}

impl Backend for Full {
    fn path(&self) -> &Path {
        Path::new("full")
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.memory.read_at(buffer, position)
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let room = self.end.saturating_sub(position) as usize;
        self.memory
            .write_all_at(&bytes[..bytes.len().min(room)], position)?;
        if bytes.len() > room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.memory.truncate(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }
    fn reserve(&self, _start: u64, end: u64) -> io::Result<()> {
        if self.reserves && end > self.end {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

#[test]
fn where_no_room_can_be_made_commits_go_on_without() {
    for (reserves, end) in [true, false]
        .into_iter()
        .flat_map(|r| (5000..5600).map(move |e| (r, e)))
    {
        let (mut options, messages) = listening();
        options.prepare_room = ROOM;
        let memory = MemoryBackend::default();
        let full = Arc::new(Full {
            memory,
            end,
            reserves,
        });
        let storage = FileStorage::over(full.clone(), "test", &options).unwrap();
        for _ in 0..24 {
            append(&storage, &[30 + end as usize % 60]).unwrap();
        }
        let told = messages.lock().unwrap().clone();
        let [(_, text)] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(text.contains("no room is prepared any more"), "{text}");
        assert_eq!(full.len().unwrap(), storage.size(), "{reserves} {end}");
        assert_eq!(python(&content(&full.memory)).0 as u64, storage.size());
    }
}

#[test]
fn a_batch_that_fails_is_taken_back_with_the_room() {
    let (memory, reserves) = (MemoryBackend::default(), false);
    let full = Arc::new(Full {
        memory,
        end: 5000,
        reserves,
    });
    let storage = FileStorage::over(full.clone(), "test", &with_room(ROOM)).unwrap();
    append(&storage, &[30]).unwrap();
    assert!(full.len().unwrap() > storage.size());
    append(&storage, &[6000]).unwrap_err();
    assert!(storage.latched().is_some());
    assert_eq!(full.len().unwrap(), storage.size());
    storage.close().unwrap();
}

/// A disk between which and the storage something goes wrong.
struct Lying {
    disk: Arc<Disk>,
    lie: Lie,
    late: Mutex<Vec<(Vec<u8>, u64)>>,
    synced: Mutex<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// New room is written after the next batch.
    LateZeros,
    /// What was written over zeros is not synced.
    NoSync,
}

impl Lying {
    fn over(disk: Arc<Disk>, lie: Lie) -> Arc<dyn Backend> {
        let synced = Mutex::new(u64::MAX);
        let late = Mutex::default();
        Arc::new(Self {
            disk,
            lie,
            late,
            synced,
        })
    }
}

impl Backend for Lying {
    fn path(&self) -> &Path {
        self.disk.path()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.disk.read_at(buffer, position)
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if self.lie == Lie::LateZeros && bytes.ends_with(&[0; 150]) {
            self.late.lock().unwrap().push((bytes.to_vec(), position));
            return Ok(());
        }
        self.disk.write_all_at(bytes, position)?;
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        late.iter()
            .try_for_each(|(bytes, at)| self.disk.write_all_at(bytes, *at))
    }
    fn sync(&self) -> io::Result<()> {
        let length = self.disk.len()?;
        let before = std::mem::replace(&mut *self.synced.lock().unwrap(), length);
        match self.lie {
            Lie::NoSync if length == before => Ok(()),
            _ => self.disk.sync(),
        }
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.truncate(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }
    fn reserve(&self, start: u64, end: u64) -> io::Result<()> {
        self.disk.reserve(start, end)
    }
}

#[test]
fn broken_promises_are_noticed_after_power_cuts() {
    const SEEDS: u64 = 100;
    let lies: [(Lie, Wrap); 2] = [
        (Lie::LateZeros, |disk| Lying::over(disk, Lie::LateZeros)),
        (Lie::NoSync, |disk| Lying::over(disk, Lie::NoSync)),
    ];
    for (lie, wrap) in lies {
        let fails = |&seed: &u64| {
            let run = || drop(Run::new(seed, true, wrap).run());
            std::panic::catch_unwind(run).is_err()
        };
        let found = (0..SEEDS).find(fails);
        assert!(found.is_some(), "{lie:?} was not noticed");
        println!("{lie:?}: seed {found:?}");
    }
}
