//! Backups that are cancelled at each call of their observer.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::blob::BlobDirectory;
use crate::file_storage;
use crate::log::silent;
use crate::testing::{Cancelling, commit_under, oid, store, tid};
use crate::{FileStorage, Storage};

const BLOB: &[u8] = b"cZODB.blob\nBlob\n.N.";

/// A directory with `Data.fs` of two transactions and a blob in `blobs`, and an
/// empty repository `R`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("R")).unwrap();
        place.store(1);
        let blobs = BlobDirectory::open(&place.path("blobs")).unwrap();
        let file = blobs.path_of(oid(1), tid(1));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "a blob").unwrap();
        place.store(2);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn store(&self, number: u64) {
        let file = self.path("Data.fs");
        let storage = FileStorage::open(&file, file_storage::Options::default()).unwrap();
        commit_under(&storage, number, &[store(number, 0, BLOB)]).unwrap();
        storage.close().unwrap();
    }

    fn create(&self, observer: &mut Cancelling) -> Result<Created> {
        let options = Options {
            blobs: Some(self.path("blobs")),
            gzip: true,
            ..Options::default()
        };
        let (repository, file) = (self.path("R"), self.path("Data.fs"));
        create(&repository, &file, &options, &silent(), observer)
    }

    fn recover(&self, observer: &mut Cancelling) -> Result<Recovered> {
        let options = RecoverOptions {
            verify: true,
            blobs: Some(self.path("restored")),
            ..RecoverOptions::default()
        };
        let output = self.path("out.fs");
        recover(&self.path("R"), &options, Output::File(&output), observer)
    }
}

/// All files below a directory, but those of blobs.
fn content(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

/// Does it, cancelled after each number of calls, until it ends by itself.
/// After each time, `left` looks at what was left. Gives how often it was
/// cancelled.
fn cancel_each_call<T>(
    mut act: impl FnMut(&mut Cancelling) -> Result<T>,
    mut left: impl FnMut(),
) -> usize {
    for calls in 0.. {
        match act(&mut Cancelling::after(calls)) {
            Ok(_) => return calls,
            Err(Error::Storage(crate::Error::Cancelled)) => left(),
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("it never ends");
}

#[test]
fn a_cancelled_backup_leaves_the_backups_as_they_were() {
    let place = Place::new();
    let repository = place.path("R");
    for number in [3, 4] {
        place.store(number);
        let before = content(&repository);
        let count = cancel_each_call(
            |observer| place.create(observer),
            || assert_eq!(content(&repository), before),
        );
        assert!(count > 3, "{count} times");
        // Three blobs have no file.
        assert_eq!(verify(&repository, false, &mut ()).unwrap().len(), 0);
    }
    assert_eq!(
        place.create(&mut Cancelling::after(99)).unwrap().data_file,
        None
    );
}

#[test]
fn a_cancelled_recovery_leaves_the_old_file() {
    let place = Place::new();
    place.create(&mut Cancelling::after(99)).unwrap();
    fs::write(place.path("out.fs"), "").unwrap();
    fs::write(place.path("out.fs.index"), "old").unwrap();
    let before = content(place.0.path());
    let count = cancel_each_call(
        |observer| place.recover(observer),
        || assert_eq!(content(place.0.path()), before),
    );
    assert!(count > 2, "{count} times");
    let [found, expected] = ["out.fs", "Data.fs"].map(|name| fs::read(place.path(name)).unwrap());
    assert_eq!(found, expected);
    let restored = BlobDirectory::open_read_only(&place.path("restored")).unwrap();
    let blob = restored.path_of(oid(1), tid(1));
    assert_eq!(fs::read(blob).unwrap(), b"a blob");
}

#[test]
fn a_verification_can_be_cancelled() {
    let place = Place::new();
    place.create(&mut Cancelling::after(99)).unwrap();
    let repository = place.path("R");
    let before = content(&repository);
    let count = cancel_each_call(
        |observer| verify(&repository, false, observer),
        || assert_eq!(content(&repository), before),
    );
    // The data file and the blob.
    assert_eq!(count, 2);
}

#[test]
fn what_is_wrong_is_told_by_kind() {
    let place = Place::new();
    let missing = verify(&place.path("R"), false, &mut ());
    assert!(matches!(missing, Err(Error::NoFiles { before: None })));
    let none = verify(&place.path("nowhere"), false, &mut ());
    assert!(matches!(none, Err(Error::Storage(crate::Error::Io { .. }))));
    let file = verify(&place.path("Data.fs"), false, &mut ());
    assert!(matches!(file, Err(Error::NoDirectory(_))));

    let created = place.create(&mut Cancelling::after(99)).unwrap();
    assert_eq!(created.missing_blobs, 1);
    let data_file = created.data_file.unwrap();
    fs::remove_file(&data_file).unwrap();
    let problems = verify(&place.path("R"), false, &mut ()).unwrap_err();
    assert!(matches!(problems, Error::NoFiles { .. }), "{problems}");
}
