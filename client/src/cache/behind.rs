//! Records that are written together: the next ones of the ring, before they are in the file.

use super::format::{self, Head};

/// A batch of so many bytes is written; a larger record makes one of its own.
pub(super) const FULL: usize = 64 << 10;

/// The next records, one behind the other as they will stand in the file.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Where the first one will stand.
    pub start: u64,
    pub bytes: Vec<u8>,
    /// How many bytes are free from `start` on; more than there are records.
    pub room: u64,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the record at an offset is one of these.
    pub fn has(&self, offset: u64) -> bool {
        (self.start..self.start + self.bytes.len() as u64).contains(&offset)
    }

    /// How many bytes are free behind the last record.
    pub fn left(&self) -> u64 {
        self.room - self.bytes.len() as u64
    }

    pub fn push(&mut self, head: &Head, data: &[u8]) {
        format::encode(&mut self.bytes, head, data);
    }
}
