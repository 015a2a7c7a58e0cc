use std::collections::BTreeSet;
use std::fs::{self, FileTimes};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::SystemTime;

use tempfile::TempDir;
use zeo_storage::LockFile;
use zeo_storage::log::silent;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn ids(oid: u64, tid: u64) -> (Oid, Tid) {
    (Oid::new(oid), Tid::new(tid))
}

struct Setting {
    base: TempDir,
}

impl Setting {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        Self { base }
    }

    fn at(&self) -> PathBuf {
        self.base.path().join("blobs")
    }

    fn cache(&self, size: Option<u64>) -> BlobCache {
        BlobCache::open(&self.at(), size, 10, silent()).unwrap()
    }

    fn source(&self, content: &[u8]) -> PathBuf {
        let path = self.base.path().join("source");
        fs::write(&path, content).unwrap();
        path
    }

    /// What is there but locks, the mark and the directories of files.
    fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(self.at()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                for entry in fs::read_dir(&path).unwrap() {
                    let path = entry.unwrap().path();
                    if !path.ends_with(".lock") {
                        let below = path.strip_prefix(self.at()).unwrap();
                        found.insert(below.to_str().unwrap().to_owned());
                    }
                }
            }
        }
        found
    }
}

fn missing(cache: &BlobCache, oid: u64, tid: u64) -> Download {
    let (oid, tid) = ids(oid, tid);
    match cache.download(oid, tid, PATIENCE).unwrap() {
        Lookup::Missing(download) => download,
        Lookup::Found(_) => panic!("{oid} is there"),
    }
}

fn load(cache: &BlobCache, oid: u64, tid: u64, content: &[u8]) {
    let mut download = missing(cache, oid, tid);
    content
        .chunks(3)
        .for_each(|part| download.write(part).unwrap());
    assert_eq!(content_of(download.finish().unwrap()), content);
}

fn content_of(mut file: File) -> Vec<u8> {
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    content
}

fn is_here(cache: &BlobCache, oid: u64, tid: u64) -> bool {
    let (oid, tid) = ids(oid, tid);
    cache.open_blob(oid, tid).unwrap().is_some()
}

#[test]
fn a_download_is_there_when_it_is_finished() {
    let setting = Setting::new();
    let cache = setting.cache(None);
    let (oid, tid) = ids(998, 7);
    assert!(!is_here(&cache, 998, 7));
    let mut download = missing(&cache, 998, 7);
    download.write(b"begun").unwrap();
    assert!(!is_here(&cache, 998, 7));
    drop(download);
    assert_eq!(setting.files(), BTreeSet::new());

    load(&cache, 998, 7, b"content");
    assert_eq!(
        setting.files(),
        ["1/1.0000000000000007.blob".to_owned()].into()
    );
    let path = cache.path(oid, tid).unwrap().unwrap();
    assert_eq!(path, setting.at().join("1/1.0000000000000007.blob"));
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o400
    );
    let Lookup::Found(file) = cache.download(oid, tid, PATIENCE).unwrap() else {
        panic!("it is there");
    };
    assert_eq!(content_of(file), b"content");
    // Who has it open reads on.
    let file = cache.open_blob(oid, tid).unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(content_of(file), b"content");
    load(&cache, 998, 7, b"again");
}

#[test]
fn use_is_noted_and_changes_nothing_else() {
    let setting = Setting::new();
    let cache = setting.cache(None);
    load(&cache, 1, 7, b"content");
    let (oid, tid) = ids(1, 7);
    let path = cache.path(oid, tid).unwrap().unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let times = FileTimes::new().set_accessed(old).set_modified(old);
    File::open(&path).unwrap().set_times(times).unwrap();
    cache.open_blob(oid, tid).unwrap().unwrap();
    let found = fs::metadata(&path).unwrap();
    assert!(found.accessed().unwrap() > old);
    assert_eq!(found.modified().unwrap(), old);
}

#[test]
fn downloads_that_python_left_are_not_continued() {
    let setting = Setting::new();
    let cache = setting.cache(None);
    let left = setting.at().join("1/0.0000000000000007.blob.dl");
    fs::create_dir(left.parent().unwrap()).unwrap();
    fs::write(&left, "the first half").unwrap();
    load(&cache, 1, 7, b"content");
    assert!(!left.exists());
}

