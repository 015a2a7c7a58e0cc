//! Indexes of a file as tools look at it, and those that are saved beside it.

use std::path::Path;

use zeo_proto::{Oid, Tid};

use super::data_file::DataFile;
use crate::disk::paths::{beside, failed, resolve};
use crate::file_storage::files;
use crate::file_storage::format::{FIRST, Reader};
use crate::file_storage::index::file::State;
use crate::file_storage::index::{self, Index};
use crate::file_storage::open::saved_index::{self, Start};
use crate::file_storage::open::scan::scan;
use crate::file_storage::open::torn::Known;
use crate::log::Log;
use crate::observer::Observer;
use crate::{Error, FileId, Result};

/// Where the current record of each object in a file stands.
pub struct Indexed {
    /// The positions.
    pub index: Index,
    /// Where the last whole transaction ends.
    pub end: u64,
    /// The last transaction.
    pub last_tid: Tid,
    /// Where the first transaction was accepted whose seal does not hold, if
    /// one was.
    pub accepted: Option<u64>,
    /// Why there is more behind the last whole transaction, if there is: a
    /// crash, or a server at work.
    pub torn: Option<String>,
}

impl DataFile {
    /// Indexes the file as a server does that opens it: by its `.index`, where
    /// that is good, and by a scan of the rest. Nothing is written.
    ///
    /// # Errors
    ///
    /// `Corrupt` with the position on damage, `Io`, and `Cancelled`.
    pub fn index(&self, log: &Log, observer: &mut dyn Observer) -> Result<Indexed> {
        self.check_magic()?;
        let path = beside(self.path(), ".index");
        let backend = self.reader().backend;
        let loaded = index::file::load(&path, backend);
        let loaded = loaded.map_err(|why| format!("{}: {why}", path.display()));
        let start = saved_index::start(backend, loaded, log)?;
        self.indexed(start, log, observer)
    }

    /// Indexes the file by a scan of all of it; with `known`, which tells what
    /// to make of seals that do not hold. Nothing is written.
    ///
    /// # Errors
    ///
    /// As [`DataFile::index`].
    fn scan(&self, known: Known, log: &Log, observer: &mut dyn Observer) -> Result<Indexed> {
        self.check_magic()?;
        let start = Start {
            known: Known {
                durable: FIRST,
                ..known
            },
            ..Start::default()
        };
        self.indexed(start, log, observer)
    }

    fn indexed(&self, start: Start, log: &Log, observer: &mut dyn Observer) -> Result<Indexed> {
        let backend = self.reader().backend;
        // A server may have saved the index after the file was opened.
        let end = self.size().max(start.from);
        let reader = Reader { backend, end };
        let (index, from, known) = (start.index, start.from, start.known);
        observer.begin("scanning", Some(self.size()));
        let found = scan(reader, &index, from, start.last_tid, known, log, observer)?;
        Ok(Indexed {
            index,
            end: found.end,
            last_tid: found.last_tid,
            accepted: found.accepted,
            torn: found.torn,
        })
    }
}

/// Scans the file at `path` and saves its index, in place of one that is
/// there. Takes the lock of the storage meanwhile. With `accept`, transactions
/// whose seals don't hold are accepted as they are, from now on, if all else in
/// them fits together.
///
/// # Errors
///
/// `Corrupt` when the file is damaged, `Io` when it can't be read, the index
/// can't be written or a server has the file open, and `Cancelled`: the index
/// that was there stays then.
pub fn rebuild_index(
    path: &Path,
    accept: bool,
    log: &Log,
    observer: &mut dyn Observer,
) -> Result<Indexed> {
    // Before the lock file is made, which a wrong name would leave behind.
    let file = DataFile::open(path)?;
    file.check_magic()?;
    let data = resolve(file.path()).map_err(failed("opening", file.path()))?;
    let _locks = files::lock(file.path(), &data)?;
    // What was written until the lock was there.
    let file = DataFile::open(path)?;
    let mut known = file.known();
    if accept {
        known.accepted = u64::MAX;
    }
    let indexed = file.scan(known, log, observer)?;
    let state = State {
        // A torn end that is left is still one.
        is_open: known.is_open,
        accepted: match indexed.accepted {
            Some(_) => known.accepted.min(indexed.end),
            None => 0,
        },
    };
    let entries = indexed.index.iter().map(Ok);
    index::file::save(file.path(), indexed.end, entries, state)?;
    Ok(indexed)
}

