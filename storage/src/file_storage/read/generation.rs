//! One file with its index: what readers hold while they read. A pack
//! publishes a new generation; whoever holds the old one finishes on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeo_proto::{Oid, Tid};

use crate::disk::backend::Backend;
use crate::file_storage::format::back_pointers::{Followed, LONG_WAY_STEPS};
use crate::file_storage::format::{DataHeader, Head, Reader};
use crate::file_storage::index::Index;
use crate::file_storage::index::file::State;
use crate::storage::{Data, OpenData, Unread};
use crate::{Error, Result};

/// On a long chain of back-pointers, one record in this many is noted, so that
/// a search that enters the chain elsewhere soon meets one.
const NOTE_EVERY_STEPS: u64 = 64;

/// Records from this size on are read in pieces, where that is possible.
const LARGE_BYTES: u64 = 256 * 1024;

/// A file, its index, and how much of it is visible.
pub(crate) struct Generation {
    pub backend: Arc<dyn Backend>,
    pub index: Index,
    /// How many packs were before it, since the storage was opened.
    pub number: usize,
    /// Seals before this position prove nothing: another tool has written, or
    /// may have changed, what stands there.
    pub accepted: u64,
    /// Where the visible part of the file ends.
    end: AtomicU64,
    /// Up to where the index knows every record.
    indexed: AtomicU64,
    last_tid: AtomicU64,
    /// The records that hold the data at the end of long chains of
    /// back-pointers; 0 where the object is gone. Nobody else waits here.
    followed: Mutex<Followed<u64>>,
}

impl Generation {
    pub fn new(backend: Arc<dyn Backend>, index: Index, end: u64, last_tid: Tid) -> Self {
        Self {
            backend,
            index,
            number: 0,
            accepted: 0,
            end: AtomicU64::new(end),
            indexed: AtomicU64::new(end),
            last_tid: AtomicU64::new(last_tid.as_u64()),
            followed: Mutex::default(),
        }
    }

    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Up to where the index knows every record; it may know some behind.
    pub fn indexed(&self) -> u64 {
        self.indexed.load(Ordering::Acquire)
    }

    pub fn last_tid(&self) -> Tid {
        Tid::new(self.last_tid.load(Ordering::Acquire))
    }

    /// Makes a durable transaction visible: the file's end first, so that no
    /// index entry ever leads behind it; the last tid last, so that whoever
    /// read it finds all of the transaction.
    pub fn publish(&self, end: u64, tid: Tid, records: impl Iterator<Item = (Oid, u64)>) {
        self.end.store(end, Ordering::Release);
        for (oid, position) in records {
            self.index.set(oid, position);
        }
        self.indexed.store(end, Ordering::Release);
        self.last_tid.store(tid.as_u64(), Ordering::Release);
    }

