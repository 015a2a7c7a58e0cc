//! Blobs in a FileStorage: commits, what takes them back, undo, packs.

mod crashes;
mod power_cuts;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::Storage;
use crate::file_storage::{FileStorage, Options};
use crate::storage::{Commit, OnConflict, Op, Prepared};
use crate::testing::{finish, prepare, tid, vote};

const BLOB: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";
const ROOT: Oid = Oid::ZERO;
const OID: Oid = Oid::new(0x12a);

/// A storage with blobs, in a directory of its own.
struct Place {
    directory: TempDir,
    storage: FileStorage,
}

impl Place {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options {
            blob_dir: Some(directory.path().join("blobs")),
            ..Options::default()
        };
        change(&mut options);
        let storage = FileStorage::open(directory.path().join("Data.fs"), options).unwrap();
        Self { directory, storage }
    }

    fn closed(self) -> TempDir {
        self.storage.close().unwrap();
        self.directory
    }

    fn blobs(&self) -> &BlobDirectory {
        self.storage.blobs().unwrap()
    }

    fn file(&self, content: &str) -> Arc<BlobFile> {
        let (mut file, blob) = self.blobs().new_file().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        Arc::new(blob)
    }

    fn store(&self, serial: Tid, content: &str) -> [Op; 2] {
        self.store_as(OID, serial, content)
    }

    fn store_as(&self, oid: Oid, serial: Tid, content: &str) -> [Op; 2] {
        let store = Op::Store {
            oid,
            serial,
            data: BLOB.to_vec(),
        };
        let blob = Op::Blob {
            oid,
            serial: None,
            file: self.file(content),
        };
        [store, blob]
    }

    fn vote(&self, ops: impl IntoIterator<Item = Op>) -> Result<Prepared> {
        prepare(&self.storage, ops.into_iter().collect::<Vec<_>>())
    }

    fn finish(&self, number: u64, prepared: Prepared) -> Result<Tid> {
        finish(&self.storage, tid(number), prepared)?;
        Ok(tid(number))
    }

    fn commit(&self, tid: u64, ops: impl IntoIterator<Item = Op>) -> Tid {
        self.finish(tid, self.vote(ops).unwrap()).unwrap()
    }

    /// The root refers to the blob, or to nothing.
    fn root(&self, serial: Tid, refers: bool) -> Op {
        let mut data = b"\x80\x03ca\nC\nq\x00.\x80\x03".to_vec();
        if refers {
            data.extend([b"C\x08", &OID.to_bytes()[..], b"Q."].concat())
        } else {
            data.extend(b"N.")
        }
        Op::Store {
            oid: ROOT,
            serial,
            data,
        }
    }

    /// Does what no commit waits for.
    fn settle(&self) {
        self.storage.blobs.as_ref().unwrap().settle().unwrap();
    }

    fn content(&self, serial: Tid) -> Option<String> {
        let path = self.storage.load_blob(OID, serial).ok()?;
        Some(fs::read_to_string(path).unwrap())
    }

    /// What is in `tmp` when nothing remains to be done.
    fn temporary(&self) -> Vec<PathBuf> {
        self.settle();
        let entries = fs::read_dir(self.blobs().temporary()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn committed_blobs_have_their_names_and_permissions() {
    let place = Place::new();
    let tid = place.commit(0x10, place.store(Tid::ZERO, "one"));
    let path = place.storage.load_blob(OID, tid).unwrap();
    let expected = "blobs/0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x2a/0x10.blob";
    assert_eq!(path, place.directory.path().join(expected));
    assert_eq!(place.content(tid).as_deref(), Some("one"));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o222, 0, "nobody may write it");
    assert!(place.temporary().is_empty());
    let mark = place.directory.path().join("blobs/.layout");
    assert_eq!(fs::read(mark).unwrap(), b"bushy");
    assert!(matches!(
        place.storage.load_blob(OID, Tid::new(0x11)),
        Err(Error::NoBlob { .. })
    ));
}

#[test]
fn an_upload_that_somebody_removes_stops_nobody_else() {
    let place = Place::new();
    let tid = place.commit(0x10, place.store(Tid::ZERO, "one"));
    let prepared = place.vote(place.store(tid, "two")).unwrap();
    for path in place.temporary() {
        fs::remove_file(path).unwrap();
    }
    // The other one of its batch, which has got its name, can be tried again.
    let other = place.vote(place.store_as(Oid::new(0x99), Tid::ZERO, "other"));
    let (first, second) = (Tid::new(0x20), Tid::new(0x21));
    let mut batch = [(first, other.unwrap()), (second, prepared)]
        .map(|(tid, prepared)| Commit { tid, prepared });
    let error = place.storage.append(&mut batch).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(place.storage.latched(), None);
    assert_eq!(blob_names(place.blobs().path()), ["0x10.blob"]);
    let [other, prepared] = batch.map(|commit| commit.prepared);
    place.finish(0x20, other).unwrap();
    place.finish(0x21, prepared).unwrap_err();
    assert_eq!(place.storage.latched(), None);
    let path = place.storage.load_blob(Oid::new(0x99), first).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "other");
    let third = place.commit(0x30, place.store(tid, "three"));
    assert_eq!(place.content(third).as_deref(), Some("three"));
    assert!(place.temporary().is_empty());
}

