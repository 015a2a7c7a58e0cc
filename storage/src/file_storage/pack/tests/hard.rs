//! The same result as Python's packer on harder histories, on disk and with
//! blobs: `testdata/generate/make_hard_packs.py`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::ZlibDecoder;
use serde_json::Value;

use super::python::{check_readable, check_same, data};
use super::support::{bytes, check_whole, open_bytes};
use crate::blob::is_blob;
use crate::file_storage::index;
use crate::file_storage::{FileStorage, Options};
use crate::{Error, Storage};

/// Set `RZEO_VENV6` to a virtual environment with ZODB; `RZEO_HARD_PACKS` to
/// the number of histories, and `RZEO_HARD_PACKS_FIRST` to the first seed.
#[test]
fn hard_histories() {
    let Some(venv) = std::env::var_os("RZEO_VENV6") else {
        return;
    };
    let number = |name, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new(Path::new(&venv).join("bin/python"))
        .arg(data().join("generate/make_hard_packs.py"))
        .arg(directory.path())
        .arg(number("RZEO_HARD_PACKS_FIRST", "0"))
        .arg(number("RZEO_HARD_PACKS", "60"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{errors}");
    let mut count = Count::default();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut json = String::new();
        let packed = fs::File::open(&path).unwrap();
        ZlibDecoder::new(packed).read_to_string(&mut json).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy();
        check_history(&name, &serde_json::from_str(&json).unwrap(), &mut count);
    }
    println!("{count:?}");
    assert!(count.histories < 20 || count.packed > 0 && count.blobs > 0);
}

/// What was seen.
#[derive(Debug, Default)]
struct Count {
    histories: usize,
    /// Packs that changed something, and that Python failed at.
    packed: usize,
    failed: usize,
    /// Blob files that were removed.
    blobs: usize,
}

fn check_history(name: &str, answer: &Value, count: &mut Count) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    let blob_dir = directory.path().join("Data.fs.blobs");
    let file = hex_of(&answer["file"]);
    fs::write(&path, &file).unwrap();
    for (blob, text) in answer["blobs"].as_object().unwrap() {
        let blob = blob_dir.join(blob);
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(blob, text.as_str().unwrap()).unwrap();
    }
    let layout = answer["layout"].as_str();
    if let Some(layout) = layout {
        fs::create_dir_all(&blob_dir).unwrap();
        fs::write(blob_dir.join(".layout"), layout).unwrap();
    }
    if !answer["index"].is_null() {
        fs::write(path.with_extension("fs.index"), hex_of(&answer["index"])).unwrap();
    }
    // Python's packer knows nothing of the status `u`.
    let mut python = hex_of(&answer["python"]);
    let mut has_undone = python != file;
    count.histories += 1;
    for step in answer["packs"].as_array().unwrap() {
        let case = Case {
            place: format!(
                "{name}: to {}, garbage collection {}",
                step["time"], step["gc"]
            ),
            step,
            path: &path,
            blob_dir: &blob_dir,
            has_blobs: layout.is_some(),
        };
        let expected = hex_of(&step["file"]);
        let python_packed = expected != python;
        if !case.check(&expected, python_packed, has_undone, count) {
            return;
        }
        has_undone = false;
        python = expected;
    }
}

struct Case<'a> {
    place: String,
    step: &'a Value,
    path: &'a Path,
    blob_dir: &'a Path,
    has_blobs: bool,
}

