//! Where the bytes of a storage live: a file, memory, or (in tests) a disk
//! that fails.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Positioned access to one growing sequence of bytes. Reads may come from
/// any thread at any time; writes, truncation and sync from one at a time.
pub trait Backend: Send + Sync {
    /// The path, for messages.
    fn path(&self) -> &Path;
    /// Reads at `position` into `buffer` as much as there is, up to its
    /// length; less only at the end.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `position`.
    ///
    /// # Errors
    /// Those of the system; then some of the bytes may be written.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Returns when everything written before will survive a power cut.
    ///
    /// # Errors
    /// Those of the system; then it is not known what would survive.
    fn sync(&self) -> io::Result<()>;

    /// Cuts off everything from `length` on, room that was reserved as well.
    ///
    /// # Errors
    /// Those of the system.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn len(&self) -> io::Result<u64>;

    /// True when there are no bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Makes sure that writes up to `end` can't fail for want of space,
    /// without changing the length. `start` is where the last call, or the
    /// data, ended.
    ///
    /// # Errors
    /// There is no room, or the system can't tell.
    fn reserve(&self, start: u64, end: u64) -> io::Result<()>;

    /// An empty backend of the same kind, to pack into, where that needs no
    /// name: `None` says that it does.
    fn sibling(&self) -> Option<Arc<dyn Backend>> {
        None
    }
}

/// Opens a file to read it, and nothing else that has a name: some would have to be waited for.
///
/// # Errors
/// It can't be opened, or is not a regular file.
pub fn open_file(path: &Path) -> io::Result<File> {
    let kind = std::fs::metadata(path)?;
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => File::open(path),
        (_, true) => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::other("it is not a regular file")),
    }
}

/// A file on disk.
#[derive(Debug)]
pub struct FileBackend {
    file: File,
    path: PathBuf,
}

impl FileBackend {
    /// A backend over an open file; `path` is for messages.
    pub fn new(file: File, path: PathBuf) -> Self {
        Self { file, path }
    }
}

impl Backend for FileBackend {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self
                .file
                .read_at(rest, position.saturating_add(done as u64))
            {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn reserve(&self, start: u64, end: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        let Some(length) = end.checked_sub(start).filter(|&length| length > 0) else {
            return Ok(());
        };
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, start, length) {
            // A file system that can't reserve: the write itself will tell.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }
}

/// Bytes in memory, gone with the process.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    bytes: RwLock<Vec<u8>>,
}

impl Backend for MemoryBackend {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        let from = bytes.get(start..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_all_at(&self, new: &[u8], position: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(position).map_err(io::Error::other)?;
        let end = start
            .checked_add(new.len())
            .ok_or(io::ErrorKind::OutOfMemory)?;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(new);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self
            .bytes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64)
    }

    fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
        Ok(())
    }

    fn sibling(&self) -> Option<Arc<dyn Backend>> {
        Some(Arc::new(Self::default()))
    }
}