#[test]
fn a_pack_with_nothing_to_free_leaves_no_list() {
    let place = Place::new();
    place.commit(0x10, [place.root(Tid::ZERO, true)]);
    place.commit(0x20, place.store(Tid::ZERO, "one"));
    place.storage.pack(1e9, None).unwrap();
    assert!(!place.blobs().path().join(".removed").exists());
    assert!(!place.directory.path().join("blobs.old").exists());
}

#[test]
fn what_is_not_committed_leaves_no_file() {
    let place = Place::new();
    let tid = place.commit(0x10, place.store(Tid::ZERO, "one"));
    assert!(place.vote(place.store(Tid::ZERO, "conflict")).is_err());
    drop(place.vote(place.store(tid, "aborted")).unwrap());
    assert!(place.temporary().is_empty());
    // A tid that does not grow fails in the log writer.
    let prepared = place.vote(place.store(tid, "late")).unwrap();
    place.finish(0x9, prepared).unwrap_err();
    assert!(place.temporary().is_empty());
    assert_eq!(place.content(Tid::new(0x9)), None);
    assert_eq!(place.content(tid).as_deref(), Some("one"));
}

#[test]
fn a_storage_without_blobs_refuses_them() {
    let place = Place::new();
    let ops = place.store(Tid::ZERO, "one");
    let without = FileStorage::in_memory().unwrap();
    let vote = vote(&without, ops, OnConflict::Resolve);
    assert!(matches!(vote, Err(Error::Unsupported(_))));
}

#[test]
fn an_undo_brings_the_file_back() {
    let place = Place::new();
    let one = place.commit(0x10, place.store(Tid::ZERO, "one"));
    let two = place.commit(0x20, place.store(one, "two"));
    let undone = place.commit(0x30, [Op::Undo { tid: two }]);
    assert_eq!(place.content(undone).as_deref(), Some("one"));
    let redone = place.commit(0x40, [Op::Undo { tid: undone }]);
    assert_eq!(place.content(redone).as_deref(), Some("two"));
    let again = place.commit(0x50, [Op::Undo { tid: redone }]);
    assert_eq!(place.content(again).as_deref(), Some("one"));
    assert!(place.temporary().is_empty());
    fs::remove_file(place.storage.load_blob(OID, two).unwrap()).unwrap();
    let lost = place.vote([Op::Undo { tid: again }]);
    assert!(matches!(lost, Err(Error::NoBlob { .. })), "{lost:?}");
}

