//! Transactions whose connection is lost.

use std::time::Duration;

use zeo_client::db::{Db, Error, Retry};
use zeo_client::{ClientStorage, Disconnected, Error as StorageError};
use zeo_proto::Oid;
use zeo_server::{AdHoc, serve};

use super::with_page;

#[test]
fn a_transaction_waits_once_for_a_server_that_does_not_come_back() {
    let server = serve(AdHoc::in_memory()).unwrap();
    let address: zeo_client::Address = server.address().parse().unwrap();
    let builder = ClientStorage::builder(address).wait_timeout(Duration::from_millis(10));
    let db = Db::new(builder.wait(false).open().unwrap());
    while db.storage().ping().is_err() {}
    server.stop();
    while db.storage().is_connected() {
        std::thread::yield_now();
    }
    let mut attempts = 0;
    let done: Result<(), Error> = db.transact(|t| {
        attempts += 1;
        t.get(Oid::new(1)).map(drop)
    });
    assert!(timed_out(&done.unwrap_err()));
    assert_eq!(attempts, 1);
}

fn timed_out(error: &Error) -> bool {
    matches!(
        error,
        Error::Storage(StorageError::Disconnected {
            why: Disconnected::TimedOut { .. },
            ..
        })
    )
}

#[test]
fn a_transaction_is_made_again_when_the_server_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    let server = serve(AdHoc::file(&path)).unwrap();
    let address: zeo_client::Address = server.address().parse().unwrap();
    let port = server.address().rsplit(':').next().unwrap();
    let port = port.parse().unwrap();
    let quickly = Duration::from_millis(10);
    let builder = ClientStorage::builder(address).disconnect_poll(quickly, quickly);
    let db = Db::new(builder.open().unwrap());
    with_page(&db);
    server.stop();
    let (tried, first) = std::sync::mpsc::channel();
    let retry = Retry {
        attempts: 3,
        pause: Duration::ZERO,
        longest: Duration::ZERO,
    };
    std::thread::scope(|scope| {
        let changed = scope.spawn(|| {
            db.transact_with(retry, |t| {
                // The root is in memory.
                let root = t.root()?.mapping()?;
                tried.send(()).unwrap();
                root.insert("visits", 1)
            })
        });
        first.recv().unwrap();
        let _server = serve(AdHoc::file(&path).port(port)).unwrap();
        changed.join().unwrap().unwrap();
    });
}
