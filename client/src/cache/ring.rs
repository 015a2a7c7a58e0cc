//! Writing into the file: a ring, in which new records take the place of the oldest ones.
//!
//! A free block stands behind the newest record, so that who opens the file goes on there.
//!
//! No step leaves a record in the file that is not in the index: it would not be invalidated, and
//! the next process would take it for current.

use std::io;

use zeo_proto::Tid;

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
    /// Writes a record, in place of what stands where the ring has come to. It must be smaller than
    /// the file without its header.
    ///
    /// # Errors
    /// The system's, or the file was changed by another: it must be begun anew.
    pub fn write(&mut self, head: &Head, data: &[u8]) -> io::Result<()> {
        // One byte more, for the free block behind.
        let room = self.make_room(head.size() + 1)?;
        let at = self.opened.at;
        self.opened.free = None;
        let mut bytes = format::encode(head, data, room);
        let record = format::head(b'a', head.size());
        if self.temporary {
            bytes.splice(..record.len(), record);
            self.file.write_all_at(&bytes, at)?;
        } else {
            // Free room, until the record is complete.
            self.file.write_all_at(&bytes, at)?;
            self.file.write_all_at(&record, at)?;
        }
        self.opened.at += head.size();
        self.opened.free = self.temporary.then_some(room - head.size());
        if let Some(same) = self.opened.index.insert(head, at) {
            self.free_at(same)?;
        }
        Ok(())
    }

    /// Takes whole blocks out of the index until there are so many bytes, and returns how many.
    fn make_room(&mut self, wanted: u64) -> io::Result<u64> {
        if self.opened.at + wanted > self.size {
            self.opened.at = HEADER;
            self.opened.free = None;
        }
        if let Some(free) = self.opened.free
            && free >= wanted
        {
            return Ok(free);
        }
        let start = self.opened.at;
        let mut end = start;
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
        Ok(end - start)
    }

    /// Frees a record that the index no longer has.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn free(&mut self, offset: u64, head: &Head) -> io::Result<()> {
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
        self.file.write_all_at(&tid.to_bytes(), MAGIC.len() as u64)
    }
}
