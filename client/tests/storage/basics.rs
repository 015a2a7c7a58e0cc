//! Loads, commits, and who is told of them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use zeo_client::{Address, ClientStorage, Error, Listener};
use zeo_proto::marshal::Encoding;
use zeo_proto::{Oid, Tid};
use zeo_storage::MappingStorage;
use zeo_storage::storage::TransactionMeta;

use crate::support::{Served, record};

fn served(address: &str, encoding: Encoding) -> Served {
    let storage = Arc::new(MappingStorage::new("test").unwrap());
    Served::at(address, encoding, storage)
}

/// Writes one object in a transaction of its own.
pub fn write(storage: &ClientStorage, oid: Oid, serial: Tid, data: Vec<u8>) -> Result<Tid, Error> {
    let mut transaction = storage.begin(TransactionMeta::default())?;
    transaction.store(oid, serial, data)?;
    transaction.vote()?;
    transaction.finish()
}

/// Creates these objects in one transaction; the record of each is that of its oid's last byte.
pub fn create(storage: &ClientStorage, oids: &[Oid]) -> Tid {
    let mut transaction = storage.begin(TransactionMeta::default()).unwrap();
    for &oid in oids {
        let data = record(oid.as_u64() as u8);
        transaction.store(oid, Tid::ZERO, data).unwrap();
    }
    transaction.vote().unwrap();
    transaction.finish().unwrap()
}

/// What a listener was told.
pub type News = (&'static str, Tid, Vec<Oid>);

/// Tells a channel of all that it hears.
pub struct Told(Mutex<Sender<News>>);

impl Told {
    pub fn channel() -> (Arc<Self>, Receiver<News>) {
        let (sender, receiver) = channel();
        (Arc::new(Self(Mutex::new(sender))), receiver)
    }

    fn tell(&self, what: &'static str, tid: Tid, oids: &[Oid]) {
        let _ = self.0.lock().unwrap().send((what, tid, oids.to_vec()));
    }
}

impl Listener for Told {
    fn invalidated(&self, tid: Tid, oids: &[Oid]) {
        self.tell("invalidated", tid, oids);
    }
    fn committed(&self, tid: Tid, oids: &[Oid]) {
        self.tell("committed", tid, oids);
    }
    fn everything_changed(&self, tid: Tid) {
        self.tell("everything", tid, &[]);
    }
    fn connected(&self, _address: &Address, _read_only: bool) {
        self.tell("connected", Tid::ZERO, &[]);
    }
    fn behind(&self, _address: &Address, server: Tid, _cache: Tid) {
        self.tell("behind", server, &[]);
    }
    fn disconnected(&self) {
        self.tell("disconnected", Tid::ZERO, &[]);
    }
}

#[test]
fn two_clients_see_what_each_other_commits() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("zeo.sock");
    for address in ["127.0.0.1:0", socket.to_str().unwrap()] {
        for encoding in [Encoding::Pickle, Encoding::Msgpack] {
            let server = served(address, encoding);
            let one = server.client().client_label("one").open().unwrap();
            let two = server.client().open().unwrap();
            let (listener, told) = Told::channel();
            let subscription = two.subscribe(listener);
            assert_eq!(subscription.since(), Tid::ZERO);
            let oid = one.new_oid().unwrap();
            assert!(matches!(two.load(oid), Err(Error::NoObject { .. })));

            let first = write(&one, oid, Tid::ZERO, record(1)).unwrap();
            assert_eq!(one.last_tid(), first);
            assert_eq!(told.recv().unwrap(), ("invalidated", first, vec![oid]));
            let found = two.load(oid).unwrap();
            assert_eq!(*found.data, *record(1));
            assert_eq!((found.serial, found.next), (first, None));

            let second = write(&two, oid, first, record(2)).unwrap();
            assert_eq!(told.recv().unwrap(), ("committed", second, vec![oid]));
            assert_eq!(two.last_tid(), second);
            let before = two.load_before(oid, second).unwrap().unwrap();
            assert_eq!((before.serial, before.next), (first, Some(second)));
            assert_eq!(two.load_before(oid, first).unwrap(), None);
            assert_eq!(*one.load_serial(oid, first).unwrap(), *record(1));

            let refused = write(&one, oid, first, record(3)).unwrap_err();
            assert!(refused.is_retryable(), "{refused}");
            let Error::Conflict(conflict) = refused else {
                panic!("{refused}");
            };
            assert_eq!(conflict.oid, Some(oid));
            assert_eq!(conflict.serials, Some((second, first)));
            assert_eq!(conflict.class.as_deref(), Some("app.Thing"));
            drop(subscription);
            write(&one, oid, second, record(4)).unwrap();
            two.close().unwrap();
            assert!(matches!(two.load(oid), Err(Error::Closed)));
            assert!(told.try_recv().is_err(), "told behind the subscription");
        }
    }
}

#[test]
fn a_transaction_that_was_dropped_is_aborted() {
    let server = served("127.0.0.1:0", Encoding::Msgpack);
    let storage = server.client().open().unwrap();
    let oid = storage.new_oid().unwrap();
    let mut transaction = storage.begin(TransactionMeta::default()).unwrap();
    transaction.store(oid, Tid::ZERO, record(1)).unwrap();
    transaction.vote().unwrap();
    drop(transaction);
    assert!(matches!(storage.load(oid), Err(Error::NoObject { .. })));
    let transaction = storage.begin(TransactionMeta::default()).unwrap();
    let early = transaction.finish().unwrap_err();
    assert!(matches!(early, Error::Transaction(_)), "{early}");
    write(&storage, oid, Tid::ZERO, record(1)).unwrap();
}

#[test]
fn any_number_of_threads_share_a_storage() {
    let server = served("127.0.0.1:0", Encoding::Msgpack);
    let storage = server.client().open().unwrap();
    let oids: Vec<Oid> = (0..8).map(|_| storage.new_oid().unwrap()).collect();
    thread::scope(|scope| {
        for &oid in &oids {
            let storage = &storage;
            scope.spawn(move || {
                let mut serial = Tid::ZERO;
                for number in 0..50 {
                    serial = write(storage, oid, serial, record(number)).unwrap();
                    let found = storage.load(oid).unwrap();
                    assert_eq!((found.serial, &*found.data), (serial, &*record(number)));
                }
            });
        }
    });
    // All of the same object, from a barrier.
    let barrier = std::sync::Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..100 {
                    assert_eq!(*storage.load(oids[0]).unwrap().data, *record(49));
                }
            });
        }
    });
}
