//! Files with all that is to be read from them, and what befalls them.

use std::ops::Range;
use std::sync::Arc;

use fastrand::Rng;
use zeo_proto::Tid;

use crate::Storage;
use crate::disk::backend::MemoryBackend;
use crate::file_storage::index;
use crate::file_storage::index::file::State;
use crate::file_storage::{FileStorage, Options};
use crate::storage::Op;
use crate::testing::files::content;
use crate::testing::{commit, oid, tid};

pub const OBJECTS: u64 = 10;
pub const TRANSACTIONS: u64 = 40;

/// What a load answers: serial, data and the next serial, or an error.
pub type Answer = std::result::Result<Option<(Tid, Vec<u8>, Option<Tid>)>, String>;

/// A file, and what is to be read from it.
pub struct History {
    pub bytes: Vec<u8>,
    /// Where the transactions begin, and the end.
    pub borders: Vec<usize>,
    /// The answers at each border.
    pub answers: Vec<Vec<Answer>>,
    /// What of the file each of the last answers comes from.
    pub sources: Vec<Vec<Range<usize>>>,
    pub index: Vec<u8>,
}

impl History {
    /// Random changes to a few objects, undone now and then.
    pub fn new(seed: u64) -> Self {
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
        let (generation, state) = (storage.generation(), State::default());
        index::file::write(&mut index, end, generation.entries_at(end), state, |why| {
            panic!("{why}")
        })
        .unwrap();
        Self {
            bytes: content(&*backend),
            borders,
            answers,
            sources: questions().map(|at| sources(&storage, at)).collect(),
            index,
        }
    }

    /// The answers of the whole file.
    pub fn last(&self) -> &[Answer] {
        self.answers.last().unwrap()
    }

    /// Which transactions differ.
    pub fn damaged(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let borders = self.borders.windows(2).map(|pair| pair[0]..pair[1]);
        let differs = |at: &Range<usize>| bytes.get(at.clone()) != self.bytes.get(at.clone());
        borders.filter(differs).collect()
    }

    /// True when a transaction has lost its seal and also that it had one:
    /// the `}.` before it. If the rest still looks like one, nothing tells.
    pub fn hides_damage(&self, bytes: &[u8]) -> bool {
        let mut whole = self
            .damaged(bytes)
            .into_iter()
            .filter(|at| at.end <= bytes.len());
        whole.any(|at| bytes[at.start + 23..at.start + 25] != *b"}.")
    }
}

/// Stores of random objects; each refers to others, so that a pack reads it.
pub fn changes(storage: &FileStorage, random: &mut Rng) -> Vec<Op> {
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

/// What is asked: each object before each transaction, and now.
pub fn questions() -> impl Iterator<Item = (u64, Tid)> {
    let before = (1..=TRANSACTIONS).map(tid).chain([Tid::MAX]);
    before.flat_map(|before| (0..OBJECTS).map(move |number| (number, before)))
}

pub fn all_answers(storage: &FileStorage) -> Vec<Answer> {
    questions().map(|at| answer(storage, at)).collect()
}

pub fn answer(storage: &FileStorage, (number, before): (u64, Tid)) -> Answer {
    let found = storage.load_before(oid(number), before);
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.map(|found| (found.serial, found.data.to_vec(), found.next)))
}

/// The bytes of the records that are read for an answer.
pub fn sources(storage: &FileStorage, (number, before): (u64, Tid)) -> Vec<Range<usize>> {
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

/// One or two accidents: changed bits, blocks of zeros, of anything, or in
/// one another's place, and ends that are gone.
pub fn damage(mut bytes: Vec<u8>, random: &mut Rng) -> Vec<u8> {
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
