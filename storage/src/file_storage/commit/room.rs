//! Room that is prepared behind the last transaction, so that the sync of a
//! batch need not make the file longer, which also writes the file system's
//! journal.
//!
//! The sync that finds no room left makes some: the batch is followed by a mark
//! and zeros (`format/room.rs`), which it makes durable along with the batch.
//! The batches to come are written over them.
//!
//! What always holds, between any two system calls and after a kill:
//!
//! 1. Room begins with a mark, right behind the last transaction that is
//!    finished or was begun, and all behind the mark is zeros. So whoever reads
//!    the file, Python too, knows where it ends.
//! 2. Until all of a batch is written, with the new mark behind it, an
//!    unfinished transaction (`c`) stands in the place of the old mark: either
//!    that, or the first one of the batch, which gets its status last. So a
//!    reader at the same time sees all of the batch or nothing. (Where a file
//!    only grows, its length does that.)
//! 3. Only who holds `writer` writes here. So no zeros are written over a
//!    batch.
//!
//! After a power cut, sectors of the last batch are there or not, in any order,
//! as they always may be; the seals tell (`open/torn.rs`). None of that needs
//! the zeros to be durable: what was acknowledged is before them.

use std::io;
use std::sync::Arc;

use zeo_proto::Tid;

use super::space::Space;
use crate::Result;
use crate::disk::backend::Backend;
use crate::disk::paths::failed;
use crate::file_storage::format::STATUS_OFFSET;
use crate::file_storage::format::room::{MARK_LEN, ROOM_MAX_BYTES, mark};
use crate::log::{Level, Log};

/// Zeros are written in pieces of this.
const ZEROS_BYTES: u64 = 1 << 16;

/// The room behind the end of the file.
pub(crate) struct Room {
    /// How much is prepared at a time, in bytes; 0: none.
    size: u64,
    /// Where it ends, and the file. There is some if that is behind the last
    /// transaction.
    end: u64,
    /// Where the transaction stands that took the place of the mark, and the
    /// status that it is to get.
    held: Option<(u64, u8)>,
    space: Arc<Space>,
    log: Log,
}

impl Room {
    /// None yet; `size` bytes are to be prepared at a time, or none if that is
    /// 0.
    pub fn new(size: u64, space: Arc<Space>, log: Log) -> Self {
        Self {
            size: size.min(ROOM_MAX_BYTES),
            end: 0,
            held: None,
            space,
            log,
        }
    }

    /// Whether there is some behind the transactions, which end here.
    pub fn is_behind(&self, end: u64) -> bool {
        self.end > end
    }

    /// It was cut off, or the file is another one.
    pub fn forget(&mut self) {
        self.end = 0;
        self.held = None;
    }

    /// These bytes of a batch are about to be written at `position`. The first
    /// ones take the place of the mark: their transaction stays unfinished.
    pub fn hold(&mut self, position: u64, bytes: &mut [u8]) {
        if self.held.is_none()
            && self.is_behind(position)
            && let Some(status) = bytes.get_mut(STATUS_OFFSET as usize)
        {
            self.held = Some((position, std::mem::replace(status, b'c')));
        }
    }

    /// Adds the mark to what is written up to `end`, if there is room behind.
    pub fn mark(&self, end: u64, last: Tid, bytes: &mut Vec<u8>) {
        if self.has_mark(end) {
            bytes.extend_from_slice(&mark(last));
        }
    }

    fn has_mark(&self, end: u64) -> bool {
        end.saturating_add(MARK_LEN as u64) <= self.end
    }

    /// Prepares more behind `end`, up to where all is written, if none is left
    /// there. When that fails, the file ends there, as long as it is open.
    ///
    /// # Errors
    /// What was begun can't be cut off.
    pub fn renew(&mut self, backend: &dyn Backend, end: u64, last: Tid) -> Result<()> {
        if self.size == 0 || self.has_mark(end) {
            return Ok(());
        }
        let to = end
            .saturating_add(MARK_LEN as u64)
            .saturating_add(self.size);
        let reserved = self.space.prepare(to);
        let is_begun = reserved.is_ok() || self.is_behind(end);
        match reserved.and_then(|()| write(backend, end, to, last)) {
            Ok(()) => self.end = to,
            Err(error) => {
                let what = format!("no room is prepared any more (--prepare-room): {error}");
                (self.log)(Level::Warning, &what);
                self.size = 0;
                self.end = 0;
                if is_begun {
                    let cut = backend.truncate(end);
                    cut.map_err(failed("cutting off prepared room from", backend.path()))?;
                    self.space.cut_at(end);
                }
            }
        }
        Ok(())
    }

    /// All of the batch is written: its first transaction gets its status.
    pub fn release(&mut self, backend: &dyn Backend) -> io::Result<()> {
        match self.held.take() {
            Some((position, status)) if status != b'c' => {
                backend.write_all_at(&[status], position.saturating_add(STATUS_OFFSET))
            }
            _ => Ok(()),
        }
    }
}

fn write(backend: &dyn Backend, start: u64, end: u64, last: Tid) -> Result<()> {
    let (mut at, mut piece) = (start, mark(last).to_vec());
    while at < end {
        let length = end.saturating_sub(at).min(ZEROS_BYTES);
        piece.resize(usize::try_from(length).unwrap_or_default(), 0);
        let written = backend.write_all_at(&piece, at);
        written.map_err(failed("writing zeros to", backend.path()))?;
        at = at.saturating_add(length);
        piece.clear();
    }
    Ok(())
}
