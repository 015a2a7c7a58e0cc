//! The content of data files and of the file that is backed up, piece by
//! piece.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};

use super::error::{Error, Result};
use super::name::Name;
use super::repository::Repository;
use crate::disk::backend::Backend;
use crate::disk::paths::{failed, hex};

/// How much is read at a time, of files in the repository and of others.
pub(super) const READ_CHUNK_BYTES: usize = 1 << 18;

/// An MD5 that is being computed, and how much went into it.
#[derive(Default)]
pub struct Sum {
    hasher: Md5,
    /// How many bytes.
    pub size: u64,
}

impl Sum {
    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
    }

    /// The sum in hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.hasher.finalize())
    }
}

/// What a data file holds, out of its compression.
pub struct Content {
    input: Box<dyn Read>,
    path: PathBuf,
    piece: Vec<u8>,
    read: Rc<Cell<u64>>,
}

/// Counts what is read.
struct Counted {
    file: File,
    read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(buffer)?;
        self.read.set(self.read.get().saturating_add(got as u64));
        Ok(got)
    }
}

impl Content {
    /// Opens a data file.
    pub fn open(repository: &Repository, name: &Name) -> Result<Self> {
        let path = repository.path(name.as_str());
        let file = File::open(&path).map_err(failed("opening", &path))?;
        let read = Rc::new(Cell::new(0));
        let file = Counted {
            file,
            read: Rc::clone(&read),
        };
        let input: Box<dyn Read> = if name.is_zipped() {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let piece = vec![0; READ_CHUNK_BYTES];
        Ok(Self {
            input,
            path,
            piece,
            read,
        })
    }

    /// How much of the file was read, compressed as it may be.
    pub fn read(&self) -> u64 {
        self.read.get()
    }

    /// The next bytes; none at the end.
    pub fn next(&mut self) -> Result<&[u8]> {
        loop {
            match self.input.read(&mut self.piece) {
                Ok(got) => return Ok(self.piece.get(..got).unwrap_or_default()),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(failed("reading", &self.path)(why).into()),
            }
        }
    }
}

/// Passes on what a file holds from `start` to `end`, in pieces. Fails when
/// it ends before.
pub fn read_range(
    backend: &dyn Backend,
    start: u64,
    end: u64,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; READ_CHUNK_BYTES];
    let mut at = start;
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(READ_CHUNK_BYTES);
        piece.truncate(left.min(READ_CHUNK_BYTES));
        read_exact(backend, &mut piece, at)?;
        take(&piece)?;
        at = at.saturating_add(piece.len() as u64);
    }
    Ok(())
}

/// Fills `buffer` from a position of a file, or fails.
pub fn read_exact(backend: &dyn Backend, buffer: &mut [u8], position: u64) -> Result<()> {
    let got = backend.read_at(buffer, position);
    match got.map_err(failed("reading", backend.path()))? {
        got if got == buffer.len() => Ok(()),
        _ => Err(Error::Shrunk(backend.path().to_owned())),
    }
}

/// A data file that is being written.
pub enum Output {
    /// As it is.
    Plain(BufWriter<File>),
    /// In gzip.
    Zipped(Box<GzEncoder<BufWriter<File>>>),
}

impl Output {
    /// Creates the file at `path`, in place of an older one.
    pub fn create(path: &Path, is_zipped: bool) -> Result<Self> {
        let file = File::create(path).map_err(failed("creating", path))?;
        let out = BufWriter::with_capacity(READ_CHUNK_BYTES, file);
        Ok(if is_zipped {
            Self::Zipped(Box::new(GzEncoder::new(out, Compression::default())))
        } else {
            Self::Plain(out)
        })
    }

    /// Writes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Zipped(out) => out.write_all(bytes),
        }
    }

    /// Ends and syncs the file.
    pub fn finish(self) -> io::Result<()> {
        let out = match self {
            Self::Plain(out) => out,
            Self::Zipped(out) => out.finish()?,
        };
        out.into_inner()?.sync_all()
    }
}
