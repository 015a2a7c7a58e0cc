//! Which records a pack keeps, by the rules of Python's packer.
//!
//! 1. From the transactions up to the pack time: for each object its last
//!    record, unless that says that the object is gone.
//! 2. With garbage collection, of these only what can be reached from object
//!    0. A reference to an object that is not there ends the pack.
//! 3. Whatever a back-pointer in a later transaction leads to, and what the
//!    record refers to. (Without garbage collection no record that the object
//!    is gone: the pointer becomes 0, which says the same.) Python's packer
//!    does not follow the first such record of an object that was out of
//!    reach, and loses what only that refers to: an undo has brought it back.
//!    It does not notice either if something is not there; nor is it an error here.
//!
//! References in later records count for nothing, as in Python: an object
//! that was out of reach at the pack time, and was reached again later only by
//! a new record, is lost. (Not so in a MappingStorage: [`Collect::AsOfNow`].)
//!
//! An object takes some bits ([`Marks`](crate::packing::marks::Marks)), and a word in
//! the index of the packed file once it is copied. While references are
//! followed, objects found but not yet read stand in lists as well, up to a
//! 256th of all in each of two.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::marking::{Collect, Marking};
use super::objects::Objects;
use crate::Result;
use crate::file_storage::format::verify::{Sealed, check_seal};
use crate::file_storage::format::walk::{Backwards, Txn};
use crate::file_storage::format::window::Window;
use crate::file_storage::format::{FIRST, Reader};
use crate::file_storage::index::Index;
use crate::file_storage::read::generation::Generation;
use crate::packing::marks::Mark;
use crate::packing::watch::Watch;

/// The file is read by pieces of this from front to back (small ones in tests,
/// so that commits come between).
const READ_CHUNK_BYTES: usize = if cfg!(test) { 64 } else { 1 << 16 };
/// Single records are read by pieces of this.
const RECORD_CHUNK_BYTES: usize = if cfg!(test) { 64 } else { 1 << 13 };

/// The records to be kept.
pub(super) struct Reach {
    objects: Objects,
    /// The records before the pack time that later back-pointers lead to.
    targets: HashMap<u64, PointerTarget>,
    /// Objects out of reach of which such a record is kept.
    revived: HashSet<Oid>,
    /// The index of the packed file: what was copied already.
    index: Index,
    /// Where the first transaction after the pack time begins.
    pub pack_end: u64,
    collect: Collect,
    /// The number of objects whose record at the pack time is still to be
    /// copied; unknown without garbage collection.
    found: u64,
    kept_bytes: u64,
}

/// What a back-pointer leads to. (A pointer, its record's object and state:
/// some 40 bytes, for each record that was undone or copied.)
struct PointerTarget {
    oid: Oid,
    /// What it refers to is reachable as well.
    is_root: bool,
    /// The object is gone there, and the record is not kept for the pointer.
    is_gone: bool,
    /// Where it stands in the packed file, once it does.
    moved: u64,
}

/// Finds what to keep of all of this file; `None` when it is packed already
/// up to there.
pub(super) fn find(
    old: &Arc<Generation>,
    stop: Tid,
    collect: Collect,
    watch: &mut Watch<'_>,
) -> Result<Option<Reach>> {
    let objects = Objects::new(Arc::clone(old));
    let reader = Reader {
        backend: &*old.backend,
        end: objects.reader().end,
    };
    let last = last_before(reader, stop)?;
    let pack_end = last.map_or(FIRST, |txn| txn.end());
    if is_packed(reader, last)? {
        return Ok(None);
    }
    let mut reach = Reach {
        objects,
        targets: HashMap::new(),
        revived: HashSet::new(),
        index: Index::default(),
        pack_end,
        collect,
        found: 0,
        kept_bytes: 0,
    };
    let mut pass = Pass {
        window: Window::new(reader, READ_CHUNK_BYTES),
        last: last.map_or(Tid::ZERO, |txn| txn.header.tid),
        accepted: old.accepted,
    };
    let later = reach.read_from_pack_time(&mut pass, watch)?;
    pass.last = Tid::ZERO;
    reach.read_to_pack_time(&mut pass, watch)?;
    drop(pass);
    reach.mark(reader, later, old.index.len(), watch)?;
    Ok(Some(reach))
}