/// A crash may leave the file of an undo that was not written.
#[test]
fn an_undo_that_finds_its_file_leaves_no_other() {
    let place = Place::new();
    let one = place.commit(0x10, place.store(Tid::ZERO, "one"));
    let two = place.commit(0x20, place.store(one, "two"));
    let blobs = place.blobs();
    fs::hard_link(blobs.path_of(OID, one), blobs.path_of(OID, Tid::new(0x30))).unwrap();
    let undone = place.commit(0x30, [Op::Undo { tid: two }]);
    assert_eq!(place.content(undone).as_deref(), Some("one"));
    assert!(place.temporary().is_empty());
}

#[test]
fn shared_files_are_taken_by_name_only() {
    let place = Place::new();
    let directory = place.blobs().directory_of(OID);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("0x10abc.tmp"), "shared").unwrap();
    fs::write(directory.join("precious"), "").unwrap();
    fs::create_dir(directory.join("d.tmp")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", directory.join("link.tmp")).unwrap();
    fs::write(place.directory.path().join("outside.tmp"), "").unwrap();
    let up = "../../../../../../../../../outside.tmp";
    let absolute = place.directory.path().join("outside.tmp");
    for name in [
        up,
        absolute.to_str().unwrap(),
        "precious",
        "link.tmp",
        "d.tmp",
        "./0x10abc.tmp",
        "0x10abc.tmp/",
        "..",
        "",
        "\0.tmp",
    ] {
        let refused = place.blobs().shared_file(OID, name);
        assert!(matches!(refused, Err(Error::Value(_))), "{name:?}");
    }
    let missing = place.blobs().shared_file(OID, "missing.tmp");
    assert!(matches!(missing, Err(Error::Io { .. })), "{missing:?}");
    for name in ["precious", "d.tmp", "link.tmp"] {
        assert!(fs::symlink_metadata(directory.join(name)).is_ok(), "{name}");
    }
    let file = Arc::new(place.blobs().shared_file(OID, "0x10abc.tmp").unwrap());
    // The client can't take it back now.
    assert!(!directory.join("0x10abc.tmp").exists());
    let [store, _] = place.store(Tid::ZERO, "");
    let blob = Op::Blob {
        oid: OID,
        serial: None,
        file,
    };
    let tid = place.commit(0x10, [store, blob]);
    assert_eq!(place.content(tid).as_deref(), Some("shared"));
}

/// Where `tmp` is on another device.
#[test]
fn a_start_removes_what_uploads_have_left_beside_committed_files() {
    let place = Place::new();
    place.commit(0x10, place.store(Tid::ZERO, "one"));
    let directory = place.blobs().directory_of(OID);
    let count = || fs::read_dir(&directory).unwrap().count();
    drop(place.blobs().new_file_in(&directory).unwrap());
    assert_eq!((count(), place.temporary().len()), (1, 0));
    let (mut file, blob) = place.blobs().new_file_in(&directory).unwrap();
    file.write_all(b"two").unwrap();
    std::mem::forget(blob);
    let (_, placed) = place.blobs().new_file_in(&directory).unwrap();
    assert_eq!((count(), place.temporary().len()), (3, 2));
    let [store, _] = place.store(Tid::new(0x10), "");
    let blob = Op::Blob {
        oid: OID,
        serial: None,
        file: Arc::new(placed),
    };
    place.commit(0x20, [store, blob]);
    assert_eq!(place.temporary().len(), 1, "no note is left of it");
    // Links of others lead nowhere.
    let precious = place.directory.path().join("rzeo-x.tmp");
    fs::write(&precious, "").unwrap();
    for (name, target) in [
        ("rzeo-x.tmp", precious.to_str().unwrap()),
        ("rzeo-y.tmp", "../rzeo-x.tmp"),
        (
            "rzeo-z.tmp",
            "0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x2a/0x10.blob",
        ),
    ] {
        std::os::unix::fs::symlink(target, place.blobs().temporary().join(name)).unwrap();
    }
    BlobDirectory::open(place.blobs().path()).unwrap();
    assert!(place.temporary().is_empty());
    assert!(precious.exists());
    assert_eq!(blob_names(&directory), ["0x10.blob", "0x20.blob"]);
    assert_eq!(count(), 2);
}

