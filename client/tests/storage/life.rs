//! Nothing of a storage outlives it; and what becomes of a commit at the moment of a loss.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use zeo_client::{Address, Error};
use zeo_proto::marshal::Encoding;
use zeo_proto::{Oid, Tid};
use zeo_storage::MappingStorage;
use zeo_storage::storage::TransactionMeta;

use crate::basics::write;
use crate::support::{Served, client, record};

fn served() -> Served {
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

/// Passes bytes on between clients and a server, until it is told to cut: then nothing of what the
/// server answers comes through any more.
struct Cutter {
    address: Address,
    cut: Arc<AtomicBool>,
}

impl Cutter {
    fn before(server: &Address) -> Self {
        let Address::Tcp { host, port } = server.clone() else {
            panic!("{server}");
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().into();
        let cut = Arc::new(AtomicBool::new(false));
        let cutting = Arc::clone(&cut);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect((&*host, port)).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pass(from, to, &AtomicBool::new(false)));
                let cutting = Arc::clone(&cutting);
                thread::spawn(move || pass(server, client, &cutting));
            }
        });
        Self { address, cut }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || cut.swap(false, Ordering::SeqCst) {
            break;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[test]
fn the_outcome_of_a_finish_can_be_found_out() {
    let server = served();
    let cutter = Cutter::before(&server.address);
    let storage = client(cutter.address.clone()).open().unwrap();
    let other = server.client().open().unwrap();
    let first = write(&storage, Oid::ZERO, Tid::ZERO, record(1)).unwrap();
    let mut transaction = storage
        .begin(TransactionMeta {
            description: b"mine".to_vec(),
            ..TransactionMeta::default()
        })
        .unwrap();
    transaction.store(Oid::ZERO, first, record(2)).unwrap();
    transaction
        .store(Oid::new(1), Tid::ZERO, record(3))
        .unwrap();
    transaction.vote().unwrap();
    cutter.cut.store(true, Ordering::SeqCst);
    let Err(Error::OutcomeUnknown(unfinished)) = transaction.finish() else {
        panic!("the answer came through");
    };
    let found = storage.outcome(&unfinished).unwrap().unwrap();
    assert_eq!(other.load(Oid::ZERO).unwrap().serial, found);
    assert_eq!(storage.load(Oid::new(1)).unwrap().serial, found);
    let both: BTreeSet<Oid> = [Oid::ZERO, Oid::new(1)].into();
    assert_eq!(*unfinished.oids(), both);

    // One that did not come to be: another one, with the same words, is no match.
    let mut transaction = storage.begin(TransactionMeta::default()).unwrap();
    transaction.store(Oid::ZERO, found, record(7)).unwrap();
    transaction.vote().unwrap();
    cutter.cut.store(true, Ordering::SeqCst);
    let Err(Error::OutcomeUnknown(unfinished)) = transaction.finish() else {
        panic!("the answer came through");
    };
    assert!(storage.outcome(&unfinished).unwrap().is_some());
}