/// The last transaction up to the pack time.
fn last_before(reader: Reader<'_>, stop: Tid) -> Result<Option<Txn>> {
    for txn in Backwards::new(reader) {
        let txn = txn?;
        if txn.header.tid <= stop {
            return Ok(Some(txn));
        }
    }
    Ok(None)
}

/// True when all up to this transaction was packed, and nothing came since:
/// the next one is packed as well, or there is none.
fn is_packed(reader: Reader<'_>, last: Option<Txn>) -> Result<bool> {
    let pack_end = last.map_or(FIRST, |txn| txn.end());
    let mut window = Window::new(reader, READ_CHUNK_BYTES);
    let next = match last {
        Some(last) if pack_end >= reader.end => last,
        _ => window.txn(pack_end, Tid::ZERO)?,
    };
    let (mut position, mut tid, mut status) = (FIRST, Tid::ZERO, next.header.status);
    while status == b'p' && position < pack_end {
        let txn = window.txn(position, tid)?;
        (position, tid, status) = (txn.end(), txn.header.tid, txn.header.status);
    }
    Ok(status == b'p')
}

/// What the records behind the pack time lead to.
#[derive(Default)]
struct Later {
    /// Back-pointers to records before the pack time, and their objects.
    pointers: Vec<(Oid, u64)>,
    /// Records whose references count.
    roots: Vec<u64>,
    /// The same, of objects that were out of reach: they may refer to what is not there.
    revived_roots: Vec<u64>,
}

/// One pass through the file.
struct Pass<'a> {
    window: Window<'a>,
    last: Tid,
    /// Seals before this prove nothing.
    accepted: u64,
}

impl Pass<'_> {
    /// Fails unless the transaction has its checksum, if it has one that
    /// counts: its copy will get a new one. Also fails if its lengths differ.
    fn whole(&mut self, txn: &Txn) -> Result<()> {
        // All of a small one is brought into the window at once.
        let length = txn.end().saturating_sub(txn.position);
        let piece = self.window.piece();
        self.window.bytes(txn.position, length.min(piece))?;
        if let Sealed::Fails(why) = check_seal(&mut self.window, txn)?
            && txn.position >= self.accepted
        {
            return Err(self.window.reader().corrupt(txn.position, why));
        }
        self.last = txn.header.tid;
        self.window.check_end(txn)
    }
}

impl Reach {
    /// Meets the records before the pack time.
    fn read_to_pack_time(&mut self, pass: &mut Pass<'_>, watch: &mut Watch<'_>) -> Result<()> {
        let end = pass.window.reader().end;
        let mut position = FIRST;
        while position < self.pack_end {
            let txn = pass.window.txn(position, pass.last)?;
            pass.whole(&txn)?;
            let mut at = txn.records_start();
            while txn.header.status != b'u' && at < txn.records_end() {
                let header = pass.window.record(at, &txn)?;
                let is_gone = header.plen == 0 && header.back == 0;
                self.objects.met(header.oid, at, is_gone)?;
                at = at.saturating_add(header.record_len());
            }
            position = txn.end();
            watch.bytes("reading", position, end)?;
        }
        self.objects.all_met()
    }

    /// Notes the objects that have records behind the pack time, and what
    /// these lead to.
    fn read_from_pack_time(&mut self, pass: &mut Pass<'_>, watch: &mut Watch<'_>) -> Result<Later> {
        let end = pass.window.reader().end;
        let mut later = Later::default();
        let mut position = self.pack_end;
        while position < end {
            if self.collect == Collect::Nothing {
                // As Python: what is only copied may have one tid twice.
                pass.last = Tid::ZERO;
            }
            let txn = pass.window.txn(position, pass.last)?;
            pass.whole(&txn)?;
            let mut at = txn.records_start();
            while txn.header.status != b'u' && at < txn.records_end() {
                let header = pass.window.record(at, &txn)?;
                self.objects.changed(header.oid);
                if self.collect == Collect::AsOfNow && header.plen != 0 {
                    later.roots.push(at);
                }
                if header.back != 0 && header.back < self.pack_end {
                    later.pointers.push((header.oid, header.back));
                }
                at = at.saturating_add(header.record_len());
            }
            position = txn.end();
            watch.bytes("reading", position, end)?;
        }
        Ok(later)
    }

