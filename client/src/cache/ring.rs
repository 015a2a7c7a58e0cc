//! Writing into the file: a ring, in which new records take the place of the oldest ones.
//!
//! A free block stands behind the newest record, so that who opens the file goes on there.
//!
//! Records that come one after the other are written together: they wait in a batch until the next
//! change of another kind, or until [`Ring::flush`]. They are written as free room, and become
//! records by one write of 5 bytes behind that. Until then the file is that of a moment before.
//!
//! No step leaves a record in the file that is not in the index: it would not be invalidated, and
//! the next process would take it for current. (Those whose room a batch takes are in the file as
//! long as it waits; and what could make them untrue is a change of another kind.)

use std::io;

use zeo_proto::Tid;

use super::behind::FULL;
use super::format::{self, Block, Damage, END_TID, HEADER, Head, MAGIC};
use super::open::{Opened, read_block};
use super::place::Place;
use super::stats::Stats;
use zeo_storage::backend::Backend;

/// A file with what is known of it.
pub(super) struct Ring<'a> {
    pub file: &'a dyn Backend,
    /// Of the file, in bytes.
    pub size: u64,
    pub opened: &'a mut Opened,
    /// Nobody else opens the file, now or later: each write is one, and what was written is known.
    pub temporary: bool,
    pub stats: &'a mut Stats,
}

impl Ring<'_> {
    /// Adds a record to the batch, in place of what stands where the ring has come to. It must be
    /// smaller than the file without its header. A batch that is full is written.
    ///
    /// # Errors
    /// The system's, or the file was changed by another: it must be begun anew.
    pub fn write(&mut self, head: &Head, data: &[u8]) -> io::Result<()> {
        if self.opened.batch.bytes.len() as u64 + head.size() > FULL as u64 {
            self.flush()?;
        }
        // One byte more, for the free block behind.
        self.make_room(head.size() + 1)?;
        let at = self.opened.at;
        self.opened.batch.push(head, data);
        self.opened.at += head.size();
        if let Some(same) = self.opened.index.insert(head, at) {
            self.flush()?;
            self.free_at(same)?;
        }
        if self.opened.batch.bytes.len() >= FULL {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the batch.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self) -> io::Result<()> {
        let batch = &mut self.opened.batch;
        if batch.is_empty() {
            return Ok(());
        }
        let (start, left) = (batch.start, batch.left());
        batch.bytes.extend_from_slice(&format::free(left));
        let mut bytes = std::mem::take(&mut batch.bytes);
        self.opened.free = self.temporary.then_some(left);
        if self.temporary {
            self.file.write_all_at(&bytes, start)?;
        } else {
            // Free room, until all records are complete.
            let free = format::head(b'f', batch.room);
            let Some(first) = bytes.first_chunk_mut::<5>() else {
                return Ok(());
            };
            let record = *first;
            first.copy_from_slice(&free);
            self.file.write_all_at(&bytes, start)?;
            self.file.write_all_at(&record, start)?;
        }
        if bytes.capacity() <= 2 * FULL {
            bytes.clear();
            self.opened.batch.bytes = bytes;
        }
        Ok(())
    }

    /// Takes whole blocks out of the index until there are so many bytes behind the batch.
    fn make_room(&mut self, wanted: u64) -> io::Result<()> {
        if self.opened.at + wanted > self.size {
            self.flush()?;
            self.opened.at = HEADER;
            self.opened.free = None;
        }
        let start = self.opened.at;
        let mut end = start;
        if !self.opened.batch.is_empty() {
            end += self.opened.batch.left();
        } else if let Some(free) = self.opened.free {
            end += free;
        }
        while end < start + wanted {
            let size = match read_block(self.file, end)? {
                Block::Free(size) => size,
                Block::Record(head) => {
                    if self.opened.index.remove(&head, end) {
                        self.stats.evictions += 1;
                        self.stats.evicted_bytes += head.size();
                    }
                    head.size()
                }
            };
            end += size;
            if end > self.size {
                return Err(io::Error::other(Damage::Cut));
            }
        }
        let batch = &mut self.opened.batch;
        if batch.is_empty() {
            batch.start = start;
        }
        batch.room = end - batch.start;
        Ok(())
    }

    /// Frees a record that the index no longer has.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn free(&mut self, offset: u64, head: &Head) -> io::Result<()> {
        self.flush()?;
        self.file.write_all_at(&format::free(head.size()), offset)
    }

    /// Frees what stands at a place that the index no longer has.
    fn free_at(&mut self, place: Place) -> io::Result<()> {
        match read_block(self.file, place.offset())? {
            Block::Record(head) => self.free(place.offset(), &head),
            Block::Free(_) => Ok(()),
        }
    }

    /// Gives a current record its end.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn end(&mut self, offset: u64, head: &Head, tid: Tid) -> io::Result<()> {
        self.flush()?;
        self.opened.index.remove(head, offset);
        self.file.write_all_at(&tid.to_bytes(), offset + END_TID)?;
        let ended = Head {
            end: Some(tid),
            ..*head
        };
        match self.opened.index.insert(&ended, offset) {
            Some(same) => self.free_at(same),
            None => Ok(()),
        }
    }

    /// Writes the last tid.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn set_last_tid(&mut self, tid: Tid) -> io::Result<()> {
        self.flush()?;
        self.file.write_all_at(&tid.to_bytes(), MAGIC.len() as u64)
    }
}
