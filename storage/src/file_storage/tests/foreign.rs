//! Files in which another tool has left our seals, over other bytes: nothing
//! of them is lost. And that a torn end of ours is still told from them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::disk::paths::beside;
use crate::file_storage::tools::check::{Checked, check};
use crate::file_storage::tools::index::{Saved, check_index, rebuild_index};
use crate::file_storage::tools::salvage::{How, salvage};
use crate::file_storage::{DataFile, FileStorage, Options};
use crate::log::silent;
use crate::testing::{commit, load, read_only, store};
use crate::{Error, Result, Storage};

const TRANSACTIONS: u64 = 12;

/// A closed storage of some transactions of an object each.
fn written() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    for number in 1..=TRANSACTIONS {
        commit(&storage, number, vec![store(number, 0, "the old name")]).unwrap();
    }
    storage.close().unwrap();
    (dir, path)
}

/// Renames in place, as `sed` does, from a place in the file on.
fn rename(path: &Path, from: u64) {
    let mut bytes = fs::read(path).unwrap();
    for at in usize::try_from(from).unwrap()..bytes.len() - 8 {
        if bytes[at..].starts_with(b"old name") {
            bytes[at..at + 8].copy_from_slice(b"new name");
        }
    }
    fs::write(path, bytes).unwrap();
}

/// Makes the index one of Python's: as it is without what stands behind None.
fn give_index_to_python(path: &Path) {
    let index = beside(path, ".index");
    let mut bytes = fs::read(&index).unwrap();
    bytes.truncate(bytes.windows(2).rposition(|two| two == b"N.").unwrap() + 2);
    fs::write(index, bytes).unwrap();
}

fn open(path: &Path) -> Result<FileStorage> {
    FileStorage::open(path, Options::default())
}

/// Fails unless all transactions are there; from number `renamed` on with the
/// new name.
fn check_all(storage: &FileStorage, renamed: u64) {
    for number in 1..=TRANSACTIONS {
        let name = if number < renamed { "old" } else { "new" };
        let expected = format!("the {name} name");
        assert_eq!(load(storage, number), Some(expected), "{number}");
    }
}

/// Opening fails, says what helps, and leaves the file as it is.
fn check_refused(path: &Path) {
    let bytes = fs::read(path).unwrap();
    for options in [Options::default(), read_only()] {
        match FileStorage::open(path, options) {
            Err(Error::Corrupt { what, .. }) => assert!(what.contains("fstool index --accept")),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("opened"),
        }
    }
    assert!(fs::read(path).unwrap() == bytes, "changed");
    assert!(!beside(path, ".tr0").exists());
}

fn checked(path: &Path) -> Checked {
    let file = DataFile::open(path).unwrap();
    check(&file, &mut |_| Ok(()), &mut ()).unwrap()
}

fn accept(path: &Path) -> Option<u64> {
    let found = rebuild_index(path, true, &silent(), &mut ()).unwrap();
    assert_eq!(found.torn, None);
    found.accepted
}

#[test]
fn what_python_closed_opens_whole_and_stays_so() {
    let (_dir, path) = written();
    rename(&path, 0);
    give_index_to_python(&path);
    let found = checked(&path);
    assert_eq!((found.problems, found.foreign_seals), (0, TRANSACTIONS));
    check_all(&FileStorage::open(&path, read_only()).unwrap(), 1);
    // The index becomes ours, and knows what was accepted.
    for _ in 0..2 {
        let storage = open(&path).unwrap();
        check_all(&storage, 1);
        storage.close().unwrap();
        assert_eq!(checked(&path).problems, 0);
    }
    let storage = open(&path).unwrap();
    commit(&storage, TRANSACTIONS + 1, vec![store(100, 0, "ours")]).unwrap();
    drop(storage);
    // A crash with a torn end costs that end.
    let whole = fs::metadata(&path).unwrap().len();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; 700]);
    fs::write(&path, &bytes).unwrap();
    let storage = open(&path).unwrap();
    assert_eq!(storage.size(), whole);
    check_all(&storage, 1);
    assert_eq!(load(&storage, 100).as_deref(), Some("ours"));
    storage.close().unwrap();
    assert_eq!(checked(&path).foreign_seals, TRANSACTIONS);
    fs::remove_file(beside(&path, ".tr0")).unwrap();
    // Rebuilding the index forgets nothing of that; its loss is told.
    rebuild_index(&path, false, &silent(), &mut ()).unwrap();
    check_all(&open(&path).unwrap(), 1);
    fs::remove_file(beside(&path, ".index")).unwrap();
    check_refused(&path);
}

#[test]
fn a_pack_gives_seals_that_hold() {
    let (_dir, path) = written();
    rename(&path, 0);
    give_index_to_python(&path);
    let storage = open(&path).unwrap();
    // What is packed, and what comes behind the pack time.
    commit(&storage, TRANSACTIONS + 1, vec![store(1, 1, "again")]).unwrap();
    storage.pack(1e9, Some(false)).unwrap();
    storage.close().unwrap();
    fs::remove_file(beside(&path, ".index")).unwrap();
    let found = checked(&path);
    assert_eq!((found.problems, found.foreign_seals), (0, 0));
    assert!(found.sealed >= TRANSACTIONS);
    assert_eq!(load(&open(&path).unwrap(), 1).as_deref(), Some("again"));
}

