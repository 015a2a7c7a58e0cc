//! The blobs of the transactions in a repository, in a way that Python's repozo does not see.
//!
//! ```text
//! blobs/     the files of all blobs in the repository, as a blob directory
//! .blobs     for the data file with its name, a line for each blob of its
//!            transactions: oid, tid, size, md5
//! ```
//!
//! Blob files never change, and are named by oid and tid: so what is there
//! need not be copied again. Where that can be, they are second names (hard
//! links) of the originals. They are on the disk before the `.blobs` file is,
//! and that before the data file has its name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use zeo_proto::{Oid, Tid};

use super::content::READ_CHUNK_BYTES;
use super::error::{Error, Problem, Result};
use super::name::Name;
use super::repository::Repository;
use crate::blob::{BlobDirectory, serial_of};
use crate::disk::paths::{directory_of, failed, hex, remove, rename};

/// The extension of the list of blobs.
const LIST: &str = "blobs";

/// A blob in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote it.
    pub tid: Tid,
    /// The length of the file.
    pub size: u64,
    /// Its MD5, in hexadecimal digits.
    pub sum: String,
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [oid, tid, size, sum] = words[..] else {
            return None;
        };
        Some(Self {
            oid: Oid::new(u64::from_str_radix(oid, 16).ok()?),
            tid: Tid::new(u64::from_str_radix(tid, 16).ok()?),
            size: size.parse().ok()?,
            sum: sum.to_owned(),
        })
    }
}

/// The blobs of a data file's transactions; `None` when it was backed up
/// without them.
pub fn list(repository: &Repository, name: &Name) -> Result<Option<Vec<Entry>>> {
    let path = repository.companion(name, LIST);
    let file = match File::open(&path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed("opening", &path))?,
    };
    let mut entries = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(failed("reading", &path))?;
        match Entry::parse(&line) {
            Some(entry) => entries.push(entry),
            None => return Err(Error::BlobLine { file: path, line }),
        }
    }
    Ok(Some(entries))
}

/// How long they are together. (What a list says may be anything.)
pub fn total(entries: &[Entry]) -> u64 {
    let sizes = entries.iter().map(|entry| entry.size);
    sizes.fold(0, u64::saturating_add)
}

/// Writes the list of blobs of a data file, durably.
pub fn save_list(repository: &Repository, name: &Name, entries: &[Entry]) -> Result<()> {
    let path = repository.companion(name, LIST);
    let temporary = repository.companion(name, "blobs_tmp");
    let write = || {
        let mut out = BufWriter::new(File::create(&temporary)?);
        for Entry {
            oid,
            tid,
            size,
            sum,
        } in entries
        {
            writeln!(out, "{:016x} {tid} {size} {sum}", oid.as_u64())?;
        }
        out.into_inner()?.sync_all()
    };
    write().map_err(failed("writing", &temporary))?;
    Ok(rename(&temporary, &path)?)
}

/// The blob files of a repository.
pub struct Pool {
    directory: BlobDirectory,
}

/// Size and checksum of blobs that are known to be there.
pub type Known = HashMap<(Oid, Tid), (u64, String)>;

impl Pool {
    /// Opens it, and makes it if need be.
    pub fn open(repository: &Repository) -> Result<Self> {
        let directory = BlobDirectory::open(&repository.path("blobs"))?;
        Ok(Self { directory })
    }

    /// Opens it only to read.
    pub fn open_read_only(repository: &Repository) -> Result<Self> {
        let directory = BlobDirectory::open_read_only(&repository.path("blobs"))?;
        Ok(Self { directory })
    }

    /// Where a blob is, or belongs.
    pub fn path_of(&self, oid: Oid, tid: Tid) -> PathBuf {
        self.directory.path_of(oid, tid)
    }

    /// Adds a file, which is durable after [`Pool::sync`]; or tells why it
    /// can't be read. Fails when it can't be written.
    pub fn add(
        &self,
        file: &Path,
        oid: Oid,
        tid: Tid,
        known: &Known,
    ) -> Result<std::result::Result<Entry, Problem>> {
        let target = self.path_of(oid, tid);
        let entry = |(size, sum)| Entry {
            oid,
            tid,
            size,
            sum,
        };
        if let Some((size, sum)) = known.get(&(oid, tid))
            && std::fs::metadata(&target).is_ok_and(|found| found.len() == *size)
        {
            return Ok(Ok(entry((*size, sum.clone()))));
        }
        let (size, sum) = match read(file) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        match put(&self.directory, file, &target, Some((size, &sum))) {
            // A pack has removed it since.
            Err(_) if !file.exists() => Ok(Err(Problem::Missing(file.to_owned()))),
            put => put.map(|()| Ok(entry((size, sum)))),
        }
    }

    /// Makes durable what was added.
    pub fn sync(&self) -> Result<()> {
        sync(&self.directory)
    }

    /// What is wrong with a blob, if anything is: its checksum only if that
    /// is not `quick`.
    pub fn problem(&self, entry: &Entry, quick: bool) -> Option<Problem> {
        let file = self.path_of(entry.oid, entry.tid);
        let found = if quick {
            let found = std::fs::metadata(&file).map_err(failed("reading", &file));
            found
                .map(|found| (found.len(), None))
                .map_err(Problem::from)
        } else {
            read(&file).map(|(size, sum)| (size, Some(sum)))
        };
        match found {
            Ok((size, sum)) => differs(&file, (entry.size, &entry.sum), size, sum),
            Err(_) if !file.exists() => Some(Problem::Missing(file)),
            Err(why) => Some(why),
        }
    }

