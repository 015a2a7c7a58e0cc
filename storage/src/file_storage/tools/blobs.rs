//! Checking a blob directory against its file.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use zeo_proto::{Oid, Tid};

use super::data_file::DataFile;
use super::reading::Reading;
use crate::blob::{BlobDirectory, FoundFile, is_blob};
use crate::disk::paths::failed;
use crate::observer::Observer;
use crate::record::is_compressed;
use crate::{Error, FileId, Result};

/// How much of a record is read to see whether it is that of a blob.
const CLASS_PREFIX_BYTES: u64 = 1 << 8;
/// How often a check begins again when a pack puts another file in its place.
const CHECK_TRIES_MAX: usize = 5;

/// Things of one kind: how many, and the first ones.
#[derive(Debug)]
pub struct List<T> {
    /// How many there are.
    pub count: u64,
    /// The first ones, in the order in which they were met.
    pub first: Vec<T>,
    most: usize,
}

impl<T> List<T> {
    fn new(most: usize) -> Self {
        Self {
            count: 0,
            first: Vec::new(),
            most,
        }
    }

    fn push(&mut self, found: impl FnOnce() -> T) {
        self.count += 1;
        if self.first.len() < self.most {
            self.first.push(found());
        }
    }
}

/// A revision of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote it.
    pub tid: Tid,
    /// Where its file is, or should be.
    pub path: PathBuf,
}

/// What was found.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckedBlobs {
    /// How many revisions of blobs the file has.
    pub blobs: u64,
    /// How long their files are together.
    pub bytes: u64,
    /// How often something in the file was damaged, so that blobs may not be
    /// known.
    pub damages: u64,
    /// Revisions without a file that can be opened, and why.
    pub missing: List<(Revision, io::Error)>,
    /// Files without a revision.
    pub strays: List<PathBuf>,
    /// Files that lie as in another layout.
    pub misplaced: List<PathBuf>,
    /// Directories that can't be read, and why.
    pub unreadable: List<(PathBuf, io::Error)>,
    /// Revisions whose files are empty, which may be right.
    pub empty: List<Revision>,
    /// Files with other names than those of blobs, which do no harm.
    pub others: List<PathBuf>,
    /// How many files without a revision a pack is about to remove.
    pub to_be_removed: u64,
}

impl CheckedBlobs {
    /// How much is wrong with the directory.
    pub fn problems(&self) -> u64 {
        let Self {
            missing,
            strays,
            misplaced,
            unreadable,
            ..
        } = self;
        missing.count + strays.count + misplaced.count + unreadable.count
    }
}

/// Compares all records of blobs in the file at `path`, older ones too, with
/// the files in the directory. No more than `most` of a kind are given.
///
/// Reads the file, and names and lengths in the directory; writes nothing. May
/// run beside a server: files newer than what was read, and those that a pack is
/// about to remove, are not strays. `observer` is told what is damaged in the
/// file. Takes 16 bytes of memory a blob.
///
/// # Errors
///
/// `Corrupt` when the file is no FileStorage, `Io` when it, or the list of what
/// a pack removes, can't be read, `Cancelled`, and `Replaced`.
pub fn check_blobs(
    path: &Path,
    blobs: &BlobDirectory,
    most: usize,
    observer: &mut dyn Observer,
) -> Result<CheckedBlobs> {
    for _ in 0..CHECK_TRIES_MAX {
        if let Some(checked) = try_to(path, blobs, most, observer)? {
            return Ok(checked);
        }
    }
    let file = path.to_owned();
    Err(Error::Replaced { file })
}

/// `None` when blobs were missing because a pack came in between.
fn try_to(
    path: &Path,
    blobs: &BlobDirectory,
    most: usize,
    observer: &mut dyn Observer,
) -> Result<Option<CheckedBlobs>> {
    let id = FileId::of(path);
    let file = DataFile::open(path)?;
    let mut check = Check::new(blobs, most);
    let last = check.read(&file, observer)?;
    if check.found.missing.count > 0 && FileId::of(path) != id {
        return Ok(None);
    }
    check.walk(file.is_in_use().then_some(last), observer)?;
    Ok(Some(check.found))
}

struct Check<'a> {
    blobs: &'a BlobDirectory,
    /// All revisions, in order.
    revisions: Vec<(Oid, Tid)>,
    found: CheckedBlobs,
}

impl<'a> Check<'a> {
    fn new(blobs: &'a BlobDirectory, most: usize) -> Self {
        Self {
            blobs,
            revisions: Vec::new(),
            found: CheckedBlobs {
                blobs: 0,
                bytes: 0,
                damages: 0,
                missing: List::new(most),
                strays: List::new(most),
                misplaced: List::new(most),
                unreadable: List::new(most),
                empty: List::new(most),
                others: List::new(most),
                to_be_removed: 0,
            },
        }
    }

