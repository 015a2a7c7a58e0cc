//! Random work on a disk whose power fails, and what is left after it.
//!
//! `RZEO_POWER_CUTS` is the number of runs; with `RZEO_POWER_CUTS_DIR`, some of
//! the recovered files are left there with what we read in them, for
//! `testdata/generate/check_power_cuts.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::disk::{Dice, Disk};
use crate::disk::backend::Backend;
use crate::file_storage::index;
use crate::file_storage::index::file::{Loaded, Origin};
use crate::file_storage::{FileStorage, Options};
use crate::storage::{Commit, DataRecord, OnConflict, Op, Prepared, TransactionMeta, Vote};
use crate::testing::files::memory;
use crate::testing::{oid, tid};
use crate::{Error, Result, Storage};

/// Runs by default: what takes some seconds without optimization.
const RUNS: u64 = 300;
/// Objects are these.
const OIDS: u64 = 40;

/// A transaction, as it was given to the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    tid: Tid,
    texts: [Vec<u8>; 3],
    records: Vec<(Oid, Option<Vec<u8>>)>,
}

/// Puts something between the storage and the disk.
pub(super) type Wrap = fn(Arc<Disk>) -> Arc<dyn Backend>;

pub(super) struct Run {
    dice: Dice,
    disk: Arc<Disk>,
    wrap: Wrap,
    /// How much room the storage prepares.
    room: u64,
    /// All transactions in the order in which they were appended.
    given: Vec<Model>,
    /// How many of them were acknowledged, or were there after a start.
    acknowledged: usize,
    index: Option<Vec<u8>>,
    /// How often a file was refused without it.
    refused: u64,
    next_tid: u64,
    /// Some records are of several megabytes.
    large: bool,
    /// Where to leave what the power cuts leave, and under which name.
    torn: Option<(PathBuf, String)>,
}

impl Run {
    pub(super) fn new(seed: u64, has_room: bool, wrap: Wrap) -> Self {
        let mut dice = Dice(seed);
        let sector = if dice.once_in(3) { 4096 } else { 512 };
        let rooms = [200, 3000, 20_000, 300_000];
        let room = rooms[Dice(seed ^ 1).below(4) as usize];
        Self {
            dice,
            disk: Arc::new(Disk::new(sector)),
            wrap,
            room: if has_room { room } else { 0 },
            given: Vec::new(),
            acknowledged: 0,
            index: None,
            refused: 0,
            next_tid: 1,
            large: seed % 150 == 149,
            torn: None,
        }
    }

    /// Works until something happens, several times.
    pub(super) fn run(&mut self) -> FileStorage {
        for _ in 0..self.dice.below(5) + 1 {
            let calls = self.dice.below(24);
            self.disk.fail_after(calls, &mut self.dice);
            // The power may be cut while the storage opens.
            if let Ok(storage) = self.open() {
                self.check(&storage);
                self.keep_index(&storage);
                self.work(&storage);
                self.index_in_the_making(&storage);
            }
            if self.dice.once_in(4) {
                self.disk.process_killed()
            } else {
                self.disk.power_cut(&mut self.dice);
                self.leave_torn();
            }
            self.open_without_index();
        }
        self.disk.process_killed();
        self.open_without_index();
        let storage = self.open().unwrap();
        self.check(&storage);
        storage
    }

    /// Leaves the disk for Python as it is, with what was acknowledged.
    fn leave_torn(&self) {
        if let Some((dir, name)) = &self.torn {
            let name = format!("{name}-{}.torn", self.next_tid);
            leave(
                dir,
                &name,
                &self.disk.content(),
                &self.given[..self.acknowledged],
            );
        }
    }

