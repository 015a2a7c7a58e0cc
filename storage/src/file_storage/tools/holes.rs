//! A file on a disk that fails: what can't be read of it is passed over.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::backend::Backend;

/// How much is given up at once: disks and file systems fail by whole pages.
const PAGE_BYTES: u64 = 4096;

/// A file to be read only. Pages that can't be read are noted, and read as
/// zeros; nobody asks the disk for them again.
pub(crate) struct Holes {
    file: Arc<dyn Backend>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    /// In order, and not next to each other.
    ranges: Vec<Range<u64>>,
    /// What the first failure was.
    why: String,
}

impl Holes {
    pub fn new(file: Arc<dyn Backend>) -> Self {
        Self {
            file,
            found: Mutex::default(),
        }
    }

    /// All that could not be read so far.
    pub fn all(&self) -> Vec<Range<u64>> {
        self.found().ranges.clone()
    }

    /// The first part of a range that was read and could not be; and in words.
    pub fn first_in(&self, range: &Range<u64>) -> Option<(Range<u64>, String)> {
        let found = self.found();
        let hole = found.first_in(range)?;
        let (start, end) = (hole.start.max(range.start), hole.end.min(range.end));
        let what = format!("the disk can't read {start} to {end} ({})", found.why);
        Some((start..end, what))
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what lies in one page, or notes that it can't be read.
    fn read_page(&self, part: &mut [u8], position: u64) -> io::Result<usize> {
        let page = position - position % PAGE_BYTES
            ..(position - position % PAGE_BYTES).saturating_add(PAGE_BYTES);
        if self.found().first_in(&page).is_none() {
            match self.file.read_at(part, position) {
                Ok(got) => return Ok(got),
                Err(why) => {
                    let end = page.end.min(self.file.len()?);
                    self.found().add(page.start..end, &why);
                }
            }
        }
        let room = self.file.len()?.saturating_sub(position);
        let got = usize::try_from(room).map_or(part.len(), |room| room.min(part.len()));
        part.fill(0);
        Ok(got)
    }
}

impl Found {
    fn first_in(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let at = self.ranges.partition_point(|hole| hole.end <= range.start);
        let hole = self.ranges.get(at)?;
        (hole.start < range.end).then(|| hole.clone())
    }

    fn add(&mut self, mut hole: Range<u64>, why: &io::Error) {
        if self.ranges.is_empty() {
            self.why = why.to_string();
        }
        let at = self.ranges.partition_point(|known| known.end < hole.start);
        while let Some(known) = self.ranges.get(at).filter(|known| known.start <= hole.end) {
            hole = known.start.min(hole.start)..known.end.max(hole.end);
            self.ranges.remove(at);
        }
        self.ranges.insert(at, hole);
    }
}

impl Backend for Holes {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let range = position..position.saturating_add(buffer.len() as u64);
        let known = self.found().first_in(&range).is_some();
        if !known && let Ok(got) = self.file.read_at(buffer, position) {
            return Ok(got);
        }
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = position.saturating_add(done as u64);
            let length = usize::try_from(PAGE_BYTES - at % PAGE_BYTES)
                .map_or(0, |left| left.min(rest.len()));
            let (part, _) = rest.split_at_mut(length);
            let got = self.read_page(part, at)?;
            done = done.saturating_add(got);
            if got < length {
                break;
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, _bytes: &[u8], _position: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::disk::backend::MemoryBackend;

    /// A disk that can't read some places.
    pub(crate) struct Failing {
        pub disk: MemoryBackend,
        pub bad: Vec<Range<u64>>,
    }

    impl Failing {
        pub fn new(bytes: &[u8], bad: &[Range<u64>]) -> Arc<Self> {
            let disk = MemoryBackend::default();
            disk.write_all_at(bytes, 0).unwrap();
            let bad = bad.to_vec();
            Arc::new(Self { disk, bad })
        }
    }

    impl Backend for Failing {
        fn path(&self) -> &Path {
            self.disk.path()
        }

        fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            let end = position + buffer.len() as u64;
            if self.bad.iter().any(|b| b.start < end && position < b.end) {
                Err(io::Error::from_raw_os_error(5))
            } else {
                self.disk.read_at(buffer, position)
            }
        }

        fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
            self.disk.write_all_at(bytes, position)
        }

        fn sync(&self) -> io::Result<()> {
            self.disk.sync()
        }

        fn truncate(&self, length: u64) -> io::Result<()> {
            self.disk.truncate(length)
        }

        fn len(&self) -> io::Result<u64> {
            self.disk.len()
        }

        fn reserve(&self, start: u64, end: u64) -> io::Result<()> {
            self.disk.reserve(start, end)
        }
    }

    #[test]
    fn pages_that_fail_are_zeros() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| (n % 251 + 1) as u8).collect();
        let holes = Holes::new(Failing::new(
            &bytes,
            &[5000..5001, 8192..8193, 19_999..20_000],
        ));
        let mut expected = bytes.clone();
        expected[4096..12288].fill(0);
        expected[16384..].fill(0);
        for (start, length) in [(0, 25_000), (3, 11), (4000, 200), (12_280, 9), (19_990, 20)] {
            let mut got = vec![9; length];
            let count = holes.read_at(&mut got, start as u64).unwrap();
            assert_eq!(count, length.min(20_000 - start));
            assert_eq!(got[..count], expected[start..start + count], "{start}");
        }
        assert_eq!(holes.all(), [4096..12288, 16384..20_000]);
        let (hole, what) = holes.first_in(&(5000..6000)).unwrap();
        assert_eq!(hole, 5000..6000);
        assert!(
            what.contains("5000 to 6000") && what.contains("(os error 5)"),
            "{what}"
        );
        assert!(holes.first_in(&(0..4096)).is_none());
        assert!(holes.first_in(&(12288..16384)).is_none());
    }
}