/// One object of which a saved index tells something else than the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// The object.
    pub oid: Oid,
    /// Where the index says that its record stands.
    pub saved: Option<u64>,
    /// Where it stands.
    pub found: Option<u64>,
}

/// What a saved index is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// There is none.
    Missing,
    /// It can't be read, or is none of this file: a server ignores it.
    Useless(String),
    /// It is one of this file.
    Good {
        /// It covers the file up to here.
        position: u64,
        /// Its objects.
        objects: u64,
    },
    /// A server would use it, and be wrong.
    Wrong {
        /// It says that it covers the file up to here.
        position: u64,
        /// How many objects differ.
        count: u64,
        /// The first ones, by oid.
        first: Vec<Difference>,
    },
}

/// How often a comparison begins again when a pack puts another file in its place.
const COMPARE_TRIES_MAX: usize = 5;
/// How many differences are gathered.
const DIFFERENCES_MAX: usize = 100;

impl DataFile {
    /// Compares the `.index` with the file up to where it covers that. Nothing
    /// is written.
    ///
    /// # Errors
    ///
    /// `Corrupt` when that part is damaged, `Io`, and `Cancelled`.
    fn check_index(&self, log: &Log, observer: &mut dyn Observer) -> Result<Saved> {
        self.check_magic()?;
        let backend = self.reader().backend;
        let loaded = index::file::load(&beside(self.path(), ".index"), backend);
        let loaded = match loaded {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return Ok(Saved::Missing),
            Err(why) => return Ok(Saved::Useless(why.to_string())),
        };
        let position = loaded.position;
        let reader = Reader {
            backend,
            end: position,
        };
        if let Err(why) = saved_index::belongs(&reader, &loaded)? {
            return Ok(Saved::Useless(why));
        }
        let (own, known) = (Index::default(), loaded.known());
        observer.begin("scanning", Some(self.size()));
        let found = scan(reader, &own, FIRST, Tid::ZERO, known, log, observer)?;
        if let Some(why) = found.torn {
            return Ok(Saved::Useless(format!(
                "it ends within a transaction: {why}"
            )));
        }
        Ok(compare(&loaded.index, &own, position))
    }
}

/// Compares the `.index` of the file at `path` with the file, up to where it
/// covers that; gives the file, too. A pack may put another file, and its
/// index, in the place of the one that is read: then all is done again. Nothing
/// is written.
///
/// # Errors
///
/// `Corrupt` when the part that the index covers is damaged, `Io`, `Cancelled`,
/// and `Replaced`.
pub fn check_index(
    path: &Path,
    log: &Log,
    observer: &mut dyn Observer,
) -> Result<(DataFile, Saved)> {
    for _ in 0..COMPARE_TRIES_MAX {
        let id = FileId::of(path);
        let file = DataFile::open(path)?;
        let saved = file.check_index(log, observer);
        if matches!(saved, Ok(Saved::Good { .. })) || FileId::of(path) == id {
            return Ok((file, saved?));
        }
    }
    let file = path.to_owned();
    Err(Error::Replaced { file })
}

