//! The current records of a file.
//!
//! An object takes 4 to 6 bytes in the index, and 8 in the list of
//! positions, by which records are read in the order of the file.

use zeo_proto::Oid;

use crate::file_storage::format::window::Window;
use crate::file_storage::format::{END_MAX, Reader};
use crate::file_storage::index::{Index, POSITION_END};
use crate::{Error, Result};

/// How much of the file is read at once.
const READ_CHUNK_BYTES: usize = 1 << 15;
/// Marks of an object that is gone, or can't be read, above its position.
const UNDONE: u64 = POSITION_END >> 1;
const UNREADABLE: u64 = POSITION_END >> 2;
const _: () = assert!(UNREADABLE >= END_MAX);

/// Why a reference to an object is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// There is no such object.
    Missing,
    /// Its current record says that it is gone.
    Undone,
    /// Its current record can't be read.
    Unreadable,
}

impl Invalid {
    /// In the words of fsrefs.
    pub fn words(self) -> &'static str {
        match self {
            Invalid::Missing => "missing",
            Invalid::Undone => "object creation was undone",
            Invalid::Unreadable => "failed to load",
        }
    }
}

/// The current records, by the index of a file.
pub struct Graph<'a> {
    reader: Reader<'a>,
    /// Positions, and marks.
    index: Index,
}

impl<'a> Graph<'a> {
    /// The records that the index names, all of which `reader` sees.
    pub fn new(reader: Reader<'a>, index: Index) -> Self {
        Self { reader, index }
    }

    /// How many objects there are.
    pub fn len(&self) -> u64 {
        self.index.len()
    }

    /// All objects with their positions, while nothing is marked.
    pub fn unmarked(&self) -> impl Iterator<Item = (Oid, u64)> + '_ {
        self.index.iter()
    }

    /// Where the current record of an object stands; or why there is none.
    pub fn position(&self, oid: Oid) -> std::result::Result<u64, Invalid> {
        match self.index.get(oid) {
            None => Err(Invalid::Missing),
            Some(word) if word & UNDONE != 0 => Err(Invalid::Undone),
            Some(word) if word & UNREADABLE != 0 => Err(Invalid::Unreadable),
            Some(position) => Ok(position),
        }
    }

    /// Notes that the current record of the object says that it is gone.
    pub fn mark_undone(&mut self, oid: Oid) {
        self.mark(oid, UNDONE);
    }

    /// Notes that the object can't be read.
    pub fn mark_unreadable(&mut self, oid: Oid) {
        self.mark(oid, UNREADABLE);
    }

    fn mark(&mut self, oid: Oid, mark: u64) {
        if let Some(position) = self.index.get(oid) {
            self.index.set(oid, position | mark);
        }
    }

    /// A window for records here and there.
    pub fn window(&self) -> Window<'a> {
        Window::new(self.reader, READ_CHUNK_BYTES)
    }
}

/// Damage as a text of its own; other errors are passed on.
pub fn damage<T>(result: Result<T>) -> Result<std::result::Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Corrupt { position, what, .. }) => Ok(Err(format!("at {position}: {what}"))),
        Err(error) => Err(error),
    }
}
