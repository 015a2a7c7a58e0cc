//! Packs that are killed, or that fail, at every step in the directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::support::{check_whole, commit, record, store, text_of};
use crate::Storage;
use crate::disk::FileSystem;
use crate::file_storage::{FileStorage, Options};
use crate::testing::disk::Steps;

/// What a pack does to the directory, in this order.
const STEPS: [&str; 12] = [
    "remove .pack",
    "remove .old",
    "create .pack",
    "remove .index_tmp",
    "create .index_tmp",
    "sync file",
    "rename",
    "sync",
    "link .old",
    "rename",
    "sync",
    "remove .pack",
];
/// The same without links.
const STEPS_WITHOUT_LINKS: [&str; 13] = [
    "remove .pack",
    "remove .old",
    "create .pack",
    "remove .index_tmp",
    "create .index_tmp",
    "sync file",
    "rename",
    "sync",
    "link .old",
    "rename",
    "rename",
    "sync",
    "remove .pack",
];

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A storage to be packed to second 150, with an index and an older `.old`.
fn fill(path: &Path) -> FileStorage {
    let storage = FileStorage::open(path, Options::default()).unwrap();
    let root = store(&storage, 0, record(&[1, 2], "root"));
    let objects = (1..4).map(|oid| store(&storage, oid, record(&[], "first")));
    let all = std::iter::once(root).chain(objects).collect();
    commit(&storage, 100, all);
    for second in 101..200 {
        let oid = 1 + second % 3;
        let text = second.to_string();
        commit(
            &storage,
            second,
            vec![store(&storage, oid, record(&[], &text))],
        );
    }
    storage.write_index(true).unwrap();
    fs::write(path.with_extension("fs.old"), "old").unwrap();
    storage
}

fn contents(storage: &FileStorage) -> Vec<Option<String>> {
    let texts = (0..5).map(|oid| text_of(storage, oid));
    texts
        .chain([Some(storage.last_tid().to_string())])
        .collect()
}

fn watched(
    directory: &Path,
    failing: Option<usize>,
    images: Option<PathBuf>,
) -> (FileStorage, Arc<Steps>) {
    let mut storage = fill(&directory.join("Data.fs"));
    let steps = Steps::new(directory, failing, images);
    storage.files.as_mut().unwrap().disk = steps.clone();
    (storage, steps)
}

#[test]
fn killed_at_every_step() {
    kill(true, &STEPS);
}

#[test]
fn killed_at_every_step_without_links() {
    kill(false, &STEPS_WITHOUT_LINKS);
}

fn kill(links: bool, expected_steps: &[&str]) {
    let (directory, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (storage, steps) = watched(directory.path(), None, Some(images.path().to_owned()));
    if !links {
        steps.without_links();
    }
    let (expected, old_size) = (contents(&storage), storage.size());
    storage.pack(150.0, None).unwrap();
    assert_eq!(steps.names(), expected_steps);
    let renamed = expected_steps.len() - 2;
    let new_size = storage.size();
    let left = ["Data.fs", "Data.fs.index", "Data.fs.lock", "Data.fs.old"];
    assert_eq!(names(directory.path()), left);
    assert_eq!(
        fs::metadata(directory.path().join("Data.fs.old"))
            .unwrap()
            .len(),
        old_size
    );
    storage.close().unwrap();
    for (number, step) in expected_steps.iter().enumerate() {
        let path = images.path().join(number.to_string()).join("Data.fs");
        let storage = FileStorage::open(&path, Options::default()).unwrap();
        assert_eq!(contents(&storage), expected, "killed before {step}");
        let size = if number < renamed { old_size } else { new_size };
        assert_eq!(storage.size(), size, "killed before {step}");
        check_whole(&storage);
        commit(
            &storage,
            300,
            vec![store(&storage, 1, record(&[], "later"))],
        );
        storage.pack(150.0, None).unwrap();
        storage.close().unwrap();
        let storage = FileStorage::open(&path, Options::default()).unwrap();
        assert_eq!(text_of(&storage, 1).unwrap(), "later");
        check_whole(&storage);
        assert!(!names(path.parent().unwrap()).contains(&"Data.fs.pack".to_owned()));
    }
}

#[test]
fn failing_at_every_step() {
    fail(true, &STEPS);
}

#[test]
fn failing_at_every_step_without_links() {
    fail(false, &STEPS_WITHOUT_LINKS);
}

fn fail(links: bool, steps: &[&str]) {
    let last = steps.len() - 1;
    for (number, step) in steps.iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let (storage, watcher) = watched(directory.path(), Some(number), None);
        if !links {
            watcher.without_links();
        }
        let expected = contents(&storage);
        let packed = storage.pack(150.0, None);
        assert_eq!(packed.is_ok(), number == last, "{step}: {packed:?}");
        assert_eq!(contents(&storage), expected, "{step}");
        check_whole(&storage);
        let path = directory.path().join("Data.fs");
        assert!(!path.with_extension("fs.pack").exists(), "{step}");
        // After the rename, nobody knows what a power cut would leave.
        assert_eq!(storage.latched().is_some(), number == last - 1, "{step}");
        if storage.latched().is_none() {
            commit(
                &storage,
                300,
                vec![store(&storage, 1, record(&[], "later"))],
            );
        }
        let expected = contents(&storage);
        storage.close().unwrap();
        let storage = FileStorage::open(&path, Options::default()).unwrap();
        assert_eq!(contents(&storage), expected, "{step}");
        check_whole(&storage);
    }
}