    /// Where the index is lost, nothing half is taken either, and nothing is
    /// cut off of which all fits together: a file like that stays as it is.
    fn open_without_index(&mut self) {
        let content = self.disk.content();
        let backend = memory(&content);
        match FileStorage::over(backend.clone(), "test", &Options::default()) {
            Ok(storage) => {
                let found = read(&storage);
                assert!(found.len() >= self.acknowledged && self.given.starts_with(&found));
            }
            Err(Error::Corrupt { what, .. }) => {
                assert!(
                    what.contains("--accept") || what.contains("follow"),
                    "{what}"
                );
                assert_eq!(backend.len().unwrap(), content.len() as u64);
                self.refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn loaded(&self) -> Option<Loaded> {
        let index = self.index.as_deref();
        index.map(|bytes| index::file::read(bytes, u64::MAX).unwrap())
    }

    /// What a storage with files does when it opens.
    fn keep_index(&mut self, storage: &FileStorage) {
        let is_open = match self.loaded().map(|loaded| loaded.origin) {
            Some(Origin::Own(state)) => state.is_open,
            _ => false,
        };
        if !is_open {
            self.index = Some(index_bytes(storage, true));
        }
    }

    fn open(&mut self) -> Result<FileStorage> {
        let loaded = self.loaded();
        let backend = (self.wrap)(self.disk.clone());
        let options = Options::with(|options| options.prepare_room = self.room);
        let opened = FileStorage::over_with_index(backend, "test".into(), &options, loaded);
        match &opened {
            // The power went off.
            Ok(_) | Err(Error::Io { .. }) => opened,
            Err(error) => panic!("{error}"),
        }
    }

    /// What is there is the beginning of what was given, with all that was
    /// acknowledged. It counts as such from now on.
    fn check(&mut self, storage: &FileStorage) {
        let found = read(storage);
        assert!(
            found.len() >= self.acknowledged,
            "{} of {} transactions are there",
            found.len(),
            self.acknowledged
        );
        assert!(self.given.starts_with(&found), "not what was given");
        self.given.truncate(found.len());
        self.acknowledged = found.len();
        let mut current = BTreeMap::new();
        for txn in &found {
            for (oid, data) in &txn.records {
                current.insert(*oid, (txn.tid, data));
            }
        }
        assert_eq!(storage.len(), current.len() as u64);
        for (oid, (tid, data)) in current {
            match (storage.load_before(oid, Tid::MAX), data) {
                (Ok(Some(found)), Some(data)) => {
                    assert_eq!((found.serial, &*found.data), (tid, &data[..]));
                }
                (Err(Error::NoObject(_)), None) => {}
                (found, _) => panic!("{oid}: {found:?}"),
            }
        }
    }

    /// Commits until the disk fails.
    fn work(&mut self, storage: &FileStorage) {
        loop {
            let Ok(batch) = self.prepare_batch(storage) else {
                return;
            };
            let mut batch: Vec<Commit> = batch
                .into_iter()
                .map(|(model, prepared)| {
                    let tid = model.tid;
                    self.given.push(model);
                    Commit { tid, prepared }
                })
                .collect();
            if storage.append(&mut batch).is_err() {
                assert!(storage.latched().is_some());
                return;
            }
            self.acknowledged = self.given.len();
            for commit in &batch {
                storage.publish(commit);
                if self.dice.once_in(20) {
                    self.index = Some(index_bytes(storage, true));
                }
            }
            if self.dice.once_in(30) {
                self.index = Some(index_bytes(storage, false));
                // Whether it can or not.
                let _ = storage.close();
                return;
            }
        }
    }

    /// An index is synced before it is renamed, which may be as far as it came.
    fn index_in_the_making(&mut self, storage: &FileStorage) {
        if self.dice.once_in(10) {
            self.index = Some(index_bytes(storage, true));
        }
    }

    /// Transactions of different objects; some others are given up.
    fn prepare_batch(&mut self, storage: &FileStorage) -> Result<Vec<(Model, Prepared)>> {
        let mut free: BTreeSet<u64> = (0..OIDS).collect();
        let mut batch = Vec::new();
        for _ in 0..self.dice.below(5) + 1 {
            let (model, prepared) = self.prepare(storage, &mut free)?;
            if !self.dice.once_in(6) {
                batch.push((model, prepared));
            }
        }
        // Not in the order of their votes.
        if self.dice.once_in(2) {
            batch.reverse();
        }
        for (model, _) in &mut batch {
            self.next_tid += 1 + self.dice.below(1 << 40);
            model.tid = tid(self.next_tid);
        }
        Ok(batch)
    }

    fn prepare(
        &mut self,
        storage: &FileStorage,
        free: &mut BTreeSet<u64>,
    ) -> Result<(Model, Prepared)> {
        let texts = self.texts();
        let mut records = Vec::new();
        let mut ops = Vec::new();
        for _ in 0..self.dice.below(5) {
            let number = self.dice.below(OIDS);
            if !free.remove(&number) {
                continue;
            }
            let (oid, serial) = (oid(number), storage.get_tid(oid(number)));
            let op = match serial {
                Ok(serial) if self.dice.once_in(12) => {
                    records.push((oid, None));
                    Op::Delete { oid, serial }
                }
                _ => {
                    let data = self.data();
                    records.push((oid, Some(data.clone())));
                    let serial = serial.or_else(|_| storage_serial(storage, oid))?;
                    Op::Store { oid, serial, data }
                }
            };
            ops.push(op);
        }
        let [user, description, extension] = texts.clone();
        let meta = TransactionMeta {
            user,
            description,
            extension,
            tid: None,
            status: b' ',
        };
        let vote = storage.prepare(&meta, &mut ops.into_iter().map(Ok), OnConflict::Resolve)?;
        let Vote::Ready(prepared) = vote else {
            panic!("{vote:?}");
        };
        let model = Model {
            tid: Tid::ZERO,
            texts,
            records,
        };
        Ok((model, prepared))
    }

    /// Often short, so that seals stand anywhere in a sector; a few times too
    /// long for one.
    fn texts(&mut self) -> [Vec<u8>; 3] {
        let dice = &mut self.dice;
        let mut text = |longest: u64| vec![b'x'; dice.below(longest) as usize];
        let (user, description) = (text(30), text(900));
        let extension = match dice.below(60) {
            0 => vec![b'e'; 65_500],
            1..20 => [&b"X"[..], &vec![b'e'; dice.below(600) as usize], b"."].concat(),
            _ => Vec::new(),
        };
        [user, description, extension]
    }

    fn data(&mut self) -> Vec<u8> {
        let dice = &mut self.dice;
        let longest = match dice.below(200) {
            0..9 if self.large => 10_000_000,
            0 => 400_000,
            1..20 => 9_000,
            _ => 700,
        };
        let length = dice.below(longest) as usize + 1;
        if dice.once_in(5) {
            vec![0; length]
        } else {
            vec![dice.below(256) as u8; length]
        }
    }
}

/// The serial to store an object with that is new, or gone.
fn storage_serial(storage: &FileStorage, oid: Oid) -> Result<Tid> {
    match storage.history(oid, 1) {
        Ok(entries) => Ok(entries[0].tid),
        Err(Error::NoObject(_)) => Ok(Tid::ZERO),
        Err(error) => Err(error),
    }
}

fn index_bytes(storage: &FileStorage, is_open: bool) -> Vec<u8> {
    let (generation, mut out) = (storage.generation(), Vec::new());
    let end = generation.indexed();
    let (entries, state) = (generation.entries_at(end), generation.state(is_open));
    index::file::write(&mut out, end, entries, state, |error| panic!("{error}")).unwrap();
    out
}

/// All transactions, as they are to be given again.
fn read(storage: &FileStorage) -> Vec<Model> {
    let record = |record: Result<DataRecord>| {
        let record = record.unwrap();
        (record.oid, record.data.map(|data| data.to_vec()))
    };
    let found = storage.iterator(None, None).unwrap().map(|txn| {
        let txn = txn.unwrap();
        Model {
            tid: txn.tid,
            texts: [txn.meta.user, txn.meta.description, txn.meta.extension],
            records: (txn.records)().map(record).collect(),
        }
    });
    found.collect()
}

/// Leaves a file for Python, with what we read in it.
fn leave(dir: &Path, name: &str, content: &[u8], found: &[Model]) {
    let json: Vec<_> = found
        .iter()
        .map(|txn| {
            let records: Vec<_> = txn
                .records
                .iter()
                .map(|(oid, data)| {
                    let data = data.as_ref().map(hex::encode);
                    serde_json::json!([hex::encode(oid.to_bytes()), data])
                })
                .collect();
            serde_json::json!({
                "tid": hex::encode(txn.tid.to_bytes()),
                "texts": txn.texts.each_ref().map(hex::encode),
                "records": records,
            })
        })
        .collect();
    std::fs::write(dir.join(format!("{name}.fs")), content).unwrap();
    let json = serde_json::Value::from(json).to_string();
    std::fs::write(dir.join(format!("{name}.json")), json).unwrap();
}

#[test]
fn after_power_cuts_there_is_what_was_acknowledged_and_nothing_half() {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let runs = number("RZEO_POWER_CUTS").unwrap_or(RUNS);
    let first = number("RZEO_POWER_CUTS_FIRST").unwrap_or(0);
    let dir = std::env::var_os("RZEO_POWER_CUTS_DIR");
    let (mut transactions, mut refused) = (0, 0);
    for (seed, has_room) in (first..first + runs).flat_map(|seed| [(seed, false), (seed, true)]) {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed, has_room, |disk| disk);
            let left = dir.as_deref().filter(|_| seed % 20 == 0);
            let name = format!("{seed}{}", if has_room { "-room" } else { "" });
            run.torn = left.map(|dir| (dir.into(), name.clone()));
            let storage = run.run();
            if let Some(dir) = left {
                leave(Path::new(dir), &name, &run.disk.content(), &run.given);
            }
            (storage.last_tid() > Tid::ZERO, run.refused)
        });
        match outcome {
            Ok((found, times)) => {
                transactions += u64::from(found);
                refused += times;
            }
            Err(_) => panic!("the run of seed {seed} failed (room: {has_room})"),
        }
    }
    assert!(transactions > runs, "too little was done");
    assert!(refused * 20 > runs, "refused without an index: {refused}");
}
