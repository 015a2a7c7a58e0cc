//! A file of a FileStorage as tools look at it: read-only, without a lock,
//! also while a server writes to it.

use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::holes::Holes;
use crate::disk::backend::{Backend, FileBackend, open_file};
use crate::disk::paths::{beside, failed, resolve};
use crate::file_storage::format::room::data_end;
use crate::file_storage::format::verify::{sound, verify_seal};
use crate::file_storage::format::walk::{Backwards, Txn};
use crate::file_storage::format::window::Window;
use crate::file_storage::format::{DATA_HEADER_LEN, FIRST, MAGIC, MAGIC_PYTHON_2, Reader};
use crate::file_storage::index;
use crate::file_storage::open::saved_index;
use crate::file_storage::open::torn::Known;
use crate::log::silent;
use crate::{Error, Result};

/// A `Data.fs`, opened for reading. Nothing beside it is needed or touched.
///
/// What is appended later is not seen, and a pack that puts another file in
/// its place does not disturb it. A server may be writing the last
/// transactions that are seen: [`DataFile::is_in_use`] tells.
pub struct DataFile {
    backend: Arc<dyn Backend>,
    size: u64,
    magic: [u8; 4],
    was_in_use: bool,
    /// What a failing disk could not read, if the file was opened for that.
    holes: Option<Arc<Holes>>,
    /// What the index says about the file, once it was read.
    known: OnceLock<Known>,
}

impl DataFile {
    /// Opens the file at `path`. What it holds is not looked at.
    ///
    /// # Errors
    /// There is no such file, it can't be read, or it is longer than a FileStorage can be.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::over(Self::open_backend(path.as_ref())?)
    }

    /// As [`open`](Self::open), on a failing disk: unreadable parts read as
    /// zeros and are listed by [`DataFile::unreadable`]; callers have to look
    /// there.
    ///
    /// # Errors
    /// As for [`DataFile::open`], but for unreadable parts.
    pub fn open_failing(path: impl AsRef<Path>) -> Result<Self> {
        Self::failing(Self::open_backend(path.as_ref())?)
    }

    fn open_backend(path: &Path) -> Result<Arc<dyn Backend>> {
        let path = std::path::absolute(path).map_err(failed("opening", path))?;
        let file = open_file(&path).map_err(failed("opening", &path))?;
        Ok(Arc::new(FileBackend::new(file, path)))
    }

    pub(crate) fn failing(backend: Arc<dyn Backend>) -> Result<Self> {
        let holes = Arc::new(Holes::new(backend));
        let file = Self::over(holes.clone())?;
        Ok(Self {
            holes: Some(holes),
            ..file
        })
    }

    /// As [`open`](Self::open), for any backend.
    ///
    /// # Errors
    /// It can't be read, or is longer than a FileStorage can be.
    pub fn over(backend: Arc<dyn Backend>) -> Result<Self> {
        let was_in_use = is_in_use(backend.path());
        let reading = |doing| failed(doing, backend.path());
        let size = data_end(&*backend).map_err(reading("reading the end of"))?;
        let mut magic = [0; 4];
        backend.read_at(&mut magic, 0).map_err(reading("reading"))?;
        let file = Self {
            backend,
            size,
            magic,
            was_in_use,
            holes: None,
            known: OnceLock::new(),
        };
        file.reader().check_end()?;
        Ok(file)
    }

    /// Checks that the file begins as a FileStorage of Python 3 does.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt): it does not, and what it seems to be.
    pub fn check_magic(&self) -> Result<()> {
        let what = match &self.magic {
            MAGIC => return Ok(()),
            MAGIC_PYTHON_2 => "this is a FileStorage of Python 2; convert it with zodbupdate",
            _ if self.size == 0 => "the file is empty",
            _ => "this is not a FileStorage: it does not begin with FS30",
        };
        Err(self.reader().corrupt(0, what))
    }

    /// Where the file is, as an absolute path.
    pub fn path(&self) -> &Path {
        self.backend.path()
    }

    /// How long the file was when it was opened, in bytes, without the room that
    /// a server may have prepared behind its end.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes, for what needs to own them.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend)
    }

    /// Reads all of it.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            backend: &*self.backend,
            end: self.size,
        }
    }

    /// What a failing disk could not read so far, in order.
    pub fn unreadable(&self) -> Vec<Range<u64>> {
        self.holes
            .as_ref()
            .map_or_else(Vec::new, |holes| holes.all())
    }

    /// The first part of a range that could not be read when it was, and that
    /// in words.
    pub(crate) fn hole_in(&self, range: &Range<u64>) -> Option<(Range<u64>, String)> {
        self.holes.as_ref()?.first_in(range)
    }

    /// The first part that could not be read of what stands at `position` in
    /// place of a transaction, and is wrong at `wrong`.
    pub(crate) fn hole_at(
        &self,
        position: u64,
        wrong: u64,
    ) -> Result<Option<(Range<u64>, String)>> {
        if self.holes.is_none() {
            return Ok(None);
        }
        let read = wrong.saturating_add(DATA_HEADER_LEN + 8);
        let header = sound(self.reader().txn_header(position))?;
        let claimed = header.map(|header| Txn { position, header }.end());
        let end = claimed.filter(|&end| end > read && end <= self.size);
        Ok(self.hole_in(&(position..end.unwrap_or(read))))
    }

    /// The same of a transaction, after all of it is read.
    pub(crate) fn hole_in_txn(
        &self,
        window: &mut Window<'_>,
        txn: &Txn,
    ) -> Result<Option<(Range<u64>, String)>> {
        let mut at = txn.position;
        while self.holes.is_some() && at < txn.end() {
            let length = txn.end().saturating_sub(at).min(window.piece());
            window.bytes(at, length)?;
            at = at.saturating_add(length);
        }
        Ok(self.hole_in(&(txn.position..txn.end())))
    }

    /// True when the file ends in a whole, finished transaction, or in none.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn ends_whole(&self) -> Result<bool> {
        let reader = self.reader();
        let last = match Backwards::new(reader).next() {
            None => return Ok(self.size >= FIRST),
            Some(last) => sound(last)?,
        };
        let Some(last) = last.filter(|last| last.header.is_finished()) else {
            return Ok(false);
        };
        if sound(verify_seal(&reader, &last))?.is_some() {
            return Ok(true);
        }
        Ok(last.position < self.known().accepted)
    }

    /// What the index beside the file tells of it. It is read once, and only
    /// by those who meet something that they can't tell by the file.
    pub(crate) fn known(&self) -> Known {
        *self.known.get_or_init(|| {
            let loaded = index::file::load(&beside(self.path(), ".index"), &*self.backend);
            let loaded = loaded.map_err(|why| why.to_string());
            let start = saved_index::start(&*self.backend, loaded, &silent());
            start.map_or_else(|_| Known::default(), |start| start.known)
        })
    }

    /// Where the file really is that is to be replaced, or made, at `path`: a
    /// symbolic link stays, and leads to the new file.
    ///
    /// # Errors
    ///
    /// `InUse` when a server has the file open, and `Io`.
    pub fn replaceable(path: &Path) -> Result<PathBuf> {
        let file = resolve(path).map_err(failed("opening", path))?;
        if file.exists() && Self::open(path)?.is_in_use() {
            return Err(Error::InUse { file });
        }
        Ok(file)
    }

    /// True when a process holds the lock of this storage, or did when the
    /// file was opened, so that the end of the file may be half written. Takes
    /// no lock to find out. False also where that can't be told.
    pub fn is_in_use(&self) -> bool {
        self.was_in_use || is_in_use(self.path())
    }
}

