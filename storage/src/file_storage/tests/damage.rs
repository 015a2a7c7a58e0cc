//! Accidents of all kinds to the files of a storage: what is served is right,
//! what can't be served is named, and nothing else suffers.
//!
//! `RZEO_DAMAGE_CASES` (how many of each) and `RZEO_DAMAGE_SEED` (the first)
//! make longer runs: `scripts/damage`.

use std::fs;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use fastrand::Rng;
use zeo_proto::Tid;

use super::support::{listening, oid, prepare, tid};
use crate::backend::{Backend, MemoryBackend};
use crate::file_storage::format::FIRST;
use crate::file_storage::{FileStorage, Options, index_file};
use crate::storage::{Commit, Op};
use crate::{Error, Result, Storage};

/// Cases of each kind, unless the environment says otherwise.
const CASES: u64 = 120;
const OBJECTS: u64 = 10;
const TRANSACTIONS: u64 = 40;
/// An object that no history has.
const NEW: u64 = 1000;

/// What a load answers: serial, data and the next serial, or an error.
type Answer = std::result::Result<Option<(Tid, Vec<u8>, Option<Tid>)>, String>;

/// A file, and what is to be read from it.
struct History {
    bytes: Vec<u8>,
    /// Where the transactions begin, and the end.
    borders: Vec<usize>,
    /// The answers at each border.
    answers: Vec<Vec<Answer>>,
    /// What of the file each of the last answers comes from.
    sources: Vec<Vec<Range<usize>>>,
    index: Vec<u8>,
}

impl History {
    /// Random changes to a few objects, undone now and then.
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let backend = Arc::new(MemoryBackend::default());
        let storage = FileStorage::over(backend.clone(), "memory", &Options::default()).unwrap();
        let (mut borders, mut answers) = (Vec::new(), Vec::new());
        for number in 1..=TRANSACTIONS {
            borders.push(storage.size() as usize);
            answers.push(all_answers(&storage));
            // The first creates all objects.
            let undone = tid(random.u64(2..number.max(3)));
            let undo = vec![Op::Undo { tid: undone }];
            if random.u8(..4) > 0 || commit(&storage, number, undo).is_err() {
                commit(&storage, number, changes(&storage, &mut random)).unwrap();
            }
        }
        borders.push(storage.size() as usize);
        answers.push(all_answers(&storage));
        let (end, mut index) = (storage.size(), Vec::new());
        index_file::write(&mut index, &storage.generation(), end, |why| {
            panic!("{why}")
        })
        .unwrap();
        Self {
            bytes: contents(&backend),
            borders,
            answers,
            sources: questions().map(|at| sources(&storage, at)).collect(),
            index,
        }
    }

    /// The answers of the whole file.
    fn last(&self) -> &[Answer] {
        self.answers.last().unwrap()
    }

    /// Which transactions differ.
    fn damaged(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let borders = self.borders.windows(2).map(|pair| pair[0]..pair[1]);
        let differs = |at: &Range<usize>| bytes.get(at.clone()) != self.bytes.get(at.clone());
        borders.filter(differs).collect()
    }

    /// True when a transaction has lost its seal and also that it had one:
    /// the `}.` before it. If the rest still looks like one, nothing tells.
    fn hides_damage(&self, bytes: &[u8]) -> bool {
        let mut whole = self
            .damaged(bytes)
            .into_iter()
            .filter(|at| at.end <= bytes.len());
        whole.any(|at| bytes[at.start + 23..at.start + 25] != *b"}.")
    }
}

/// Stores of random objects; each refers to others, so that a pack reads it.
fn changes(storage: &FileStorage, random: &mut Rng) -> Vec<Op> {
    let mut numbers: Vec<u64> = (0..OBJECTS).collect();
    random.shuffle(&mut numbers);
    numbers.truncate(random.usize(1..5));
    if storage.is_empty() {
        numbers = (0..OBJECTS).collect();
    }
    let store = |number: u64| {
        let length = random.usize(..if number == 3 { 6000 } else { 90 });
        let mut data = b"\x80\x03ca\nC\nq\x00.\x80\x03(B".to_vec();
        data.extend((length as u32).to_le_bytes());
        data.extend((0..length).map(|_| random.u8(..)));
        for _ in 0..random.usize(..4) {
            data.extend(b"C\x08");
            data.extend(random.u64(..OBJECTS).to_be_bytes());
            data.push(b'Q');
        }
        data.extend(b"t.");
        let serial = storage.get_tid(oid(number)).unwrap_or_default();
        let oid = oid(number);
        Op::Store { oid, serial, data }
    };
    numbers.into_iter().map(store).collect()
}

fn commit(storage: &FileStorage, number: u64, ops: Vec<Op>) -> Result<()> {
    let prepared = prepare(storage, ops)?;
    let tid = tid(number);
    let mut batch = [Commit { tid, prepared }];
    storage.append(&mut batch)?;
    storage.publish(&batch[0]);
    Ok(())
}

