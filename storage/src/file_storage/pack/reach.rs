//! Which records a pack keeps, by the rules of Python's packer.
//!
//! 1. From the transactions up to the pack time: for each object its last
//!    record, unless that says that the object is gone.
//! 2. With garbage collection, of these only what can be reached from object
//!    0. A reference to an object that is not there ends the pack.
//! 3. Whatever a back-pointer in a later transaction leads to; where that
//!    object was reachable, what the record refers to as well.
//!
//! References in later records count for nothing, as in Python: an object
//! that was out of reach at the pack time, and was reached again later only by
//! a new record, is lost. (Not so in a MappingStorage: [`Collect::AsOfNow`].)
//!
//! An object takes one word, in an [`Index`] of the size of the storage's own
//! (little more than 8 bytes): it becomes the index of the packed file. While
//! references are followed, those found but not yet read stand in lists as
//! well, up to a 32nd of all in each of two.

use std::collections::HashMap;

use zeo_proto::{Oid, Tid};

use super::super::format::{FIRST, Reader};
use super::super::index::Index;
use super::super::walk::Txn;
use super::super::whole::check_seal;
use super::super::window::Window;
use super::watch::Watch;
use crate::references::references;
use crate::{Error, Result};

/// The file is read by pieces of this from front to back,
const PIECE: usize = 1 << 20;
/// and of this where single records are read.
const RECORD_PIECE: usize = 1 << 13;
/// The object is reachable.
const REACHABLE: u64 = 1 << 63;
/// The position is one in the packed file.
const MOVED: u64 = 1 << 62;
/// The object is reachable, and its record not read yet.
const WAITING: u64 = 1 << 61;
const POSITION: u64 = WAITING - 1;
/// How many objects that are found and not yet read have room in a list, or
/// one for so many objects; others wait in their words. (Few in tests, so
/// that some do.)
const ROOM: usize = if cfg!(test) { 3 } else { 1 << 16 };
const ROOM_PART: u64 = 32;
/// How many objects there are between two looks at the watch.
const LOOK: u64 = 1 << 12;

/// Which objects are garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collect {
    /// None.
    Nothing,
    /// Those out of reach at the pack time.
    AsOfPackTime,
    /// Of those, the ones to which no later record refers, reachable or not.
    AsOfNow,
}

/// The records to be kept.
pub(super) struct Reach {
    /// One word an object: a position, with marks.
    words: Index,
    /// The records before the pack time that later back-pointers lead to.
    targets: HashMap<u64, Target>,
    /// Where the first transaction after the pack time begins.
    pub pack_end: u64,
    collect: Collect,
    kept_bytes: u64,
}

/// What a back-pointer leads to. (A pointer, its record's object and state:
/// some 40 bytes, for each record that was undone or copied.)
struct Target {
    oid: Oid,
    /// What it refers to is reachable as well.
    is_root: bool,
    /// Where it stands in the packed file, once it does.
    moved: u64,
}

/// Finds what to keep of all that `reader` sees; `None` when the file is
/// packed already up to there.
pub(super) fn find(
    reader: Reader<'_>,
    stop: Tid,
    collect: Collect,
    watch: &mut Watch<'_>,
) -> Result<Option<Reach>> {
    let mut reach = Reach {
        words: Index::default(),
        targets: HashMap::new(),
        pack_end: FIRST,
        collect,
        kept_bytes: 0,
    };
    let mut pass = Pass {
        window: Window::new(reader, PIECE),
        last: Tid::ZERO,
    };
    if reach.read_to_pack_time(&mut pass, stop, watch)? {
        return Ok(None);
    }
    let mut marking = Marking {
        window: Window::new(reader, RECORD_PIECE),
        collect,
        room: ROOM.max(usize::try_from(reach.words.len() / ROOM_PART).unwrap_or(ROOM)),
        waiting: 0,
        looked_to: Oid::ZERO,
        found: 0,
        bytes: 0,
    };
    if collect != Collect::Nothing && reach.words.iter().next().is_some() {
        let roots = vec![(Oid::ZERO, None)];
        marking.follow(&mut reach.words, roots, watch)?;
    }
    let roots = reach.read_from_pack_time(&mut pass, watch)?;
    for position in roots {
        let refs = marking.references(position)?;
        let roots = refs.into_iter().map(|oid| (oid, Some(position)));
        marking.follow(&mut reach.words, roots.collect(), watch)?;
    }
    reach.kept_bytes = marking.bytes;
    Ok(Some(reach))
}

