//! What becomes of a commit whose connection is lost at its last step.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use zeo_client::db::{Db, Error as DbError, Retry, Transaction};
use zeo_client::record::Value;
use zeo_client::{Address, ClientStorage, Error, Tpc, Unfinished};
use zeo_proto::{Oid, Tid};
use zeo_storage::storage::TransactionMeta;

use crate::basics::write;
use crate::life::served;
use crate::support::{client, record};

/// Passes bytes on between clients and a server, until it is told to cut the connection at the next
/// `tpc_finish`: before the server gets it, or before its answer.
struct Cutter {
    address: Address,
    request: Arc<AtomicBool>,
    answer: Arc<AtomicBool>,
    /// What happens before the next client is let through.
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

impl Cutter {
    fn before(server: &Address) -> Self {
        let Address::Tcp { host, port } = server.clone() else {
            panic!("{server}");
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().into();
        let [request, answer] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let cuts = [&request, &answer].map(Arc::clone);
        let meanwhile = Arc::new(Mutex::new(None::<Meanwhile>));
        let happens = Arc::clone(&meanwhile);
        thread::spawn(move || {
            for client in listener.incoming() {
                if let Some(happens) = happens.lock().unwrap().take() {
                    happens();
                }
                let client = client.unwrap();
                let server = TcpStream::connect((&*host, port)).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let [request, answer] = cuts.clone();
                let finishing = Arc::new(AtomicBool::new(false));
                let finishes = Arc::clone(&finishing);
                thread::spawn(move || {
                    pass(from, to, |bytes| {
                        let finish = bytes.windows(10).any(|part| part == b"tpc_finish");
                        if finish && answer.swap(false, SeqCst) {
                            finishes.store(true, SeqCst);
                        }
                        finish && request.swap(false, SeqCst)
                    });
                });
                thread::spawn(move || pass(server, client, |_| finishing.swap(false, SeqCst)));
            }
        });
        Self {
            address,
            request,
            answer,
            meanwhile,
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_cut: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(count) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        if count == 0 || is_cut(bytes) || to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// Finishes a transaction whose connection is cut just then.
fn cut_finish(transaction: Tpc<'_>, cut: &AtomicBool) -> Arc<Unfinished> {
    cut.store(true, SeqCst);
    match transaction.finish() {
        Err(Error::OutcomeUnknown(unfinished)) => unfinished,
        other => panic!("it came through: {other:?}"),
    }
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
    let unfinished = cut_finish(transaction, &cutter.answer);
    let found = storage.outcome(&unfinished).unwrap().unwrap();
    assert_eq!(other.load(Oid::ZERO).unwrap().serial, found);
    assert_eq!(storage.load(Oid::new(1)).unwrap().serial, found);
    let both: BTreeSet<Oid> = [Oid::ZERO, Oid::new(1)].into();
    assert_eq!(*unfinished.oids(), both);
}

/// A transaction without words that has voted.
fn voted(storage: &ClientStorage, serial: Tid, number: u8) -> Tpc<'_> {
    let mut transaction = storage.begin(TransactionMeta::default()).unwrap();
    transaction
        .store(Oid::ZERO, serial, record(number))
        .unwrap();
    transaction.vote().unwrap();
    transaction
}

#[test]
fn what_did_not_come_to_be_is_told_from_others() {
    let server = served();
    let cutter = Cutter::before(&server.address);
    let storage = client(cutter.address.clone()).open().unwrap();
    let other = server.client().open().unwrap();
    let first = write(&other, Oid::ZERO, Tid::ZERO, record(1)).unwrap();
    storage.ping().unwrap();
    let unfinished = cut_finish(voted(&storage, first, 2), &cutter.request);
    // Nobody has committed since; and then another, with the same words, over the same revision.
    assert_eq!(storage.outcome(&unfinished).unwrap(), None);
    let second = write(&other, Oid::ZERO, first, record(3)).unwrap();
    assert_eq!(storage.outcome(&unfinished).unwrap(), None);
    assert_eq!(storage.load(Oid::ZERO).unwrap().serial, second);

    let unfinished = cut_finish(voted(&storage, second, 4), &cutter.answer);
    let third = storage.outcome(&unfinished).unwrap();
    assert_eq!(third, Some(other.load(Oid::ZERO).unwrap().serial));
}

/// Whichever way the connection is lost, the work is done once, and it is known whether it was.
#[test]
fn work_is_done_again_only_if_it_was_not_committed() {
    let server = served();
    let cutter = Cutter::before(&server.address);
    let db = Db::new(client(cutter.address.clone()).open().unwrap());
    let mut last = 0;
    for (cut, attempts, tries) in [
        (&cutter.request, 10, 2),
        (&cutter.answer, 10, 1),
        (&cutter.answer, 1, 1),
        (&cutter.request, 1, 1),
    ] {
        let retry = Retry {
            attempts,
            ..Retry::default()
        };
        let mut tried = 0;
        let done = db.transact_with(retry, |t| {
            tried += 1;
            cut.store(tried == 1, SeqCst);
            let root = t.root()?.mapping()?;
            let before = root.get("n")?.and_then(|n| n.as_int()).unwrap_or(0);
            root.insert("n", before + 1)
        });
        assert_eq!(tried, tries);
        match done {
            Ok(()) => last += 1,
            Err(DbError::Storage(error)) => {
                assert!(attempts == 1 && error.is_retryable());
                let text = error.to_string();
                assert!(text.ends_with("the transaction is not committed"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        let found = db.transact(|t| t.root()?.mapping()?.get("n")).unwrap();
        assert_eq!(found, Some(Value::Int(last)));
    }
    assert_eq!(last, 3);
}

fn count_up(t: &Transaction<'_>) -> Result<(), DbError> {
    let root = t.root()?.mapping()?;
    let before = root.get("n")?.and_then(|n| n.as_int()).unwrap_or(0);
    root.insert("n", before + 1)
}

fn counted(db: &Db) -> Option<Value> {
    db.transact(|t| t.root()?.mapping()?.get("n")).unwrap()
}

/// A counter: whoever comes first writes the same record.
#[test]
fn work_of_another_that_writes_the_same_is_not_taken_for_ours() {
    let server = served();
    let cutter = Cutter::before(&server.address);
    let db = Db::new(client(cutter.address.clone()).open().unwrap());
    db.transact(count_up).unwrap();
    let other = Db::new(server.client().open().unwrap());
    let again = other.clone();
    *cutter.meanwhile.lock().unwrap() = Some(Box::new(move || again.transact(count_up).unwrap()));
    cutter.request.store(true, SeqCst);
    db.transact(count_up).unwrap();
    assert_eq!(counted(&db), Some(Value::Int(3)));
}

/// It is committed, and a pack has removed all that shows it.
#[test]
fn what_was_packed_away_is_not_known() {
    let server = served();
    let cutter = Cutter::before(&server.address);
    let db = Db::new(client(cutter.address.clone()).open().unwrap());
    db.transact(count_up).unwrap();
    let other = Db::new(server.client().open().unwrap());
    let again = other.clone();
    *cutter.meanwhile.lock().unwrap() = Some(Box::new(move || {
        again.transact(count_up).unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        again.storage().pack(later, true).unwrap();
    }));
    cutter.answer.store(true, SeqCst);
    let done = db.transact(count_up);
    assert!(
        matches!(done, Err(DbError::Storage(Error::OutcomeUnknown(_)))),
        "{done:?}"
    );
    assert_eq!(counted(&other), Some(Value::Int(3)));
}