#[test]
fn one_process_downloads_and_the_others_find_it() {
    let setting = Setting::new();
    let downloads = Mutex::new(0);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let cache = setting.cache(None);
                let (oid, tid) = ids(5, 7);
                match cache.download(oid, tid, PATIENCE).unwrap() {
                    Lookup::Found(file) => assert_eq!(content_of(file), b"content"),
                    Lookup::Missing(mut download) => {
                        *downloads.lock().unwrap() += 1;
                        download.write(b"content").unwrap();
                        download.finish().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(downloads.into_inner().unwrap(), 1);
    let cache = setting.cache(None);
    let download = missing(&cache, 5, 8);
    let (oid, tid) = ids(5 + 997, 8);
    let why = cache.download(oid, tid, Duration::ZERO).err().unwrap();
    assert!(why.to_string().contains("/5/.lock"), "{why}");
    drop(download);
}

#[test]
fn a_commit_moves_the_file_and_an_abort_removes_it() {
    let setting = Setting::new();
    let cache = setting.cache(None);
    let (oid, tid) = ids(1, 7);
    let source = setting.source(b"content");
    let staged = cache.upload(&source, oid, Tid::ZERO).unwrap();
    assert!(!source.exists());
    assert_eq!(staged.shared_name(), None);
    assert_eq!(content_of(staged.open().unwrap()), b"content");
    // Another process that opens the cache removes only what nobody has.
    fs::write(setting.at().join("tmp/rzeo-killed.tmp"), "some").unwrap();
    drop(setting.cache(None));
    assert_eq!(setting.files().len(), 1);
    staged.commit(tid).unwrap();
    assert_eq!(
        setting.files(),
        ["1/0.0000000000000007.blob".to_owned()].into()
    );
    assert_eq!(
        content_of(cache.open_blob(oid, tid).unwrap().unwrap()),
        b"content"
    );
    let mode = fs::metadata(cache.path(oid, tid).unwrap().unwrap());
    assert_eq!(mode.unwrap().permissions().mode() & 0o222, 0);

    let staged = cache.upload(&setting.source(b"more"), oid, tid).unwrap();
    drop(staged);
    assert_eq!(setting.files().len(), 1);
}

/// Sets when a file was last used: the smaller the longer ago.
fn age(cache: &BlobCache, oid: u64, tid: u64, second: u64) {
    let (oid, tid) = ids(oid, tid);
    let path = cache.path(oid, tid).unwrap().unwrap();
    let used = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + second);
    let times = FileTimes::new().set_accessed(used);
    File::open(&path).unwrap().set_times(times).unwrap();
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "it never comes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn remaining(setting: &Setting) -> Vec<u64> {
    let cache = BlobCache::open(&setting.at(), None, 0, silent()).unwrap();
    (1..=10).filter(|&oid| is_here(&cache, oid, 7)).collect()
}

#[test]
fn what_was_not_used_for_longest_is_removed() {
    let setting = Setting::new();
    let cache = setting.cache(None);
    for oid in 1..=10 {
        load(&cache, oid, 7, &[0; 100]);
    }
    // 4 is the oldest, then 7, 1; then 2, 3, 5 ...
    for (second, oid) in [4, 7, 1, 2, 3, 5, 6, 8, 9, 10].into_iter().enumerate() {
        age(&cache, oid, 7, second as u64);
    }
    // The limit is 900 bytes, which are reduced to 810: two have to go.
    let limited = setting.cache(Some(900));
    wait_until(|| setting.files().len() == 8);
    limited.close();
    drop(limited);
    assert_eq!(remaining(&setting), [1, 2, 3, 5, 6, 8, 9, 10]);

    // As many bytes as a tenth of the size: the next look. What comes in counts.
    for (second, oid) in [1, 2, 3, 5, 6, 8, 9, 10].into_iter().enumerate() {
        age(&cache, oid, 7, second as u64);
    }
    let limited = setting.cache(Some(900));
    let staged = limited.upload(&setting.source(&[0; 100]), Oid::new(4), Tid::ZERO);
    staged.unwrap().commit(Tid::new(7)).unwrap();
    wait_until(|| fs::read_dir(setting.at().join("1")).unwrap().count() == 1);
    limited.close();
    assert_eq!(remaining(&setting), [2, 3, 4, 5, 6, 8, 9, 10]);
}

#[test]
fn what_is_in_use_stays_and_what_was_left_is_removed() {
    let setting = Setting::new();
    let cache = setting.cache(None);
    for oid in 1..=3 {
        load(&cache, oid, 7, &[0; 100]);
        age(&cache, oid, 7, oid);
    }
    fs::write(setting.at().join("3/left.blob.dl"), "some").unwrap();
    let download = missing(&cache, 1, 8);
    let limited = setting.cache(Some(1));
    wait_until(|| setting.files().len() == 2);
    limited.close();
    assert_eq!(remaining(&setting), [1]);
    drop(download);
    assert_eq!(
        setting.files(),
        ["1/0.0000000000000007.blob".to_owned()].into()
    );
}

#[test]
fn one_process_at_a_time_reduces_a_cache_and_is_told_of_others() {
    let setting = Setting::new();
    let cache = setting.cache(None);
    load(&cache, 1, 7, &[0; 100]);
    let lock = LockFile::try_acquire(&setting.at().join("check_size.lock")).unwrap();
    let limited = setting.cache(Some(10));
    let attempt = setting.at().join("check_size.attempt");
    wait_until(|| attempt.exists());
    limited.close();
    assert_eq!(remaining(&setting), [1]);
    drop(lock);
    let limited = setting.cache(Some(10));
    wait_until(|| !attempt.exists());
    limited.close();
    assert!(remaining(&setting).is_empty());
}

#[test]
fn an_end_does_not_wait_for_another_process() {
    let setting = Setting::new();
    let cache = setting.cache(None);
    let lock = LockFile::try_acquire(&setting.at().join("check_size.lock")).unwrap();
    let limited = setting.cache(Some(10));
    drop((limited, cache));
    drop(lock);
}

#[test]
fn nothing_is_removed_where_the_layout_was_changed() {
    let setting = Setting::new();
    let cache = setting.cache(None);
    load(&cache, 1, 7, &[0; 100]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let log: Log = {
        let told = Arc::clone(&told);
        Arc::new(move |_, what| told.lock().unwrap().push(what.to_owned()))
    };
    let limited = BlobCache::open(&setting.at(), Some(1000), 0, log).unwrap();
    fs::write(setting.at().join(".layout"), "bushy").unwrap();
    drop(missing(&cache, 2, 7));
    missing(&limited, 2, 7).write(&[0; 2000]).unwrap();
    wait_until(|| !told.lock().unwrap().is_empty());
    limited.close();
    let told = told.lock().unwrap();
    assert!(told[0].contains("its layout is bushy"), "{told:?}");
    assert!(is_here(&cache, 1, 7));
}

#[test]
fn settings_that_are_of_no_use_are_refused() {
    let setting = Setting::new();
    let open = |percent| BlobCache::open(&setting.at(), Some(1), percent, silent());
    let why = open(100).err().unwrap().to_string();
    assert!(why.contains("less than 100"), "{why}");
    open(99).unwrap();
}

#[test]
fn a_shared_directory_is_the_servers() {
    let base = tempfile::tempdir().unwrap();
    let at = base.path().join("blobs");
    let (oid, tid) = ids(0x12a, 7);
    // Not there yet: no error, and nothing is made.
    let cache = BlobCache::open_shared(&at).unwrap();
    assert!(cache.open_blob(oid, tid).is_err());
    let source = base.path().join("source");
    fs::write(&source, "content").unwrap();
    assert!(cache.upload(&source, oid, Tid::ZERO).is_err());
    assert!(source.exists() && !at.exists());

    let server = zeo_storage::blob::BlobDirectory::open(&at).unwrap();
    let staged = cache.upload(&source, oid, Tid::ZERO).unwrap();
    let name = staged.shared_name().unwrap();
    assert!(zeo_storage::blob::BlobDirectory::is_shared_name(name));
    let taken = server.shared_file(oid, name).unwrap();
    assert_eq!(fs::read(taken.path()).unwrap(), b"content");
    fs::rename(taken.path(), server.path_of(oid, tid)).unwrap();
    staged.commit(tid).unwrap();
    let file = cache.open_blob(oid, tid).unwrap().unwrap();
    assert_eq!(content_of(file), b"content");
    for why in [
        cache.open_blob(oid, Tid::new(8)).err().unwrap(),
        cache.download(oid, Tid::new(8), PATIENCE).err().unwrap(),
    ] {
        assert!(matches!(why, Error::NoBlob { .. }), "{why}");
    }

    fs::write(&source, "content").unwrap();
    let staged = cache.upload(&source, oid, tid).unwrap();
    let path = staged.path().to_owned();
    assert!(path.exists());
    drop(staged);
    assert!(!path.exists());
}

/// Both sides are of one workspace: a storage must not be taken for a cache.
#[test]
fn a_storages_directory_is_no_cache() {
    let setting = Setting::new();
    zeo_storage::blob::BlobDirectory::open(&setting.at()).unwrap();
    let why = BlobCache::open(&setting.at(), None, 10, silent())
        .err()
        .unwrap();
    assert!(why.to_string().contains("bushy"), "{why}");
}
