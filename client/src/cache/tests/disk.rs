//! A file in memory that remembers each write, and fails when it is told to.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use zeo_proto::Tid;
use zeo_storage::backend::Backend;
use zeo_storage::log::silent;

use crate::cache::Cache;
use crate::cache::open::{self, Failure};

/// One change of the file.
#[derive(Clone, Debug)]
pub enum Write {
    At(u64, Vec<u8>),
    Truncate(u64),
}

/// The file.
#[derive(Debug, Default)]
pub struct Disk {
    bytes: Mutex<Vec<u8>>,
    writes: Mutex<Vec<Write>>,
    /// So many writes succeed; the next ones fail.
    left: AtomicU64,
    /// So many bytes of the first write that fails are written.
    part: AtomicU64,
    /// Reads fail, too.
    unreadable: AtomicU64,
}

impl Disk {
    pub fn new(bytes: Vec<u8>) -> Arc<Self> {
        let (bytes, left) = (Mutex::new(bytes), AtomicU64::new(u64::MAX));
        Arc::new(Self {
            bytes,
            left,
            ..Self::default()
        })
    }

    pub fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap()
    }

    /// The writes since this was asked last.
    pub fn take_writes(&self) -> Vec<Write> {
        std::mem::take(&mut *self.writes.lock().unwrap())
    }

    /// Lets so many writes succeed, and `part` bytes of the next one.
    pub fn fail_after(&self, writes: u64, part: u64) {
        self.left.store(writes, Relaxed);
        self.part.store(part, Relaxed);
    }

    pub fn fail_reads(&self, fails: bool) {
        self.unreadable.store(fails.into(), Relaxed);
    }

    fn may_write(&self) -> bool {
        self.left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    fn apply(&self, write: Write) {
        apply(&mut self.bytes(), &write);
        self.writes.lock().unwrap().push(write);
    }
}

/// Makes a change in an image of the file.
pub fn apply(image: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Truncate(length) => image.resize(*length as usize, 0),
        Write::At(at, bytes) => {
            let (start, end) = (*at as usize, *at as usize + bytes.len());
            image.resize(image.len().max(end), 0);
            image[start..end].copy_from_slice(bytes);
        }
    }
}

impl Backend for Disk {
    fn path(&self) -> &Path {
        Path::new("memory.zec")
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if self.unreadable.load(Relaxed) != 0 {
            return Err(io::Error::other("a broken disk"));
        }
        let bytes = self.bytes();
        let from = bytes.get(position as usize..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if self.may_write() {
            self.apply(Write::At(position, bytes.to_vec()));
            return Ok(());
        }
        let part = self.part.swap(0, Relaxed).min(bytes.len() as u64) as usize;
        if part > 0 {
            self.apply(Write::At(position, bytes[..part].to_vec()));
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        if !self.may_write() {
            return Err(io::Error::other("a broken disk"));
        }
        self.apply(Write::Truncate(length));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A new cache in a file in memory.
pub fn create(size: u64) -> (Arc<Disk>, Cache) {
    let disk = Disk::new(Vec::new());
    let opened = open::create(&*disk, size, Tid::ZERO).unwrap();
    (disk.clone(), Cache::new(disk, size, opened, silent()))
}

/// The cache in an image of a file.
pub fn reopen(image: Vec<u8>, size: u64) -> Result<(Arc<Disk>, Cache), Failure> {
    let disk = Disk::new(image);
    let opened = open::open(&*disk, size)?;
    Ok((disk.clone(), Cache::new(disk, size, opened, silent())))
}