fn compare(saved: &Index, own: &Index, position: u64) -> Saved {
    let (mut count, mut first) = (0, Vec::new());
    let mut differ = |difference| {
        count += 1;
        if first.len() < DIFFERENCES_MAX {
            first.push(difference);
        }
    };
    for (oid, found) in own.iter() {
        let saved = saved.get(oid);
        if saved != Some(found) {
            let found = Some(found);
            differ(Difference { oid, saved, found });
        }
    }
    for (oid, saved) in saved.iter().filter(|&(oid, _)| own.get(oid).is_none()) {
        let (saved, found) = (Some(saved), None);
        differ(Difference { oid, saved, found });
    }
    first.sort_unstable_by_key(|difference| difference.oid);
    match count {
        0 => Saved::Good {
            position,
            objects: own.len(),
        },
        count => Saved::Wrong {
            position,
            count,
            first,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_storage::index::file::save;
    use crate::log::silent;
    use crate::testing::Cancelling;
    use crate::testing::files::{Builder, data};

    struct Files {
        _dir: tempfile::TempDir,
        path: std::path::PathBuf,
    }

    /// A file of two transactions of three objects, without an index.
    fn files() -> (Files, Builder) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Data.fs");
        let mut file = Builder::new();
        let first = file.txn(1, b' ', &[(1, 0, data("one")), (2, 0, data("two"))]);
        file.txn(
            2,
            b' ',
            &[(1, first + 23, data("one again")), (3, 0, data("three"))],
        );
        std::fs::write(&path, &file.bytes).unwrap();
        (Files { _dir: dir, path }, file)
    }

    fn checked(path: &Path) -> Saved {
        let file = DataFile::open(path).unwrap();
        file.check_index(&silent(), &mut ()).unwrap()
    }

    #[test]
    fn rebuilt_and_checked() {
        let (files, built) = files();
        assert_eq!(checked(&files.path), Saved::Missing);
        let found = rebuild_index(&files.path, false, &silent(), &mut ()).unwrap();
        let end = built.bytes.len() as u64;
        assert_eq!((found.index.len(), found.end), (3, end));
        let good = Saved::Good {
            position: end,
            objects: 3,
        };
        assert_eq!(checked(&files.path), good);
        std::fs::write(beside(&files.path, ".index"), b"\x80\x03what").unwrap();
        assert!(matches!(checked(&files.path), Saved::Useless(_)));
    }

    #[test]
    fn what_the_index_has_wrong() {
        let (files, built) = files();
        let generation = built.build();
        let right = generation.index.get(Oid::new(2)).unwrap();
        generation.index.set(Oid::new(2), right + 1);
        generation.index.set(Oid::new(7), right);
        let entries = generation.index.iter().map(Ok);
        save(&files.path, generation.end(), entries, State::default()).unwrap();
        let Saved::Wrong { count, first, .. } = checked(&files.path) else {
            panic!("not wrong");
        };
        let differences = [(2, Some(right + 1), Some(right)), (7, Some(right), None)];
        let expected = differences.map(|(oid, saved, found)| Difference {
            oid: Oid::new(oid),
            saved,
            found,
        });
        assert_eq!((count, first), (2, expected.to_vec()));
    }

    #[test]
    fn cancelled_it_leaves_the_index_that_was_there() {
        let (files, _) = files();
        let index = beside(&files.path, ".index");
        std::fs::write(&index, "old").unwrap();
        for calls in 0..2 {
            let mut observer = Cancelling::after(calls);
            let done = rebuild_index(&files.path, false, &silent(), &mut observer);
            assert!(matches!(done, Err(Error::Cancelled)), "{calls}");
            assert_eq!(std::fs::read(&index).unwrap(), b"old");
        }
        rebuild_index(&files.path, false, &silent(), &mut Cancelling::after(2)).unwrap();
    }

    #[test]
    fn an_open_storage_is_left_alone() {
        let (files, _) = files();
        let storage = crate::FileStorage::open(&files.path, Default::default()).unwrap();
        let refused = rebuild_index(&files.path, false, &silent(), &mut ());
        assert!(refused.is_err());
        let found = DataFile::open(&files.path).unwrap();
        let found = found.index(&silent(), &mut ()).unwrap();
        assert_eq!(found.index.len(), 3);
        drop(storage);
    }
}