#[test]
fn a_start_removes_what_uploads_have_left() {
    let place = Place::new();
    let (_, blob) = place.blobs().new_file().unwrap();
    let theirs = place.blobs().temporary().join("BUCabc");
    fs::write(&theirs, "").unwrap();
    std::mem::forget(blob);
    assert_eq!(place.temporary().len(), 2);
    BlobDirectory::open(place.blobs().path()).unwrap();
    assert_eq!(place.temporary(), [theirs]);
}

/// What a start finds in a directory.
fn reopened(directory: TempDir, keep_old: bool) -> Place {
    let options = Options {
        blob_dir: Some(directory.path().join("blobs")),
        pack_keep_old: keep_old,
        ..Options::default()
    };
    let storage = FileStorage::open(directory.path().join("Data.fs"), options).unwrap();
    Place { directory, storage }
}

fn blob_names(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    removal::each_blob(directory, &mut |path| {
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        Ok(())
    })
    .unwrap();
    names.sort();
    names
}

#[test]
fn a_pack_removes_what_nothing_refers_to() {
    for keep_old in [true, false] {
        let place = Place::with(|options| options.pack_keep_old = keep_old);
        let blobs = place.blobs().path().to_owned();
        let old = place.directory.path().join("blobs.old");
        let first = place.commit(
            0x10,
            [place.root(Tid::ZERO, true)]
                .into_iter()
                .chain(place.store(Tid::ZERO, "one")),
        );
        let second = place.commit(0x20, place.store(first, "two"));
        place.storage.pack(1e9, None).unwrap();
        assert_eq!(blob_names(&blobs), ["0x20.blob"]);
        let kept = ["0x10.blob", "0x20.blob"].map(str::to_owned);
        assert_eq!(
            blob_names(&old),
            if keep_old { kept.to_vec() } else { vec![] }
        );
        assert_eq!(place.content(second).as_deref(), Some("two"));
        place.commit(0x30, [place.root(first, false)]);
        place.storage.pack(1e9, None).unwrap();
        assert_eq!(blob_names(&blobs), [""; 0]);
        assert!(!blobs.join("0x00").exists(), "empty directories go, too");
        assert!(!blobs.join(".removed").exists());
        let kept = if keep_old { vec!["0x20.blob"] } else { vec![] };
        assert_eq!(blob_names(&old), kept);
        assert_eq!(old.exists(), keep_old);
        // There is nothing more to pack: what the last one left stays.
        place.storage.pack(1e9, None).unwrap();
        assert_eq!(blob_names(&old), kept);
        assert_eq!(old.exists(), keep_old);
        let old_file = place.directory.path().join("Data.fs.old");
        assert_eq!(old_file.exists(), keep_old);
    }
}

/// Clients store the record twice: one of them goes in a pack, the other one
/// stays when an undo after the pack time leads to it. Its file is needed when
/// that is what another undo brings back.
#[test]
fn a_pack_keeps_the_file_of_a_record_that_an_undo_leads_to() {
    let place = Place::with(|options| options.pack_keep_old = false);
    let twice = |serial, content| {
        let [store, blob] = place.store(serial, content);
        let again = place.store(serial, content).into_iter().take(1);
        [store].into_iter().chain(again).chain([blob])
    };
    let root = [place.root(Tid::ZERO, true)];
    let one = place.commit(0x10, root.into_iter().chain(twice(Tid::ZERO, "one")));
    let two = place.commit(0x20, twice(one, "two"));
    // Later than the pack time.
    let later = 0x0400_0000_0000_0000;
    let undone = place.commit(later, [Op::Undo { tid: two }]);
    let three = place.commit(later + 1, twice(undone, "three"));
    place.storage.pack(1e9, None).unwrap();
    let again = place.commit(later + 2, [Op::Undo { tid: three }]);
    assert_eq!(place.content(again).as_deref(), Some("one"));
    place.storage.pack(1e10, None).unwrap();
    assert_eq!(blob_names(place.blobs().path()).len(), 1);
}

