//! Nothing of a storage outlives it.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use zeo_proto::marshal::Encoding;
use zeo_storage::MappingStorage;
use zeo_storage::storage::TransactionMeta;

use crate::support::{Served, client};

pub fn served() -> Served {
    let storage = Arc::new(MappingStorage::new("test").unwrap());
    Served::at("127.0.0.1:0", Encoding::Msgpack, storage)
}

/// The names of this process's threads that are a client's.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names
        .filter(|name| name.starts_with("zeo-client") || name.starts_with("zeo-connect"))
        .count()
}

/// In a process of its own, since other tests have threads and descriptors too.
#[test]
fn nothing_is_left_behind() {
    const INSIDE: &str = "ZEO_CLIENT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        let program = std::env::current_exe().unwrap();
        let output = std::process::Command::new(program)
            .args(["--exact", "life::nothing_is_left_behind", "--nocapture"])
            .env(INSIDE, "yes")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let server = served();
    let directory = tempfile::tempdir().unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut before = None;
    for round in 0..6 {
        let nobody = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let storage = server
            .client()
            .address(nobody.into())
            .cache(directory.path().join("cache.zec"), 1 << 20)
            .blob_dir(directory.path().join("blobs"))
            .blob_cache_size(1 << 20)
            .open()
            .unwrap();
        storage.ping().unwrap();
        let other = client(nobody.into()).wait(false).open().unwrap();
        let transaction = storage.begin(TransactionMeta::default()).unwrap();
        drop(transaction);
        if round % 2 == 0 {
            storage.close().unwrap();
            other.close().unwrap();
            assert_eq!(threads(), 0);
        }
        drop((storage, other));
        assert_eq!(threads(), 0);
        // The server has noticed, too.
        let now = loop {
            let now = descriptors();
            if before.is_none_or(|before| now <= before) {
                break now;
            }
            thread::yield_now();
        };
        before = (round > 0).then_some(now);
    }
}