    /// Removes the files of all blobs that no data file needs any more.
    pub fn remove_others(&self, needed: &Known) -> Result<()> {
        let root = self.directory.path();
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            let reading = failed("reading the directory", &directory);
            let below = directory.strip_prefix(root).unwrap_or(&directory);
            let oid = self.directory.layout().oid_of(below);
            for entry in std::fs::read_dir(&directory).map_err(&reading)? {
                let entry = entry.map_err(&reading)?;
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(entry.path());
                    continue;
                }
                let name = entry.file_name();
                let tid = name.to_str().and_then(serial_of);
                if let (Some(oid), Some(tid)) = (oid, tid)
                    && !needed.contains_key(&(oid, tid))
                {
                    remove(&entry.path())?;
                    // Succeeds when it is empty now.
                    let _ = std::fs::remove_dir(&directory);
                }
            }
        }
        Ok(())
    }
}

/// The blobs in the lists of these data files.
pub fn known(repository: &Repository, names: &[Name]) -> Result<Known> {
    let mut known = Known::new();
    for name in names {
        for entry in list(repository, name)?.unwrap_or_default() {
            known.insert((entry.oid, entry.tid), (entry.size, entry.sum));
        }
    }
    Ok(known)
}

/// Puts a blob file where it belongs in a directory, unless it is there.
/// `content` is what it holds, if that has to be the same.
pub fn put(
    directory: &BlobDirectory,
    file: &Path,
    target: &Path,
    content: Option<(u64, &str)>,
) -> Result<()> {
    if is_there(file, target, content)? {
        return Ok(());
    }
    let parent = directory_of(target);
    std::fs::create_dir_all(parent).map_err(failed("making the directory", parent))?;
    let copy = directory.copy_of(file)?;
    Ok(std::fs::rename(copy.path(), target).map_err(failed("renaming to", target))?)
}

fn is_there(file: &Path, target: &Path, content: Option<(u64, &str)>) -> Result<bool> {
    let (Ok(one), Ok(other)) = (std::fs::metadata(file), std::fs::metadata(target)) else {
        return Ok(false);
    };
    if (one.dev(), one.ino()) == (other.dev(), other.ino()) {
        return Ok(true);
    }
    if one.len() != other.len() {
        return Ok(false);
    }
    let (_, sum) = read(target)?;
    Ok(match content {
        Some((_, expected)) => sum == expected,
        None => sum == read(file)?.1,
    })
}

/// Makes durable all that was put into a directory: by one call for all.
pub fn sync(directory: &BlobDirectory) -> Result<()> {
    let path = directory.path();
    let synced = File::open(path).and_then(|file| Ok(rustix::fs::syncfs(file)?));
    Ok(synced.map_err(failed("syncing", path))?)
}

/// What is wrong with a file, if anything is, given the size and perhaps the
/// checksum of what it holds, and what these should be.
pub fn differs(
    file: &Path,
    (expected, expected_sum): (u64, &str),
    found: u64,
    found_sum: Option<String>,
) -> Option<Problem> {
    let file = file.to_owned();
    if found != expected {
        return Some(Problem::Size {
            file,
            found,
            expected,
        });
    }
    let found = found_sum.filter(|sum| sum != expected_sum)?;
    let expected = expected_sum.to_owned();
    Some(Problem::Checksum {
        file,
        found,
        expected,
    })
}

/// Size and checksum of a file.
fn read(path: &Path) -> std::result::Result<(u64, String), Problem> {
    // Before it is opened, which could wait for ever.
    let found = std::fs::metadata(path).map_err(failed("opening", path))?;
    if !found.is_file() {
        return Err(Problem::NoFile(path.to_owned()));
    }
    let file = File::open(path).map_err(failed("opening", path))?;
    let mut input = BufReader::with_capacity(READ_CHUNK_BYTES, file);
    let mut hasher = Md5::new();
    let mut size = 0_u64;
    loop {
        let piece = input.fill_buf().map_err(failed("reading", path))?;
        if piece.is_empty() {
            return Ok((size, hex(&hasher.finalize())));
        }
        hasher.update(piece);
        let length = piece.len();
        size = size.saturating_add(length as u64);
        input.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let repository = Repository::open(directory.path()).unwrap();
        let name = Name::new("2020-01-01-00-00-00", true, false);
        assert_eq!(list(&repository, &name).unwrap(), None);
        let entry = |oid, tid| Entry {
            oid: Oid::new(oid),
            tid: Tid::new(tid),
            size: 17,
            sum: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        };
        for entries in [vec![], vec![entry(1, 2), entry(u64::MAX, u64::MAX)]] {
            save_list(&repository, &name, &entries).unwrap();
            assert_eq!(list(&repository, &name).unwrap(), Some(entries));
        }
        let huge = Entry {
            size: u64::MAX,
            ..entry(1, 2)
        };
        assert_eq!(total(&[entry(1, 1), huge]), u64::MAX);
        std::fs::write(repository.companion(&name, LIST), "1 2 3\n").unwrap();
        assert!(list(&repository, &name).is_err());
    }
}