/// An object may cease to be a blob in the transaction that stores one. The
/// file goes with the record of the blob.
#[test]
fn a_pack_removes_the_file_of_a_blob_that_became_something_else() {
    let place = Place::with(|options| options.pack_keep_old = false);
    let other = |serial| Op::Store {
        oid: OID,
        serial,
        data: b"\x80\x03ca\nC\nq\x00.\x80\x03N.".to_vec(),
    };
    let root = [place.root(Tid::ZERO, true)];
    let blob = place.store(Tid::ZERO, "one");
    let became = root.into_iter().chain(blob).chain([other(Tid::ZERO)]);
    let first = place.commit(0x10, became);
    let second = place.commit(0x20, [other(first)]);
    let later = 0x0400_0000_0000_0000;
    // For this, a pack keeps the record that is no blob.
    let undone = place.commit(later, [Op::Undo { tid: second }]);
    assert_eq!(blob_names(place.blobs().path()), ["0x10.blob"]);
    place.storage.pack(1e9, None).unwrap();
    assert_eq!(blob_names(place.blobs().path()), [""; 0]);
    assert!(place.storage.load_serial(OID, undone).is_ok());
}

/// A pack that was killed before its file took the place: what it has listed
/// is needed, also what only a back-pointer leads to.
#[test]
fn a_list_beside_an_unfinished_pack_removes_nothing() {
    let place = Place::with(|options| options.pack_keep_old = false);
    let root = [place.root(Tid::ZERO, true)];
    let freed = place.commit(
        0x08,
        root.into_iter().chain(place.store(Tid::ZERO, "freed")),
    );
    let one = place.commit(0x10, place.store(freed, "one"));
    let two = place.commit(0x20, place.store(one, "two"));
    let later = 0x0400_0000_0000_0000;
    let undone = place.commit(later, [Op::Undo { tid: two }]);
    let three = place.commit(later + 1, place.store(undone, "three"));
    place.storage.pack(1e9, None).unwrap();
    let mut list = place.blobs().list_removed().unwrap();
    list.add(OID, one).unwrap();
    list.finish().unwrap();
    list.keep();
    fs::write(place.directory.path().join("Data.fs.pack"), "half").unwrap();
    let place = reopened(place.closed(), false);
    assert!(!place.blobs().path().join(".removed").exists());
    let again = place.commit(later + 2, [Op::Undo { tid: three }]);
    assert_eq!(place.content(again).as_deref(), Some("one"));
}

/// The second time as where a power cut has kept both names of the packed file.
#[test]
fn a_list_that_a_kill_left_removes_only_what_is_gone() {
    for is_named_twice in [false, true] {
        let place = Place::with(|options| options.pack_keep_old = false);
        let one = place.commit(0x10, place.store(Tid::ZERO, "one"));
        let mut list = place.blobs().list_removed().unwrap();
        list.add(OID, one).unwrap();
        let gone = place.blobs().path_of(OID, Tid::new(0x11));
        fs::write(&gone, "").unwrap();
        list.add(OID, Tid::new(0x11)).unwrap();
        list.finish().unwrap();
        list.keep();
        let directory = place.closed();
        if is_named_twice {
            let names = ["Data.fs", "Data.fs.pack"].map(|name| directory.path().join(name));
            fs::hard_link(&names[0], &names[1]).unwrap();
        }
        let place = reopened(directory, false);
        assert!(place.storage.load_blob(OID, one).is_ok());
        assert!(!gone.exists());
        assert!(!place.blobs().path().join(".removed").exists());
    }
}
