//! Opening a file: one pass over the heads of its blocks, then what must be changed in it.
//!
//! Whatever write is the last before the process is killed, the next one finds a file that it
//! understands, and no record that is not true.

use std::collections::{HashMap, HashSet};
use std::io;

use zeo_proto::{Oid, Tid};
use zeo_storage::backend::Backend;

use super::behind::Batch;
use super::format::{self, Block, Damage, HEAD, HEADER, Head, MAGIC, MAX_BLOCK};
use super::index::Index;
use super::place::Place;
use super::table::Filling;
use super::window::Window;

/// What is known of a file that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub index: Index,
    pub last_tid: Tid,
    /// Where the next record is written: the first free block, as in Python.
    pub at: u64,
    /// How many bytes are free there, if that is known without reading it.
    pub free: Option<u64>,
    /// Records that are still to be written, just before that. The index has them already.
    pub batch: Batch,
}

/// Why a file can't be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("at {at}: {why}")]
    Damage { at: u64, why: Damage },
    #[error("reading: {0}")]
    Read(io::Error),
    #[error("writing: {0}")]
    Write(io::Error),
}

/// Makes an empty cache of a file, whatever it holds.
///
/// # Errors
/// [`Failure::Write`].
pub(super) fn create(file: &dyn Backend, size: u64, last_tid: Tid) -> Result<Opened, Failure> {
    let header = [&MAGIC[..], &last_tid.to_bytes()].concat();
    // An emptied file is a sound one, before and behind each of the two.
    file.truncate(HEADER).map_err(Failure::Write)?;
    file.write_all_at(&header, 0).map_err(Failure::Write)?;
    open(file, size)
}

/// Reads a file's blocks, and makes it `size` bytes large (from 12 to 1 TiB).
///
/// # Errors
/// The file is damaged, or the system's.
pub(super) fn open(file: &dyn Backend, size: u64) -> Result<Opened, Failure> {
    let length = file.len().map_err(Failure::Read)?;
    let last_tid = read_header(file)?;
    let mut scan = Scan {
        file,
        length,
        size,
        index: Index::default(),
        current: Filling::default(),
        first_free: None,
        last: None,
        doubtful: Vec::new(),
    };
    scan.blocks()?;
    scan.choose()?;
    scan.compare()?;
    for (offset, size) in std::mem::take(&mut scan.doubtful) {
        scan.free(offset, size).map_err(Failure::Write)?;
    }
    scan.fit().map_err(Failure::Write)?;
    let at = scan.first_free.unwrap_or(HEADER);
    Ok(Opened {
        index: scan.index,
        last_tid,
        at,
        free: None,
        batch: Batch::default(),
    })
}

fn read_header(file: &dyn Backend) -> Result<Tid, Failure> {
    let damage = |why| Failure::Damage { at: 0, why };
    let mut header = [0; HEADER as usize];
    let read = file.read_at(&mut header, 0).map_err(Failure::Read)?;
    let (magic, tid) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(damage(Damage::Magic));
    }
    if read < header.len() {
        return Err(damage(Damage::Header));
    }
    Tid::from_slice(tid).ok_or(damage(Damage::Header))
}

/// The head of the record at an offset; none if it is a free block.
///
/// # Errors
/// The system's, or there is no block.
pub(super) fn read_block(file: &dyn Backend, offset: u64) -> io::Result<Block> {
    let mut bytes = [0; HEAD];
    let count = file.read_at(&mut bytes, offset)?;
    format::decode(bytes.get(..count).unwrap_or_default()).map_err(io::Error::other)
}

struct Scan<'a> {
    file: &'a dyn Backend,
    /// Of the file, as it was.
    length: u64,
    /// Of the file, as it shall be.
    size: u64,
    index: Index,
    /// The current records; they come into the index when all are there.
    current: Filling,
    first_free: Option<u64>,
    /// The last block: its offset, and the record that it is.
    last: Option<(u64, u64, Option<Head>)>,
    /// Records that can't be relied on: offset and size.
    doubtful: Vec<(u64, u64)>,
}

