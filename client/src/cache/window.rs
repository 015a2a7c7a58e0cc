//! Reading the heads of blocks, several of them with one read where they stand close together.

use std::io;

use zeo_storage::backend::Backend;

use super::format::HEAD;

/// Bytes that are read at a time: a page costs hardly more than a head.
const READ: usize = 4096;
/// The most of them, where one head stands behind the other: then calls cost more than bytes.
const MOST: usize = 1 << 17;

/// Reads heads, from the front of a file to its end.
pub(super) struct Window<'a> {
    file: &'a dyn Backend,
    bytes: Vec<u8>,
    start: u64,
    filled: usize,
    /// How many bytes to read next.
    wanted: usize,
}

impl<'a> Window<'a> {
    pub fn new(file: &'a dyn Backend) -> Self {
        Self {
            file,
            bytes: vec![0; READ],
            start: 0,
            filled: 0,
            wanted: READ,
        }
    }

    /// [`HEAD`] bytes from an offset on, or more, or as many as the file has.
    ///
    /// # Errors
    /// The system's.
    pub fn at(&mut self, offset: u64) -> io::Result<&[u8]> {
        if let Some(from) = self.inside(offset) {
            return Ok(self.bytes.get(from..self.filled).unwrap_or_default());
        }
        // What lies between is small: there may be more of that kind.
        let behind = offset.saturating_sub(self.start + self.filled as u64);
        self.wanted = if behind < READ as u64 {
            (self.wanted * 2).min(MOST)
        } else {
            READ
        };
        self.filled = 0;
        self.bytes.resize(self.wanted, 0);
        self.filled = self.file.read_at(&mut self.bytes, offset)?;
        self.start = offset;
        Ok(self.bytes.get(..self.filled).unwrap_or_default())
    }

    fn inside(&self, offset: u64) -> Option<usize> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (from.checked_add(HEAD)? <= self.filled).then_some(from)
    }
}
