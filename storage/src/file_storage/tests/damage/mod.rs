//! Accidents of all kinds to the files of a storage: what is served is right,
//! what can't be served is named, and nothing else suffers.
//!
//! `RZEO_DAMAGE_CASES` (how many of each) and `RZEO_DAMAGE_SEED` (the first)
//! make longer runs: `scripts/damage`.

mod history;

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use fastrand::Rng;
use zeo_proto::Tid;

use self::history::{History, OBJECTS, TRANSACTIONS, all_answers, answer, damage, questions};
use crate::disk::backend::{Backend, MemoryBackend};
use crate::file_storage::format::FIRST;
use crate::file_storage::index;
use crate::file_storage::{FileStorage, Options};
use crate::storage::Op;
use crate::testing::files::{content, memory};
use crate::testing::{commit, listening, oid};
use crate::{Error, Storage};

/// Cases of each kind, unless the environment says otherwise.
const CASES: u64 = 120;
/// An object that no history has.
const NEW: u64 = 1000;

/// Runs a test on cases that depend on their number only; a failure shows the
/// number.
fn for_each_case(mut test: impl FnMut(&History, &mut Rng)) {
    static HISTORIES: OnceLock<Vec<History>> = OnceLock::new();
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
    let seed = number("RZEO_DAMAGE_SEED").unwrap_or(1);
    let histories = HISTORIES.get_or_init(|| (seed..seed + 5).map(History::new).collect());
    for case in 0..number("RZEO_DAMAGE_CASES").unwrap_or(CASES) {
        println!("RZEO_DAMAGE_SEED={seed}, case {case}");
        let history = &histories[case as usize % histories.len()];
        test(
            history,
            &mut Rng::with_seed(seed.wrapping_mul(1 << 32) + case),
        );
    }
}

/// A file that is scanned is refused, or all that it serves is as it was; of
/// what is cut off as torn, nothing was whole.
#[test]
fn a_damaged_file_is_refused_or_right() {
    let (mut refused, mut opened) = (0, 0);
    for_each_case(|history, random| {
        let bytes = damage(history.bytes.clone(), random);
        let damaged = history.damaged(&bytes);
        match FileStorage::over(memory(&bytes), "memory", &Options::default()) {
            _ if history.hides_damage(&bytes) => {}
            Ok(storage) => {
                opened += 1;
                let end = storage.size() as usize;
                let border = history.borders.iter().position(|&border| border == end);
                let border = border.expect("a whole number of transactions");
                assert!(
                    all_answers(&storage) == history.answers[border],
                    "other answers"
                );
                let lost = history.borders.len() - 1 - border;
                let damaged = damaged.iter().filter(|at| at.start >= end);
                assert_eq!(lost, damaged.count(), "whole transactions are lost");
            }
            Err(Error::Corrupt { position, .. }) => {
                refused += 1;
                let position = position as usize;
                let in_magic = position == 0 && bytes.get(..4) != history.bytes.get(..4);
                let first = damaged.first().cloned().unwrap_or_default();
                let is_first = in_magic || first.contains(&position);
                assert!(is_first, "{position}, not {first:?}");
            }
            Err(error) => panic!("{error}"),
        }
    });
    assert!(
        refused > 50 && opened > 5,
        "{refused} refused, {opened} opened"
    );
}

/// An index that is not what was saved is not used.
#[test]
fn a_damaged_index_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Data.fs");
    let python_end = |index: &[u8]| index.len() - 12;
    for_each_case(|history, random| {
        let index = damage(history.index.clone(), random);
        let is_whole =
            index == history.index || index == history.index[..python_end(&history.index)];
        fs::write(&path, &history.bytes).unwrap();
        fs::write(dir.path().join("Data.fs.index"), &index).unwrap();
        let (mut options, messages) = listening();
        // Saves no index, so it is quick.
        options.read_only = true;
        let storage = FileStorage::open(&path, options).unwrap();
        assert!(all_answers(&storage) == history.last(), "other answers");
        let messages = messages.lock().unwrap();
        let told = messages
            .iter()
            .any(|(_, text)| text.contains("ignoring the index"));
        assert!(told != is_whole, "{messages:?}");
    });
}

/// The same without a checksum, as Python writes it: objects may be missing
/// or fail, but none is another one.
#[test]
fn a_damaged_index_of_python_leads_to_no_wrong_object() {
    for_each_case(|history, random| {
        let length = history.index.len() - 12;
        let index = damage(history.index[..length].to_vec(), random);
        let Ok(loaded) = index::file::read(&index[..], history.bytes.len() as u64) else {
            return;
        };
        let (backend, options) = (memory(&history.bytes), Options::default());
        let name = "memory".to_owned();
        let opened = FileStorage::over_with_index(backend, name, &options, Some(loaded));
        let Ok(storage) = opened else { return };
        for ((number, _), answer) in questions().zip(all_answers(&storage)) {
            let Ok(Some((serial, data, _))) = answer else {
                continue;
            };
            let is_own = questions().zip(history.last()).any(|((other, _), answer)| {
                let found = answer.as_ref().ok().and_then(Option::as_ref);
                other == number && found.is_some_and(|found| found.0 == serial && found.1 == data)
            });
            assert!(is_own, "object {number} has something else");
        }
    });
}