/// One pass through the file.
struct Pass<'a> {
    window: Window<'a>,
    last: Tid,
}

impl Pass<'_> {
    /// Fails unless the transaction has its checksum, if it has one: its copy
    /// will get a new one. Also fails if its lengths differ.
    fn whole(&mut self, txn: &Txn) -> Result<()> {
        // All of a small one is brought into the window at once.
        let length = txn.end().saturating_sub(txn.position);
        let piece = self.window.piece();
        self.window.bytes(txn.position, length.min(piece))?;
        check_seal(&mut self.window, txn)?;
        self.last = txn.header.tid;
        self.window.check_end(txn)
    }
}

impl Reach {
    /// Notes the last record of each object before the pack time. True when
    /// all was packed already.
    fn read_to_pack_time(
        &mut self,
        pass: &mut Pass<'_>,
        stop: Tid,
        watch: &mut Watch<'_>,
    ) -> Result<bool> {
        let end = pass.window.reader().end;
        let mut position = FIRST;
        let mut status = b' ';
        let mut unpacked = false;
        while position < end {
            let txn = pass.window.txn(position, pass.last)?;
            status = txn.header.status;
            if txn.header.tid > stop {
                break;
            }
            pass.whole(&txn)?;
            unpacked |= status != b'p';
            let mut at = txn.records_start();
            while status != b'u' && at < txn.records_end() {
                let header = pass.window.record(at, &txn)?;
                match header.plen | header.back {
                    0 => self.words.remove(header.oid),
                    _ => self.words.set(header.oid, at),
                }
                at = at.saturating_add(header.record_len());
            }
            position = txn.end();
            watch.bytes("reading", position, end)?;
        }
        self.pack_end = position;
        Ok(!unpacked && status == b'p')
    }

    /// Notes what back-pointers after the pack time lead to. Gives those of
    /// these records whose references count.
    fn read_from_pack_time(
        &mut self,
        pass: &mut Pass<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<u64>> {
        let end = pass.window.reader().end;
        let mut roots = Vec::new();
        let mut position = self.pack_end;
        while position < end {
            let txn = pass.window.txn(position, pass.last)?;
            pass.whole(&txn)?;
            let mut at = txn.records_start();
            while txn.header.status != b'u' && at < txn.records_end() {
                let header = pass.window.record(at, &txn)?;
                if self.collect == Collect::AsOfNow && header.plen != 0 {
                    roots.push(at);
                }
                if header.back != 0 && header.back < self.pack_end {
                    self.keep_target(header.oid, header.back, &mut roots);
                }
                at = at.saturating_add(header.record_len());
            }
            position = txn.end();
            watch.bytes("reading", position, end)?;
        }
        Ok(roots)
    }

    /// As in Python, the first record that makes an unreachable object
    /// reachable is kept without what it refers to.
    fn keep_target(&mut self, oid: Oid, back: u64, roots: &mut Vec<u64>) {
        let is_reachable = self.is_reachable(oid);
        if !is_reachable {
            self.words.set(oid, back | REACHABLE);
        }
        let target = self.targets.entry(back).or_insert(Target {
            oid,
            is_root: false,
            moved: 0,
        });
        let collects = self.collect != Collect::Nothing;
        if collects && is_reachable && !target.is_root {
            target.is_root = true;
            roots.push(back);
        }
    }

    fn is_reachable(&self, oid: Oid) -> bool {
        let word = self.words.get(oid);
        let all = self.collect == Collect::Nothing;
        word.is_some_and(|word| all || word & REACHABLE != 0)
    }

    /// True when the record of `oid` at `position`, before the pack time, is
    /// to be kept.
    pub fn is_kept(&self, oid: Oid, position: u64) -> bool {
        let is_current = self.is_reachable(oid)
            && (self.words.get(oid)).is_some_and(|word| word & !REACHABLE == position);
        let target = self.targets.get(&position);
        is_current || target.is_some_and(|target| target.oid == oid)
    }

    /// Notes where a record that is kept stands in the packed file.
    pub fn moved(&mut self, oid: Oid, position: u64, to: u64) {
        if let Some(target) = self.targets.get_mut(&position) {
            target.moved = to;
        }
        // The word may still wait for a later record.
        let word = self.words.get(oid).unwrap_or(MOVED);
        if word & MOVED != 0 || word & POSITION == position {
            self.words.set(oid, to | MOVED | REACHABLE);
        }
    }

    /// Where the record at `position`, before the pack time, to which a
    /// back-pointer of `oid` leads, stands in the packed file.
    pub fn target(&self, oid: Oid, position: u64) -> Option<u64> {
        let target = self.targets.get(&position)?;
        (target.oid == oid && target.moved != 0).then_some(target.moved)
    }

    /// What the records that are kept take, as far as it is known: not
    /// without garbage collection.
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// The index of the packed file, when all that is kept has moved.
    pub fn take_index(&mut self) -> Index {
        let mut index = std::mem::take(&mut self.words);
        index.change_all(|word| {
            if word & MOVED == 0 {
                0
            } else {
                word & POSITION
            }
        });
        index
    }
}

/// Following references.
struct Marking<'a> {
    window: Window<'a>,
    collect: Collect,
    /// The greatest length of a wave.
    room: usize,
    /// How many objects wait,
    waiting: u64,
    /// and from where on to look for them.
    looked_to: Oid,
    found: u64,
    /// What their records take, at least.
    bytes: u64,
}