/// What is asked: each object before each transaction, and now.
fn questions() -> impl Iterator<Item = (u64, Tid)> {
    let before = (1..=TRANSACTIONS).map(tid).chain([Tid::MAX]);
    before.flat_map(|before| (0..OBJECTS).map(move |number| (number, before)))
}

fn all_answers(storage: &FileStorage) -> Vec<Answer> {
    questions().map(|at| answer(storage, at)).collect()
}

fn answer(storage: &FileStorage, (number, before): (u64, Tid)) -> Answer {
    let found = storage.load_before(oid(number), before);
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.map(|found| (found.serial, found.data.to_vec(), found.next)))
}

/// The bytes of the records that are read for an answer.
fn sources(storage: &FileStorage, (number, before): (u64, Tid)) -> Vec<Range<usize>> {
    let generation = storage.generation();
    let (mut position, mut found) = (generation.index.get(oid(number)).unwrap_or(0), Vec::new());
    let mut is_older = false;
    while position != 0 {
        let header = generation.reader().data_header(position, None).unwrap();
        let end = position + header.record_len();
        found.push(position as usize..end as usize);
        is_older |= header.tid < before;
        position = if is_older { header.back } else { header.prev };
    }
    found
}

fn contents(backend: &MemoryBackend) -> Vec<u8> {
    let mut bytes = vec![0; backend.len().unwrap() as usize];
    backend.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// One or two accidents: changed bits, blocks of zeros, of anything, or in
/// one another's place, and ends that are gone.
fn damage(mut bytes: Vec<u8>, random: &mut Rng) -> Vec<u8> {
    for _ in 0..random.usize(1..3) {
        let size = *random.choice(&[1, 16, 64, 512, 4096]).unwrap();
        let size = size.min(bytes.len() / 2);
        if size == 0 {
            continue;
        }
        let block = random.usize(..bytes.len() / size) * size;
        let block = block..block + size;
        match random.u8(..6) {
            0 | 1 => bytes[block.start] ^= 1 << random.u8(..8),
            2 => bytes[block].fill(0),
            3 => random.fill(&mut bytes[block]),
            4 => bytes.truncate(block.start + random.usize(..size)),
            _ => {
                let other = random.usize(..bytes.len() / size) * size;
                let moved = bytes[block.clone()].to_vec();
                bytes.copy_within(other..other + size, block.start);
                bytes[other..other + size].copy_from_slice(&moved);
            }
        }
    }
    bytes
}

/// Runs a test on cases that depend on their number only; a failure shows the
/// number.
fn for_each_case(mut test: impl FnMut(&History, &mut Rng)) {
    static HISTORIES: OnceLock<Vec<History>> = OnceLock::new();
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
    let seed = number("RZEO_DAMAGE_SEED").unwrap_or(1);
    let histories = HISTORIES.get_or_init(|| (seed..seed + 5).map(History::new).collect());
    for case in 0..number("RZEO_DAMAGE_CASES").unwrap_or(CASES) {
        println!("RZEO_DAMAGE_SEED={seed}, case {case}");
        let history = &histories[case as usize % histories.len()];
        test(
            history,
            &mut Rng::with_seed(seed.wrapping_mul(1 << 32) + case),
        );
    }
}

fn memory(bytes: &[u8]) -> Arc<MemoryBackend> {
    let backend = MemoryBackend::default();
    backend.write_all_at(bytes, 0).unwrap();
    Arc::new(backend)
}

/// A file that is scanned is refused, or all that it serves is as it was; of
/// what is cut off as torn, nothing was whole.
#[test]
fn a_damaged_file_is_refused_or_right() {
    let (mut refused, mut opened) = (0, 0);
    for_each_case(|history, random| {
        let bytes = damage(history.bytes.clone(), random);
        let damaged = history.damaged(&bytes);
        match FileStorage::over(memory(&bytes), "memory", &Options::default()) {
            _ if history.hides_damage(&bytes) => {}
            Ok(storage) => {
                opened += 1;
                let end = storage.size() as usize;
                let border = history.borders.iter().position(|&border| border == end);
                let border = border.expect("a whole number of transactions");
                assert!(
                    all_answers(&storage) == history.answers[border],
                    "other answers"
                );
                let lost = history.borders.len() - 1 - border;
                let damaged = damaged.iter().filter(|at| at.start >= end);
                assert_eq!(lost, damaged.count(), "whole transactions are lost");
            }
            Err(Error::Corrupt { position, .. }) => {
                refused += 1;
                let position = position as usize;
                let in_magic = position == 0 && bytes.get(..4) != history.bytes.get(..4);
                let first = damaged.first().cloned().unwrap_or_default();
                let is_first = in_magic || first.contains(&position);
                assert!(is_first, "{position}, not {first:?}");
            }
            Err(error) => panic!("{error}"),
        }
    });
    assert!(
        refused > 50 && opened > 5,
        "{refused} refused, {opened} opened"
    );
}

/// An index that is not what was saved is not used.
#[test]
fn a_damaged_index_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let python_end = |index: &[u8]| index.len() - 12;
    for_each_case(|history, random| {
        let index = damage(history.index.clone(), random);
        let is_whole =
            index == history.index || index == history.index[..python_end(&history.index)];
        fs::write(&path, &history.bytes).unwrap();
        fs::write(dir.path().join("Data.fs.index"), &index).unwrap();
        let (mut options, messages) = listening();
        // Saves no index, so it is quick.
        options.read_only = true;
        let storage = FileStorage::open(&path, options).unwrap();
        assert!(all_answers(&storage) == history.last(), "other answers");
        let messages = messages.lock().unwrap();
        let told = messages
            .iter()
            .any(|(_, text)| text.contains("ignoring the index"));
        assert!(told != is_whole, "{messages:?}");
    });
}