impl Scan<'_> {
    /// Reads the heads of all blocks that begin before the new end.
    fn blocks(&mut self) -> Result<(), Failure> {
        let mut window = Window::new(self.file);
        let mut at = HEADER;
        let end = self.length.min(self.size);
        while at < end {
            let damage = |why| Failure::Damage { at, why };
            let bytes = window.at(at).map_err(Failure::Read)?;
            let is_f = bytes.first() == Some(&b'f');
            let block = format::decode(bytes).map_err(damage)?;
            let size = match block {
                Block::Record(head) => {
                    let size = head.size();
                    if at + size <= end {
                        self.add(&head, at).map_err(Failure::Read)?;
                    } else if end < self.size {
                        return Err(damage(Damage::Cut));
                    }
                    self.last = Some((at, size, Some(head)));
                    size
                }
                Block::Free(size) => {
                    if is_f && size < 5 && at + size < end {
                        return Err(damage(Damage::Size));
                    }
                    let size = self.split(at, size).map_err(Failure::Write)?;
                    self.first_free.get_or_insert(at);
                    self.last = Some((at, size, None));
                    size
                }
            };
            at += size;
        }
        Ok(())
    }

    /// Two blocks of one that is too large; it is the room of a record that was never written.
    fn split(&mut self, at: u64, size: u64) -> io::Result<u64> {
        if size <= MAX_BLOCK {
            return Ok(size);
        }
        let second = at + MAX_BLOCK;
        if second < self.length {
            self.file
                .write_all_at(&format::free(size - MAX_BLOCK), second)?;
        }
        self.file.write_all_at(&format::free(MAX_BLOCK), at)?;
        Ok(MAX_BLOCK)
    }

    fn add(&mut self, head: &Head, at: u64) -> io::Result<()> {
        if head.end.is_none() {
            self.current.push(head.oid, Place::new(at, head.size()));
            return Ok(());
        }
        if let Some(other) = self.index.insert(head, at)
            && let Block::Record(other_head) = read_block(self.file, other.offset())?
        {
            self.doubtful.push((other.offset(), other_head.size()));
        }
        Ok(())
    }

    /// Makes the table of current records, one of each object. Python's client leaves two, when an
    /// object is stored twice in one transaction: the younger one is right, or else the last.
    fn choose(&mut self) -> Result<(), Failure> {
        let mut records = std::mem::take(&mut self.current);
        let mut chosen: HashMap<Oid, (u64, Head)> = HashMap::new();
        let mut dropped = HashSet::new();
        for place in records.doubles() {
            let at = place.offset();
            let Block::Record(head) = read_block(self.file, at).map_err(Failure::Read)? else {
                continue;
            };
            let other = chosen.get(&head.oid).copied();
            let (at, head) = match other {
                Some((_, other)) if head.start < other.start => (at, head),
                other => {
                    chosen.insert(head.oid, (at, head));
                    let Some(other) = other else { continue };
                    other
                }
            };
            dropped.insert(at);
            self.doubtful.push((at, head.size()));
        }
        self.index.current = records.into_table(|place| !dropped.contains(&place.offset()));
        Ok(())
    }

    fn current(&self, oid: Oid) -> io::Result<Option<(u64, Head)>> {
        for place in self.index.current.find(oid) {
            match read_block(self.file, place.offset())? {
                Block::Record(head) if head.oid == oid => return Ok(Some((place.offset(), head))),
                _ => {}
            }
        }
        Ok(None)
    }

    fn drop_record(&mut self, offset: u64, head: &Head) {
        self.index.remove(head, offset);
        self.doubtful.push((offset, head.size()));
    }

    /// A record that claims to be current must be younger than all that are not. Python's client
    /// leaves another one, when an object is stored twice in one transaction and changed later.
    fn compare(&mut self) -> Result<(), Failure> {
        let mut oids: Vec<Oid> = self.index.noncurrent.keys().map(|&(oid, _)| oid).collect();
        oids.dedup();
        for oid in oids {
            let current = self.current(oid).map_err(Failure::Read)?;
            let newest = self.index.newest_noncurrent(oid);
            if let Some((offset, head)) = current
                && newest.is_some_and(|newest| newest >= head.start)
            {
                self.drop_record(offset, &head);
            }
        }
        Ok(())
    }

    fn free(&mut self, offset: u64, size: u64) -> io::Result<()> {
        self.first_free = Some(self.first_free.map_or(offset, |first| first.min(offset)));
        if let Some((last, _, record)) = &mut self.last
            && *last == offset
        {
            *record = None;
        }
        self.file.write_all_at(&format::free(size), offset)
    }

    /// Makes the file as large as it shall be, with a free block at its end.
    fn fit(&mut self) -> io::Result<()> {
        if self.length < self.size {
            return self.grow();
        }
        let Some((offset, size, record)) = self.last else {
            return self.cut();
        };
        let end = offset + size;
        if let Some(head) = record.filter(|_| end >= self.size) {
            // It is not complete; or Python could not make the file larger, would it end here.
            self.index.remove(&head, offset);
            self.free(offset, size)?;
        }
        if end > self.size {
            // The part that goes becomes a block of its own first.
            if self.size < self.length {
                let gone = format::free(end - self.size);
                self.file.write_all_at(&gone, self.size)?;
            }
            self.file
                .write_all_at(&format::free(self.size - offset), offset)?;
        }
        self.cut()
    }

    fn cut(&mut self) -> io::Result<()> {
        if self.length > self.size {
            self.file.truncate(self.size)?;
            self.file.sync()?;
        }
        Ok(())
    }

    fn grow(&mut self) -> io::Result<()> {
        // A last free block may reach behind the file's end, where Python has made it larger.
        let start = match self.last {
            Some((offset, _, None)) => offset,
            _ => self.length,
        };
        let mut at = start;
        while at < self.size {
            let block = (self.size - at).min(MAX_BLOCK);
            self.file.write_all_at(&format::free(block), at)?;
            at += block;
        }
        if self.file.len()? < self.size {
            self.file.write_all_at(b"x", self.size - 1)?;
        }
        self.first_free = Some(start);
        self.file.sync()
    }
}