#[test]
fn old_file_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    fill(&path).close().unwrap();
    let options = Options {
        pack_keep_old: false,
        pack_gc: false,
        ..Options::default()
    };
    // What a killed pack has left.
    fs::write(path.with_extension("fs.pack"), "half").unwrap();
    let storage = FileStorage::open(&path, options).unwrap();
    storage.pack(150.0, None).unwrap();
    assert_eq!(
        names(directory.path()),
        ["Data.fs", "Data.fs.index", "Data.fs.lock"]
    );
    assert!(text_of(&storage, 3).is_some(), "garbage is kept");
    storage.pack(150.0, Some(true)).unwrap();
    assert!(text_of(&storage, 3).is_some(), "it has changed since");
}

/// The gap in a pack without links, or in one of Python's: the old file has
/// another name already, and the new one has not got its own.
#[test]
fn old_file_is_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    let storage = fill(&path);
    let expected = contents(&storage);
    storage.close().unwrap();
    let (old, pack) = (
        path.with_extension("fs.old"),
        path.with_extension("fs.pack"),
    );
    let open = |create| {
        let options = Options {
            create,
            ..Options::default()
        };
        FileStorage::open(&path, options).unwrap()
    };
    fs::rename(&path, &old).unwrap();
    fs::write(&pack, "half").unwrap();
    let storage = open(false);
    assert_eq!(contents(&storage), expected);
    assert!(!old.exists());
    storage.close().unwrap();
    // Without .pack, somebody has removed the file, or wants another one.
    fs::rename(&path, &old).unwrap();
    fs::remove_file(&pack).unwrap();
    assert_eq!(open(false).size(), 4);
    fs::write(&pack, "half").unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(open(true).size(), 4);
    assert!(old.exists());
}

/// The file has lost its name, and gets none: all writing ends, and the next
/// start finds it.
#[test]
fn neither_file_gets_the_name() {
    struct TwoRenames(Arc<Steps>);
    impl FileSystem for TwoRenames {
        fn create(&self, path: &Path) -> io::Result<File> {
            self.0.create(path)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.0.remove(path)
        }
        fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn rename(&self, path: &Path, over: &Path) -> io::Result<()> {
            // That of the index, and that of the old file.
            let done = self
                .0
                .names()
                .iter()
                .filter(|name| *name == "rename")
                .count();
            if done >= 2 {
                Err(io::Error::other("the disk is broken"))
            } else {
                self.0.rename(path, over)
            }
        }
        fn sync(&self, path: &Path) -> io::Result<()> {
            self.0.sync(path)
        }
        fn sync_file(&self, file: &File) -> io::Result<()> {
            self.0.sync_file(file)
        }
        fn sync_all(&self, path: &Path) -> io::Result<()> {
            self.0.sync_all(path)
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    let mut storage = fill(&path);
    let steps = Steps::new(directory.path(), None, None);
    storage.files.as_mut().unwrap().disk = Arc::new(TwoRenames(steps));
    let expected = contents(&storage);
    assert!(storage.pack(150.0, None).is_err());
    assert!(storage.latched().is_some() && !path.exists());
    assert_eq!(contents(&storage), expected);
    let _ = storage.close();
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    assert_eq!(contents(&storage), expected);
    check_whole(&storage);
}