    /// Reads the records, and looks at the files of blobs. Gives the last
    /// transaction.
    fn read(&mut self, file: &DataFile, observer: &mut dyn Observer) -> Result<Tid> {
        let mut reading = Reading::new(file, observer)?;
        let mut last = Tid::ZERO;
        while let Some(txn) = reading.txn()? {
            last = txn.header.tid;
            let mut known = HashSet::new();
            while let Some((position, header)) = reading.transactions.record()? {
                let source = reading.source(position, &header)?;
                let Some(data) = source.and_then(|source| source.data) else {
                    continue;
                };
                // Clients store the record of a blob twice.
                if is_blob_at(&mut reading, data)? && known.insert(header.oid) {
                    self.revision(header.oid, header.tid);
                }
            }
        }
        self.found.damages = reading.problems();
        self.found.blobs = self.revisions.len() as u64;
        self.revisions.sort_unstable();
        Ok(last)
    }

    fn revision(&mut self, oid: Oid, tid: Tid) {
        self.revisions.push((oid, tid));
        let path = || self.blobs.path_of(oid, tid);
        let revision = || Revision {
            oid,
            tid,
            path: path(),
        };
        match self.blobs.length_of(oid, tid) {
            Ok(0) => self.found.empty.push(revision),
            Ok(length) => self.found.bytes = self.found.bytes.saturating_add(length),
            Err(why) => self.found.missing.push(|| (revision(), why)),
        }
    }

    /// Goes through the directory. With `last`, a server may be adding files
    /// behind that transaction.
    fn walk(&mut self, last: Option<Tid>, observer: &mut dyn Observer) -> Result<()> {
        let listed = self.blobs.listed();
        let listed = listed.map_err(failed("reading .removed in", self.blobs.path()))?;
        observer.begin("reading the blob directory", None);
        let (found, revisions) = (&mut self.found, &self.revisions);
        self.blobs.walk(&mut |entry| {
            observer.set(0)?;
            match entry {
                FoundFile::Blob(path, oid, tid) => {
                    let is_known = revisions.binary_search(&(oid, tid)).is_ok();
                    if is_known || last.is_some_and(|last| tid > last) {
                        return Ok(());
                    }
                    if listed.has(oid, tid) {
                        found.to_be_removed += 1;
                    } else {
                        found.strays.push(|| path);
                    }
                }
                FoundFile::OtherLayout(path, _) => found.misplaced.push(|| path),
                FoundFile::Other(path) => found.others.push(|| path),
                FoundFile::Unreadable(path, why) => found.unreadable.push(|| (path, why)),
            }
            Ok(())
        })
    }
}

fn is_blob_at(reading: &mut Reading<'_>, data: (u64, u64)) -> Result<bool> {
    let prefix = reading.transactions.data(data, Some(CLASS_PREFIX_BYTES))?;
    if is_compressed(prefix) {
        return Ok(is_blob(reading.transactions.data(data, None)?));
    }
    Ok(is_blob(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_storage::commit::pending::Payload;
    use crate::testing::files::{Builder, data};
    use crate::testing::{Cancelling, oid, tid};

    const RECORD: &[u8] = b"cZODB.blob\nBlob\n.N.";

    /// A file with three blobs in transactions 1 to 3, and a directory with the
    /// files of those of 2 and 3, which is empty, and one of 4.
    fn files() -> (tempfile::TempDir, PathBuf, BlobDirectory) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("Data.fs");
        let mut file = Builder::new();
        for number in 1..=3 {
            let blob = Payload::Data(RECORD.to_vec());
            file.txn(
                number,
                b' ',
                &[(number, 0, blob), (100 + number, 0, data("x"))],
            );
        }
        std::fs::write(&path, &file.bytes).unwrap();
        let blobs = BlobDirectory::open(&directory.path().join("blobs")).unwrap();
        for (number, content) in [(2, "two"), (3, ""), (4, "four")] {
            let path = blobs.path_of(oid(number), tid(number));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        (directory, path, blobs)
    }

    #[test]
    fn missing_empty_and_stray() {
        let (_directory, path, blobs) = files();
        let found = check_blobs(&path, &blobs, 10, &mut ()).unwrap();
        assert_eq!((found.blobs, found.bytes, found.problems()), (3, 3, 2));
        let (missing, _) = &found.missing.first[0];
        assert_eq!((missing.oid, missing.tid), (oid(1), tid(1)));
        assert_eq!(found.empty.first[0].oid, oid(3));
        assert_eq!(found.strays.first, [blobs.path_of(oid(4), tid(4))]);

        let few = check_blobs(&path, &blobs, 0, &mut ()).unwrap();
        assert_eq!((few.problems(), few.missing.first.len()), (2, 0));
    }

    #[test]
    fn each_call_can_cancel() {
        let (_directory, path, blobs) = files();
        let mut calls = 0;
        loop {
            match check_blobs(&path, &blobs, 10, &mut Cancelling::after(calls)) {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, Error::Cancelled), "{error}"),
            }
            calls += 1;
        }
        // Three transactions, their end, three files.
        assert_eq!(calls, 7);
    }
}