/// What goes bad while the storage is open fails by itself. A pack stops and
/// leaves all as it was.
#[test]
fn damage_to_an_open_file_stays_where_it_is() {
    let (mut failed, mut served) = (0, 0);
    for_each_case(|history, random| {
        let backend = memory(&history.bytes);
        let storage = FileStorage::over(backend.clone(), "memory", &Options::default()).unwrap();
        let bytes = damage(history.bytes.clone(), random);
        backend.truncate(bytes.len() as u64).unwrap();
        backend.write_all_at(&bytes, 0).unwrap();
        let check = |failed: &mut usize, served: &mut usize| {
            let questions = questions().zip(history.last()).zip(&history.sources);
            for ((question, expected), sources) in questions {
                let answer = answer(&storage, question);
                let mut sources = sources.iter().cloned();
                if sources.all(|at| bytes.get(at.clone()) == history.bytes.get(at)) {
                    assert!(answer == *expected, "{question:?}: {answer:?}");
                    *served += 1;
                } else if let Err(error) = answer {
                    let named = error.starts_with("memory is damaged at position ");
                    let named = named && error.contains(&format!("object {}", oid(question.0)));
                    assert!(named || error.starts_with("there is no object"), "{error}");
                    *failed += 1;
                }
            }
        };
        check(&mut failed, &mut served);
        read_everything(&storage);
        let store = Op::Store {
            oid: oid(NEW),
            serial: Tid::ZERO,
            data: b"\x80\x03ca\nC\nq\x00.\x80\x03N.".to_vec(),
        };
        commit(&storage, TRANSACTIONS + 1, vec![store]).unwrap();
        assert!(storage.load_before(oid(NEW), Tid::MAX).unwrap().is_some());
        let before = content(&*backend);
        match storage.pack(1e9, None) {
            // The new file begins as it should.
            Ok(()) => assert!(
                bytes.get(4..) == history.bytes.get(4..) || history.hides_damage(&bytes),
                "packed"
            ),
            Err(Error::Corrupt { .. } | Error::Dangling { .. }) => {
                assert!(content(&*backend) == before, "changed");
                check(&mut failed, &mut served);
            }
            Err(error) => panic!("{error}"),
        }
    });
    assert!(
        failed > 1000 && served > 1000,
        "{failed} failed, {served} served"
    );
}

/// A disk of which a part can't be read.
#[derive(Default)]
struct BadDisk {
    inner: MemoryBackend,
    bad: Mutex<Range<u64>>,
}

impl Backend for BadDisk {
    fn path(&self) -> &Path {
        Path::new("bad")
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let (bad, end) = (self.bad.lock().unwrap(), position + buffer.len() as u64);
        if bad.start < end && position < bad.end {
            return Err(io::Error::other("the disk is worn"));
        }
        self.inner.read_at(buffer, position)
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.inner.write_all_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.inner.truncate(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
        Ok(())
    }
    fn sibling(&self) -> Option<Arc<dyn Backend>> {
        self.inner.sibling()
    }
}

/// The disk refuses a part of the file: its objects fail, with position and
/// oid; others are served, and commits go on.
#[test]
fn a_part_that_cannot_be_read() {
    let history = History::new(1);
    let backend = Arc::new(BadDisk::default());
    backend.write_all_at(&history.bytes, 0).unwrap();
    let storage = FileStorage::over(backend.clone(), "bad", &Options::default()).unwrap();
    let middle = history.bytes.len() as u64 / 2;
    *backend.bad.lock().unwrap() = middle..middle + 4096;
    let (mut served, mut failed) = (0, 0);
    for (question, expected) in questions().zip(history.last()) {
        let found = answer(&storage, question);
        match &found {
            Err(error) if error.starts_with("reading bad: the disk is worn, at ") => {
                assert!(
                    error.ends_with(&format!("(object {})", oid(question.0))),
                    "{error}"
                );
                failed += 1;
            }
            _ => {
                assert!(found == *expected, "{question:?}: {found:?}");
                served += 1;
            }
        }
    }
    assert!(
        served > 50 && failed > 50,
        "{served} served, {failed} failed"
    );
    let error = storage.pack(1e9, None).unwrap_err().to_string();
    assert!(
        error.starts_with("reading bad: the disk is worn, at "),
        "{error}"
    );
    let serial = Tid::ZERO;
    let (oid, data) = (oid(NEW), b"\x80\x03ca\nC\nq\x00.\x80\x03N.".to_vec());
    commit(
        &storage,
        TRANSACTIONS + 1,
        vec![Op::Store { oid, serial, data }],
    )
    .unwrap();
    assert!(storage.load_before(oid, Tid::MAX).unwrap().is_some());
}

/// Whatever else reads the file; it may fail, but not panic.
fn read_everything(storage: &FileStorage) {
    for number in 0..OBJECTS {
        let _ = storage.history(oid(number), 100);
        let _ = storage.record_iternext(Some(oid(number)));
        let _ = storage.get_tid(oid(number));
    }
    let _ = storage.undo_log(0, 100, &mut |_| Ok(true));
    let _ = storage.last_invalidations(100);
    let Ok(transactions) = storage.iterator(None, None) else {
        return;
    };
    for txn in transactions.take(100).flatten() {
        for record in (txn.records)() {
            let _ = record;
        }
    }
    assert!(storage.size() > FIRST);
}
