//! A record that may be read in pieces.

use std::fmt;
use std::sync::Arc;

use zeo_proto::Oid;

use super::revision::{Data, Revision};
use crate::disk::backend::Backend;
use crate::error::ReadFailed;
use crate::{Error, Result};

/// The bytes of a record: read already, or, of a large one, still where they are stored.
#[derive(Debug)]
pub enum OpenData {
    /// They are in memory.
    Read(Data),
    /// They are in a file.
    Unread(Unread),
}

impl OpenData {
    /// How many bytes the record has.
    pub fn len(&self) -> usize {
        match self {
            Self::Read(data) => data.len(),
            Self::Unread(unread) => unread.len(),
        }
    }

    /// True for a record without bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the whole record.
    ///
    /// # Errors
    /// Those of [`Unread::read`].
    pub fn read(self) -> Result<Data> {
        match self {
            Self::Read(data) => Ok(data),
            Self::Unread(mut unread) => {
                let mut buffer = Vec::new();
                unread.read(&mut buffer, usize::MAX)?;
                Ok(buffer.into())
            }
        }
    }
}

/// A record that stands in a file, whose header was read and checked. Keeps the file open, also when
/// a pack puts another one in its place; nothing else of the storage.
pub struct Unread {
    backend: Arc<dyn Backend>,
    oid: Oid,
    position: u64,
    length: usize,
}

impl Unread {
    /// The `length` bytes at `position`, which do not change any more.
    pub fn new(backend: Arc<dyn Backend>, oid: Oid, position: u64, length: usize) -> Self {
        Self {
            backend,
            oid,
            position,
            length,
        }
    }

    /// How many bytes are still to be read.
    pub fn len(&self) -> usize {
        self.length
    }

    /// True when all are read.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends the next bytes to `buffer`: `most`, or all that are left.
    ///
    /// # Errors
    /// `Io` and `Corrupt`: the file can't be read there, or has become shorter. Then nothing is
    /// appended.
    pub fn read(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<()> {
        let (before, count) = (buffer.len(), self.length.min(most));
        buffer.reserve_exact(count);
        buffer.resize(before + count, 0);
        let to = buffer.get_mut(before..).unwrap_or_default();
        match self.backend.read_at(to, self.position) {
            Ok(found) if found == count => {
                self.position += count as u64;
                self.length -= count;
                Ok(())
            }
            failed => {
                buffer.truncate(before);
                Err(self.failure(failed.err()))
            }
        }
    }

    fn failure(&self, why: Option<std::io::Error>) -> Error {
        let (file, position) = (self.backend.path().to_owned(), self.position);
        let error = match why {
            Some(source) => Error::Io {
                doing: "reading",
                file,
                source: ReadFailed::at(position, source),
            },
            None => Error::Corrupt {
                file,
                position,
                what: "the file ends within the record".to_owned(),
            },
        };
        error.of_object(self.oid)
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes to be read", self.length)
    }
}

impl From<Revision> for Revision<OpenData> {
    fn from(revision: Revision) -> Self {
        Self {
            data: OpenData::Read(revision.data),
            serial: revision.serial,
            next: revision.next,
        }
    }
}

impl Revision<OpenData> {
    /// Reads the whole record.
    ///
    /// # Errors
    /// Those of [`OpenData::read`].
    pub fn read(self) -> Result<Revision> {
        Ok(Revision {
            data: self.data.read()?,
            serial: self.serial,
            next: self.next,
        })
    }
}
