//! Files on disk: the lock, damage, names.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use zeo_proto::{Oid, Tid};
use zeo_storage::backend::{Backend, MemoryBackend};
use zeo_storage::log::{Level, Log, silent};

use crate::cache::{Cache, CacheError};

fn open(path: &Path) -> Cache {
    Cache::open(Some(path), 2000, silent()).unwrap()
}

/// What a log was told.
type Told = Arc<Mutex<Vec<(Level, String)>>>;

/// A log, and what it was told.
pub fn recorded() -> (Log, Told) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&told);
    let log: Log =
        Arc::new(move |level, text: &str| into.lock().unwrap().push((level, text.to_owned())));
    (log, told)
}

#[test]
fn keeps_its_records_from_one_process_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zec");
    let mut cache = open(&path);
    cache.store(Oid::new(1), Tid::new(5), None, b"one");
    cache.store(Oid::new(2), Tid::new(5), None, b"two");
    cache.invalidate(Oid::new(2), Some(Tid::new(6)));
    cache.set_last_tid(Tid::new(6)).unwrap();
    cache.close().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 2000);

    let mut cache = open(&path);
    assert_eq!(cache.last_tid(), Tid::new(6));
    assert_eq!(cache.load(Oid::new(1)).unwrap().1, Tid::new(5));
    assert!(cache.load(Oid::new(2)).is_none());
    let before = cache.load_before(Oid::new(2), Tid::new(6)).unwrap();
    assert_eq!(
        (&*before.data, before.next),
        (&b"two"[..], Some(Tid::new(6)))
    );
    assert!(cache.contains(Oid::new(2), Tid::new(6)) && !cache.contains(Oid::new(2), Tid::new(7)));
    assert_eq!(cache.len(), 2);
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zec");
    let cache = open(&path);
    let lock = fs::read_to_string(dir.path().join("a.zec.lock")).unwrap();
    assert_eq!(lock, format!(" {}\n", std::process::id()));
    let error = Cache::open(Some(&path), 2000, silent()).unwrap_err();
    assert!(matches!(error, CacheError::Locked { .. }));
    let holder = format!("process {} has it open", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
    drop(cache);
    open(&path);
}

#[test]
fn a_damaged_file_is_set_aside_once() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bad) = (dir.path().join("a.zec"), dir.path().join("a.zec.bad"));
    for text in ["first", "second"] {
        fs::write(&path, text).unwrap();
        let (log, told) = recorded();
        let mut cache = Cache::open(Some(&path), 2000, log).unwrap();
        cache.store(Oid::new(1), Tid::new(5), None, b"one");
        assert_eq!(cache.len(), 1);
        assert_eq!(fs::read_to_string(&bad).unwrap(), "first");
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1);
        assert!(
            told[0].0 == Level::Error && told[0].1.contains("does not begin with ZEC3"),
            "{told:?}"
        );
    }
}

#[test]
fn what_can_not_be_opened_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let error = Cache::open(Some(&dir.path().join("none/a.zec")), 2000, silent()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("none/a.zec.lock: opening the lock file: No such file"),
        "{error}"
    );
    let error = Cache::open(Some(dir.path()), 2000, silent()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn a_temporary_cache_has_no_name() {
    let mut cache = Cache::open(None, 2000, silent()).unwrap();
    cache.store(Oid::new(1), Tid::new(5), None, b"one");
    assert_eq!(&*cache.load(Oid::new(1)).unwrap().0, b"one");
}

#[test]
fn a_temporary_file_holds_the_same_as_one_that_is_kept() {
    let mut chance = fastrand::Rng::with_seed(7);
    let files = [(); 2].map(|()| Arc::new(MemoryBackend::default()));
    let mut caches = files
        .clone()
        .map(|file| Cache::over(file, 3000, silent()).unwrap());
    caches[1].temporary = true;
    for number in 1..3000 {
        let (oid, tid) = (Oid::new(chance.u64(..40)), Tid::new(number));
        let data = vec![number as u8; chance.usize(..200)];
        let what = chance.u8(..4);
        for cache in &mut caches {
            match what {
                0 => cache.invalidate(oid, Some(tid)),
                1 => drop(cache.load(oid)),
                _ => cache.store(oid, tid, None, &data),
            }
        }
        let [kept, temporary] = files.clone().map(|file| {
            let mut bytes = vec![0; 3000];
            file.read_at(&mut bytes, 0).unwrap();
            bytes
        });
        assert_eq!(kept, temporary, "after {number} steps");
    }
    assert!(caches[1].stats().evictions > 100);
}