/// Whether a process has the storage at `path` open for writing: it holds the
/// lock of that file, or of what it leads to. Takes no lock to find out. False
/// also where that can't be told.
pub fn is_in_use(path: &Path) -> bool {
    let data = resolve(path).unwrap_or_else(|_| path.to_owned());
    [path, &data]
        .iter()
        .any(|path| is_held(&beside(path, ".lock")))
}

/// Whether the lock file is locked (`flock`) by the process that it names,
/// by `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 4711 08:01:131086 0 EOF`.
fn is_held(path: &Path) -> bool {
    let Ok(inode) = std::fs::metadata(path).map(|found| found.ino().to_string()) else {
        return false;
    };
    let holder = std::fs::read_to_string(path).unwrap_or_default();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    locks.lines().any(|line| {
        let mut words = line.split_whitespace().skip_while(|&word| word != "WRITE");
        let (pid, place) = (words.nth(1), words.next());
        pid == Some(holder.trim())
            && place.and_then(|place| place.rsplit(':').next()) == Some(&inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_storage::{FileStorage, Options};

    #[test]
    fn tells_whether_the_storage_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Data.fs");
        let storage = FileStorage::open(&path, Options::default()).unwrap();
        let file = DataFile::open(&path).unwrap();
        file.check_magic().unwrap();
        assert!(file.is_in_use());
        drop(storage);
        assert!(file.is_in_use());
        assert!(!DataFile::open(&path).unwrap().is_in_use());
        std::fs::remove_file(beside(&path, ".lock")).unwrap();
        assert!(!DataFile::open(&path).unwrap().is_in_use());
    }

    #[test]
    fn what_is_no_file_storage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Data.fs");
        assert!(DataFile::open(&path).is_err());
        for (bytes, words) in [
            (&b""[..], "empty"),
            (b"FS21", "of Python 2"),
            (b"FS", "not a FileStorage"),
            (b"GIF89a", "not a FileStorage"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let file = DataFile::open(&path).unwrap();
            let error = file.check_magic().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