/// The same without a checksum, as Python writes it: objects may be missing
/// or fail, but none is another one.
#[test]
fn a_damaged_index_of_python_leads_to_no_wrong_object() {
    for_each_case(|history, random| {
        let length = history.index.len() - 12;
        let index = damage(history.index[..length].to_vec(), random);
        let Ok(loaded) = index_file::read(&index[..]) else {
            return;
        };
        let (backend, options) = (memory(&history.bytes), Options::default());
        let name = "memory".to_owned();
        let opened = FileStorage::over_with_index(backend, name, &options, Some(loaded));
        let Ok(storage) = opened else { return };
        for ((number, _), answer) in questions().zip(all_answers(&storage)) {
            let Ok(Some((serial, data, _))) = answer else {
                continue;
            };
            let is_own = questions().zip(history.last()).any(|((other, _), answer)| {
                let found = answer.as_ref().ok().and_then(Option::as_ref);
                other == number && found.is_some_and(|found| found.0 == serial && found.1 == data)
            });
            assert!(is_own, "object {number} has something else");
        }
    });
}

/// What goes bad while the storage is open fails by itself. A pack stops and
/// leaves all as it was.
#[test]
fn damage_to_an_open_file_stays_where_it_is() {
    let (mut failed, mut served) = (0, 0);
    for_each_case(|history, random| {
        let backend = memory(&history.bytes);
        let storage = FileStorage::over(backend.clone(), "memory", &Options::default()).unwrap();
        let bytes = damage(history.bytes.clone(), random);
        backend.truncate(bytes.len() as u64).unwrap();
        backend.write_all_at(&bytes, 0).unwrap();
        let check = |failed: &mut usize, served: &mut usize| {
            let questions = questions().zip(history.last()).zip(&history.sources);
            for ((question, expected), sources) in questions {
                let answer = answer(&storage, question);
                let mut sources = sources.iter().cloned();
                if sources.all(|at| bytes.get(at.clone()) == history.bytes.get(at)) {
                    assert!(answer == *expected, "{question:?}: {answer:?}");
                    *served += 1;
                } else if let Err(error) = answer {
                    let named = error.starts_with("memory is damaged at position ");
                    assert!(named || error.starts_with("there is no object"), "{error}");
                    *failed += 1;
                }
            }
        };
        check(&mut failed, &mut served);
        read_everything(&storage);
        let store = Op::Store {
            oid: oid(NEW),
            serial: Tid::ZERO,
            data: b"\x80\x03ca\nC\nq\x00.\x80\x03N.".to_vec(),
        };
        commit(&storage, TRANSACTIONS + 1, vec![store]).unwrap();
        assert!(storage.load_before(oid(NEW), Tid::MAX).unwrap().is_some());
        let before = contents(&backend);
        match storage.pack(1e9, None) {
            // The new file begins as it should.
            Ok(()) => assert!(
                bytes.get(4..) == history.bytes.get(4..) || history.hides_damage(&bytes),
                "packed"
            ),
            Err(Error::Corrupt { .. } | Error::Dangling { .. }) => {
                assert!(contents(&backend) == before, "changed");
                check(&mut failed, &mut served);
            }
            Err(error) => panic!("{error}"),
        }
    });
    assert!(
        failed > 1000 && served > 1000,
        "{failed} failed, {served} served"
    );
}

/// Whatever else reads the file; it may fail, but not panic.
fn read_everything(storage: &FileStorage) {
    for number in 0..OBJECTS {
        let _ = storage.history(oid(number), 100);
        let _ = storage.record_iternext(Some(oid(number)));
        let _ = storage.get_tid(oid(number));
    }
    let _ = storage.undo_log(0, 100, &mut |_| Ok(true));
    let _ = storage.last_invalidations(100);
    let Ok(transactions) = storage.iterator(None, None) else {
        return;
    };
    for txn in transactions.take(100).flatten() {
        for record in (txn.records)() {
            let _ = record;
        }
    }
    assert!(storage.size() > FIRST);
}