    /// Marks what is reachable, and notes what back-pointers lead to.
    fn mark(
        &mut self,
        reader: Reader<'_>,
        mut later: Later,
        objects: u64,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let window = Window::new(reader, RECORD_CHUNK_BYTES);
        let mut marking = Marking::new(window, self.collect, objects);
        if self.collect != Collect::Nothing && !self.objects.is_empty()? {
            let roots = vec![(Oid::ZERO, None)];
            marking.follow(&mut self.objects, roots, watch)?;
        }
        for (oid, back) in std::mem::take(&mut later.pointers) {
            let is_gone = self.collect == Collect::Nothing && marking.is_gone(back)?;
            self.keep_target(oid, back, is_gone, &mut later)?;
        }
        for oid in &self.revived {
            self.objects.marks.set(*oid, Mark::Reachable);
        }
        marking.follow_records(&mut self.objects, later.roots, watch)?;
        marking.collect = Collect::AsOfNow;
        marking.follow_records(&mut self.objects, later.revived_roots, watch)?;
        self.found = marking.found;
        self.kept_bytes = marking.bytes;
        Ok(())
    }

    fn keep_target(&mut self, oid: Oid, back: u64, is_gone: bool, later: &mut Later) -> Result<()> {
        let is_reachable = self.revived.contains(&oid) || self.is_current(oid)?;
        if !is_reachable {
            self.revived.insert(oid);
        }
        let target = self.targets.entry(back).or_insert(PointerTarget {
            oid,
            is_root: false,
            is_gone,
            moved: 0,
        });
        let collects = self.collect != Collect::Nothing;
        if collects && is_reachable && !target.is_root {
            target.is_root = true;
            later.roots.push(back);
        } else if collects && !is_reachable {
            later.revived_roots.push(back);
        }
        Ok(())
    }

    /// True when the object's record at the pack time is kept.
    fn is_current(&mut self, oid: Oid) -> Result<bool> {
        match self.collect {
            Collect::Nothing => Ok(self.objects.get(oid)?.is_some()),
            _ => Ok(self.objects.marks.has(oid, Mark::Reachable)),
        }
    }

    /// True when the record of `oid` at `position`, before the pack time, is
    /// to be kept. Asked once for each record.
    pub fn is_kept(&mut self, oid: Oid, position: u64) -> Result<bool> {
        let current = if self.is_current(oid)? && !self.revived.contains(&oid) {
            self.objects.get(oid)?
        } else {
            None
        };
        if current == Some(position) {
            self.found = self.found.saturating_sub(1);
            return Ok(true);
        }
        let target = self.targets.get(&position);
        Ok(target.is_some_and(|target| target.oid == oid && !target.is_gone))
    }

    /// Notes where a record that is kept stands in the packed file. Records
    /// come in the order of the file.
    pub fn moved(&mut self, oid: Oid, position: u64, to: u64) {
        if let Some(target) = self.targets.get_mut(&position) {
            target.moved = to;
        }
        self.index.set(oid, to);
    }

    /// Where the record at `position`, before the pack time, to which a
    /// back-pointer of `oid` leads, stands in the packed file; 0 when the
    /// object is gone there.
    pub fn target(&self, oid: Oid, position: u64) -> Option<u64> {
        let target = self.targets.get(&position)?;
        (target.oid == oid && (target.moved != 0 || target.is_gone)).then_some(target.moved)
    }

    /// What the records that are kept take, as far as it is known: not
    /// without garbage collection.
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// The index of the packed file, when all that is kept has moved. Fails
    /// when a reachable object was not met on the way.
    pub fn take_index(&mut self) -> Result<Index> {
        if self.found != 0 {
            let what = format!(
                "the index lists {} objects that are not in the file",
                self.found
            );
            return Err(self.objects.reader().corrupt(self.pack_end, what));
        }
        self.objects.forget();
        Ok(std::mem::take(&mut self.index))
    }
}