impl Marking<'_> {
    /// Marks what can be reached from these objects, each with the position
    /// of the record that refers to it. Reads in waves, each by position, so
    /// that the disk is read in one direction.
    fn follow(
        &mut self,
        words: &mut Index,
        roots: Vec<(Oid, Option<u64>)>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let mut wave = Vec::new();
        for (oid, from) in roots {
            self.reach(words, oid, from, &mut wave)?;
        }
        while !wave.is_empty() {
            wave.sort_unstable();
            let mut next = Vec::new();
            for position in wave {
                for oid in self.references(position)? {
                    self.reach(words, oid, Some(position), &mut next)?;
                }
                self.found += 1;
                if self.found.is_multiple_of(LOOK) {
                    watch.objects("following references", self.found)?;
                }
            }
            if next.is_empty() {
                self.take_waiting(words, &mut next);
            }
            wave = next;
        }
        Ok(())
    }

    fn reach(
        &mut self,
        words: &Index,
        oid: Oid,
        from: Option<u64>,
        wave: &mut Vec<u64>,
    ) -> Result<()> {
        match words.get(oid) {
            Some(word) if word & REACHABLE != 0 => {}
            Some(position) if wave.len() < self.room => {
                words.set(oid, position | REACHABLE);
                wave.push(position);
            }
            Some(position) => {
                words.set(oid, position | REACHABLE | WAITING);
                self.waiting += 1;
            }
            // It may have been stored after the pack time.
            None if self.collect == Collect::AsOfNow => {}
            None => return Err(self.missing(oid, from)),
        }
        Ok(())
    }

    /// Takes objects that wait, in the order of oids from where it was left,
    /// round and round.
    fn take_waiting(&mut self, words: &Index, wave: &mut Vec<u64>) {
        while self.waiting > 0 && wave.len() < self.room {
            let Some((oid, word)) = words.next_from(self.looked_to) else {
                self.looked_to = Oid::ZERO;
                continue;
            };
            if word & WAITING != 0 {
                words.set(oid, word & !WAITING);
                wave.push(word & POSITION);
                self.waiting -= 1;
            }
            self.looked_to = Oid::new(oid.as_u64().wrapping_add(1));
        }
    }

    fn missing(&self, oid: Oid, from: Option<u64>) -> Error {
        let file = self.window.reader().backend.path().to_owned();
        Error::Dangling { file, oid, from }
    }

    /// The objects that the record at `position` refers to.
    fn references(&mut self, position: u64) -> Result<Vec<Oid>> {
        let header = self.window.header(position)?;
        let Some((at, length)) = self.window.data_of(position, &header)? else {
            return Ok(Vec::new());
        };
        self.bytes = self.bytes.saturating_add(length);
        let found = references(self.window.bytes(at, length)?);
        found.map_err(|why| {
            let what = format!("the record of object {} can't be read: {why}", header.oid);
            self.window.reader().corrupt(position, what)
        })
    }
}