impl Case<'_> {
    /// False when the next pack can't be compared.
    fn check(&self, expected: &[u8], packed: bool, has_undone: bool, count: &mut Count) -> bool {
        let (place, step) = (&self.place, self.step);
        let (time, gc) = (
            f64::from_bits(step["time_bits"].as_u64().unwrap()),
            step["gc"].as_bool().unwrap(),
        );
        let keep = step["keep"].as_bool().unwrap();
        let options = Options {
            pack_keep_old: keep,
            blob_dir: self.has_blobs.then(|| self.blob_dir.to_owned()),
            ..Options::default()
        };
        let storage = FileStorage::open(self.path, options).unwrap();
        let before = bytes(&storage);
        let blobs = self.blobs_of(&storage);
        let others: BTreeSet<_> = &blobs_in(self.blob_dir) - &blobs;
        let result = storage.pack(time, Some(gc));
        let unchanged = bytes(&storage) == before;
        let mut go_on = true;
        match step["error"].as_str() {
            // Behind a transaction of status `u`, not all is packed.
            None if has_undone && !packed && result.is_err() => {
                assert!(unchanged, "{place}");
                go_on = false;
            }
            None if packed => {
                result.expect(place);
                check_same(place, &open_bytes(&before), &storage, expected);
                let entries = step["index"].as_array().unwrap().iter();
                let python: Vec<_> = entries
                    .map(|entry| (entry[0].as_u64().unwrap(), entry[1].as_u64().unwrap()))
                    .collect();
                if bytes(&storage).len() == expected.len() {
                    assert_eq!(index_of(&storage), python, "{place}");
                }
                count.packed += 1;
                // A back-pointer may lead to another of equal records.
                go_on = bytes(&storage) == expected;
            }
            None => {
                result.expect(place);
                assert!(unchanged || has_undone, "{place}");
                go_on = unchanged;
            }
            Some("KeyError") => {
                // Ours looks at the tids behind the pack time first.
                let is_dangling = matches!(result, Err(Error::Dangling { .. }));
                assert!(is_dangling || is_of_tids(&result), "{place}: {result:?}");
                assert!(unchanged, "{place}");
                count.failed += 1;
            }
            // Tids that don't grow.
            Some("CorruptedError") => {
                assert!(is_of_tids(&result) && unchanged, "{place}: {result:?}");
                count.failed += 1;
            }
            // Python loses track of records that later ones point to.
            Some("PackError" | "AssertionError") => {
                result.expect(place);
                check_readable(place, &open_bytes(&before), &storage, time, gc);
                count.failed += 1;
                go_on = false;
            }
            Some(error) => panic!("{place}: {error}"),
        }
        check_whole(&storage);
        self.check_old(&before, bytes(&storage) != before, keep);
        self.check_blobs(&storage, &blobs, packed && go_on, count);
        if packed && go_on && step["error"].is_null() {
            self.check_others(&others);
        }
        storage.close().unwrap();
        self.check_index(&storage);
        go_on
    }

    fn check_old(&self, before: &[u8], changed: bool, keep: bool) {
        let (place, old) = (&self.place, self.path.with_extension("fs.old"));
        if changed {
            let kept = fs::read(&old).ok();
            assert_eq!(kept.as_deref(), keep.then_some(before), "{place}");
        }
        assert!(!self.path.with_extension("fs.pack").exists(), "{place}");
    }

    /// The index that was written is that of the file.
    fn check_index(&self, storage: &FileStorage) {
        let path = self.path.with_extension("fs.index");
        let index = index::file::load(&path, &*storage.generation().backend);
        let loaded: Vec<_> = index.unwrap().unwrap().index.iter().collect();
        let expected: Vec<_> = storage.generation().index.iter().collect();
        assert_eq!(loaded, expected, "{}", self.place);
    }

    /// The files of all revisions that are there, and no others; Python takes
    /// some more, of objects that were gone at the pack time and came back.
    fn check_blobs(
        &self,
        storage: &FileStorage,
        before: &BTreeSet<PathBuf>,
        python_packed: bool,
        count: &mut Count,
    ) {
        let place = &self.place;
        let expected = self.blobs_of(storage);
        let found = blobs_in(self.blob_dir);
        let wrong: Vec<_> = found
            .difference(&expected)
            .filter(|path| before.contains(*path))
            .collect();
        assert!(wrong.is_empty(), "{place}: {wrong:?}");
        let lost: Vec<_> = before
            .difference(&found)
            .filter(|path| expected.contains(*path))
            .collect();
        assert!(lost.is_empty(), "{place}: {lost:?}");
        if python_packed && self.step["error"].is_null() {
            let old = self.blob_dir.with_extension("blobs.old");
            let kept = blobs_in(&old);
            // And what a pack before took away in Python, and not here.
            let mut lost = before.difference(&kept);
            let python = self.names("old_blobs");
            assert!(lost.all(|path| !python.contains(path)), "{place}");
        }
        count.blobs += before.difference(&found).count();
    }

    /// Files without a record stay, as in Python.
    fn check_others(&self, others: &BTreeSet<PathBuf>) {
        let (found, python) = (blobs_in(self.blob_dir), self.names("blobs"));
        let lost = others
            .difference(&found)
            .find(|&path| python.contains(path));
        assert_eq!(lost, None, "{}", self.place);
    }

    /// Names of files that Python had after the pack.
    fn names(&self, key: &str) -> BTreeSet<PathBuf> {
        let names = self.step[key].as_array().unwrap().iter();
        names.map(|name| name.as_str().unwrap().into()).collect()
    }

    /// The blob files of revisions that are in the storage.
    fn blobs_of(&self, storage: &FileStorage) -> BTreeSet<PathBuf> {
        let there = blobs_in(self.blob_dir);
        let Some(layout) = &storage.blobs else {
            return there;
        };
        let transactions = storage.iterator(None, None).unwrap().map(Result::unwrap);
        transactions
            .flat_map(|txn| (txn.records)().map(Result::unwrap))
            .filter(|record| record.data.as_deref().is_some_and(is_blob))
            .map(|record| layout.path_of(record.oid, record.tid))
            .map(|path| path.strip_prefix(self.blob_dir).unwrap().to_owned())
            .filter(|path| there.contains(path))
            .collect()
    }
}

fn is_of_tids(result: &crate::Result<()>) -> bool {
    matches!(result, Err(Error::Corrupt { what, .. }) if what.contains("is not later than the last"))
}

fn index_of(storage: &FileStorage) -> Vec<(u64, u64)> {
    let generation = storage.generation();
    let entries = generation.index.iter();
    entries.map(|(oid, at)| (oid.as_u64(), at)).collect()
}

/// The blob files below a directory, relative.
fn blobs_in(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(inner) = directories.pop() {
        for entry in fs::read_dir(inner).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "blob")
            {
                found.insert(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    found
}

fn hex_of(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}