    /// Reads the visible part of the file.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            backend: &*self.backend,
            end: self.end(),
        }
    }

    /// Where the current record of `oid` stands, and a reader that reaches
    /// it: one taken before could end before a record published meanwhile.
    pub fn find(&self, oid: Oid) -> Option<(u64, Reader<'_>)> {
        let position = self.index.get(oid)?;
        Some((position, self.reader()))
    }

    /// As [`Self::find`], for an object that must be known.
    pub fn lookup(&self, oid: Oid) -> Result<(u64, Reader<'_>)> {
        self.find(oid).ok_or(Error::NoObject(oid))
    }

    /// The object's last record before `end`, given its current one.
    pub fn before(&self, oid: Oid, current: u64, end: u64) -> Result<Option<u64>> {
        let mut position = current;
        while position >= end {
            position = self.reader().data_header(position, Some(oid))?.prev;
        }
        Ok((position != 0).then_some(position))
    }

    /// Where the last record before `end` of each object stands that has one,
    /// in the order of oids: the index of the file up to there.
    pub fn entries_at(&self, end: u64) -> impl Iterator<Item = Result<(Oid, u64)>> {
        self.index.iter().filter_map(move |(oid, current)| {
            let found = self.before(oid, current, end).transpose()?;
            Some(found.map(|position| (oid, position)))
        })
    }

    /// What a saved index says besides its entries.
    pub fn state(&self, is_open: bool) -> State {
        let accepted = self.accepted;
        State { is_open, accepted }
    }

    /// The data that a back-pointer leads to, over any number of steps.
    /// Fails with `NoObject` when it ends at an object that is gone.
    pub fn load_back(&self, oid: Oid, back: u64) -> Result<Data> {
        self.open_back(oid, back)?.0.read()
    }

    /// The same with the serial of the record that holds the data.
    pub fn load_back_from(&self, oid: Oid, back: u64) -> Result<(Data, Tid)> {
        let (data, serial) = self.open_back(oid, back)?;
        Ok((data.read()?, serial))
    }

    fn open_back(&self, oid: Oid, back: u64) -> Result<(OpenData, Tid)> {
        let (mut position, mut steps, mut passed) = (back, 0, Vec::new());
        while position != 0 {
            if steps >= LONG_WAY_STEPS {
                if let Some(known) = self.followed().get(position) {
                    position = known;
                    steps = 0;
                    continue;
                }
                if steps % NOTE_EVERY_STEPS == LONG_WAY_STEPS {
                    passed.push(position);
                }
            }
            let reader = self.reader();
            let head = reader.head(position, Some(oid))?;
            let header = head.header;
            if header.plen != 0 {
                self.note(&passed, position);
                return Ok((self.open_own(reader, head)?, header.tid));
            }
            position = header.back;
            steps += 1;
        }
        self.note(&passed, 0);
        Err(Error::NoObject(oid))
    }

    /// Takes note of where the records on a long way lead.
    fn note(&self, passed: &[u64], place: u64) {
        if !passed.is_empty() {
            let mut followed = self.followed();
            passed.iter().for_each(|&at| followed.note(at, place));
        }
    }

    fn followed(&self) -> MutexGuard<'_, Followed<u64>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data of a record, its own or what its back-pointer leads to.
    pub fn resolve(&self, header: &DataHeader, own: Data) -> Result<Data> {
        if header.plen != 0 {
            return Ok(own);
        }
        self.load_back(header.oid, header.back)
    }

    /// The data of a record, its own or what its back-pointer leads to; a large one is not read.
    pub fn open(&self, reader: Reader<'_>, head: Head) -> Result<OpenData> {
        let header = head.header;
        if header.plen != 0 {
            return self.open_own(reader, head);
        }
        Ok(self.open_back(header.oid, header.back)?.0)
    }

    fn open_own(&self, reader: Reader<'_>, head: Head) -> Result<OpenData> {
        let header = head.header;
        if header.plen < LARGE_BYTES {
            return reader.rest(head).map(OpenData::Read);
        }
        let (position, length) = reader.place(&head)?;
        let backend = Arc::clone(&self.backend);
        let unread = Unread::new(backend, header.oid, position, length);
        Ok(OpenData::Unread(unread))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::disk::backend::MemoryBackend;
    use crate::testing::files::{Counting, chain};

    /// From the front to the back, or the other way.
    #[test]
    fn a_long_chain_of_back_pointers_is_not_gone_through_again_and_again() {
        const COUNT: u64 = 6000;
        let (file, records) = chain(COUNT);
        let backend = Arc::new(Counting::of(&file.bytes));
        let end = file.bytes.len() as u64;
        let generation = || {
            let backend = Arc::clone(&backend);
            Generation::new(backend, Index::default(), end, Tid::new(COUNT))
        };
        let oid = Oid::new(1);
        let from_front = generation();
        for &position in &records {
            let (data, tid) = from_front.load_back_from(oid, position).unwrap();
            assert_eq!((&*data, tid), (&b"x"[..], Tid::new(1)));
        }
        let from_back = generation();
        for &position in records.iter().rev() {
            from_back.load_back(oid, position).unwrap();
        }
        assert!(backend.reads() < 100 * COUNT, "{}", backend.reads());
        let other = from_back.load_back(Oid::new(2), records[100]);
        assert!(matches!(other, Err(Error::Corrupt { .. })));
    }

    #[test]
    fn readers_reach_what_the_index_names() {
        const OID: Oid = Oid::new(1);
        // From 4 GiB to the next ones: both halves of the position change.
        const STEP: u64 = (1 << 25) + 1;
        const LAST: u64 = 200_000;
        let backend = Arc::new(MemoryBackend::default());
        let generation = Generation::new(backend, Index::default(), 4, Tid::ZERO);
        let publish = |number: u64| {
            let record = (OID, number * STEP);
            generation.publish(record.1 + 1, Tid::new(number), [record].into_iter());
        };
        publish(1);
        thread::scope(|scope| {
            scope.spawn(|| (2..=LAST).for_each(publish));
            let mut position = 0;
            while position < LAST * STEP {
                let (found, reader) = generation.lookup(OID).unwrap();
                assert!(found < reader.end, "{found} is behind {}", reader.end);
                assert!(found >= position && found % STEP == 0, "{found}");
                position = found;
            }
        });
    }
}