#[test]
fn without_an_index_nothing_is_cut_and_it_can_be_accepted() {
    for renamed in [1, 5, TRANSACTIONS] {
        let (_dir, path) = written();
        let length = (fs::metadata(&path).unwrap().len() - 4) / TRANSACTIONS;
        let from = 4 + (renamed - 1) * length;
        rename(&path, from);
        fs::remove_file(beside(&path, ".index")).unwrap();
        check_refused(&path);
        let problems = checked(&path).problems;
        assert_eq!(problems, TRANSACTIONS + 1 - renamed);
        let refused = rebuild_index(&path, false, &silent(), &mut ());
        let what = refused.map(drop).unwrap_err().to_string();
        assert!(what.contains("--accept"), "{what}");
        assert_eq!(accept(&path), Some(from));
        let found = checked(&path);
        let foreign = TRANSACTIONS + 1 - renamed;
        assert_eq!((found.problems, found.foreign_seals), (0, foreign));
        let (_, saved) = check_index(&path, &silent(), &mut ()).unwrap();
        assert!(matches!(saved, Saved::Good { .. }), "{saved:?}");
        for _ in 0..2 {
            let storage = open(&path).unwrap();
            check_all(&storage, renamed);
            storage.close().unwrap();
        }
    }
}

#[test]
fn recovery_takes_what_python_closed_for_whole() {
    let (dir, path) = written();
    rename(&path, 0);
    give_index_to_python(&path);
    let output = open(&dir.path().join("new.fs")).unwrap();
    let input = DataFile::open(&path).unwrap();
    let done = salvage(&input, &output, How::default(), &mut |_| Ok(()), &mut ()).unwrap();
    assert_eq!((done.damages, done.transactions), (0, TRANSACTIONS));
    check_all(&output, 1);
}

/// The storage was closed: what stands behind that, others have written. And
/// the damage that its own index covers is none of a crash.
#[test]
fn an_index_of_ours_that_is_closed_lets_nothing_be_cut() {
    let (_dir, path) = written();
    let length = (fs::metadata(&path).unwrap().len() - 4) / TRANSACTIONS;
    let index = fs::read(beside(&path, ".index")).unwrap();
    let bytes = fs::read(&path).unwrap();
    let size = 4 + length * 7;
    fs::write(&path, &bytes[..usize::try_from(size).unwrap()]).unwrap();
    fs::remove_file(beside(&path, ".index")).unwrap();
    open(&path).unwrap().close().unwrap();
    let earlier = fs::read(beside(&path, ".index")).unwrap();
    for (index, renamed) in [
        (&earlier, 8),
        (&earlier, TRANSACTIONS),
        (&index, TRANSACTIONS),
    ] {
        fs::write(&path, &bytes).unwrap();
        rename(&path, 4 + (renamed - 1) * length);
        fs::write(beside(&path, ".index"), index).unwrap();
        check_refused(&path);
        accept(&path);
        check_all(&open(&path).unwrap(), renamed);
    }
}

/// Only what was written when nothing before it was durable can be torn with
/// it: all transactions but those of the last batch are refused.
#[test]
fn a_crash_of_ours_costs_no_more_than_the_last_batch() {
    let (_dir, path) = written();
    let length = (fs::metadata(&path).unwrap().len() - 4) / TRANSACTIONS;
    fs::remove_file(beside(&path, ".index")).unwrap();
    let bytes = fs::read(&path).unwrap();
    let size = 4 + length * 7;
    fs::write(&path, &bytes[..usize::try_from(size).unwrap()]).unwrap();
    drop(open(&path).unwrap());
    let index = fs::read(beside(&path, ".index")).unwrap();
    assert!(index.ends_with(b"open"));
    for renamed in 8..=TRANSACTIONS {
        fs::write(&path, &bytes).unwrap();
        rename(&path, 4 + (renamed - 1) * length);
        fs::write(beside(&path, ".index"), &index).unwrap();
        if renamed < TRANSACTIONS {
            let error = open(&path).map(drop).unwrap_err().to_string();
            assert!(
                error.contains("written after this one was on disk"),
                "{error}"
            );
        } else {
            let storage = open(&path).unwrap();
            assert_eq!(storage.size(), bytes.len() as u64 - length);
            assert!(beside(&path, ".tr0").exists());
        }
    }
}

/// From its creation on, so that a torn end is always told from another's file.
#[test]
fn an_open_storage_has_an_index_of_ours_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let is_open = || {
        let index = fs::read(beside(&path, ".index")).unwrap();
        index.ends_with(b"rzeoopen")
    };
    let storage = open(&path).unwrap();
    assert!(is_open(), "new");
    commit(&storage, 1, vec![store(1, 0, "one")]).unwrap();
    storage.save_index().unwrap();
    assert!(is_open(), "saved");
    commit(&storage, 2, vec![store(1, 1, "two")]).unwrap();
    storage.pack(1e9, Some(false)).unwrap();
    assert!(is_open(), "packed");
    storage.close().unwrap();
    assert!(!is_open(), "closed");
    drop(FileStorage::open(&path, read_only()).unwrap());
    assert!(!is_open(), "read");
    drop(open(&path).unwrap());
    assert!(is_open(), "opened again");
    drop(open(&path).unwrap());
    assert!(is_open(), "opened after a crash");
    open(&path).unwrap().close().unwrap();
    give_index_to_python(&path);
    drop(open(&path).unwrap());
    assert!(is_open(), "opened after Python");
}
