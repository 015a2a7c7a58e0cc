//! Servers that go away and come back.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use zeo_client::{Address, ClientStorage, Disconnected, Error, Refusal};
use zeo_proto::marshal::Encoding;
use zeo_proto::message::{Call, Invalidations};
use zeo_proto::{Oid, Tid};
use zeo_storage::file_storage::Options;
use zeo_storage::storage::TransactionMeta;
use zeo_storage::{FileStorage, MappingStorage, Storage};

use crate::basics::{Told, write};
use crate::script::script;
use crate::support::{Served, client, record};

fn mapping() -> Arc<dyn Storage> {
    Arc::new(MappingStorage::new("test").unwrap())
}

fn free_address() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().into()
}

#[test]
fn a_server_that_is_started_anew_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let data = || -> Arc<dyn Storage> {
        let path = directory.path().join("Data.fs");
        let options = Options::with(|it| it.create = !path.exists());
        Arc::new(FileStorage::open(path, options).unwrap())
    };
    let server = Served::at("127.0.0.1:0", Encoding::Msgpack, data());
    let storage = server.client().open().unwrap();
    let (listener, told) = Told::channel();
    let _subscription = storage.subscribe(listener);
    let oid = storage.new_oid().unwrap();
    let first = write(&storage, oid, Tid::ZERO, record(1)).unwrap();
    let mut begun = storage.begin(TransactionMeta::default()).unwrap();

    let address = server.address.to_string();
    drop(server);
    let news: Vec<_> = (0..2).map(|_| told.recv().unwrap().0).collect();
    assert_eq!(news, ["committed", "disconnected"]);
    // What is cached is there; what waits for nobody fails at once.
    assert_eq!(storage.load(oid).unwrap().serial, first);
    assert!(!storage.is_connected());
    assert!(storage.is_read_only());
    assert_eq!(storage.last_tid(), first);
    storage.prefetch(&[Oid::new(77)], Tid::MAX);
    drop(begun.store(oid, first, record(2)).unwrap_err());

    // Others wait for the server.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| storage.load_serial(oid, first));
        let server = Served::at(&address, Encoding::Msgpack, data());
        assert_eq!(*waiting.join().unwrap().unwrap(), *record(1));
        assert_eq!(told.recv().unwrap().0, "connected");
        // But for the transaction of before.
        let refused = begun.vote().unwrap_err();
        let expected = "vote: on a disconnected transaction";
        assert_eq!(refused.to_string(), expected);
        assert!(refused.is_retryable());
        drop(begun);
        write(&storage, oid, first, record(3)).unwrap();
        storage.close().unwrap();
        drop(server);
    });
}

#[test]
fn nobody_answers() {
    let address = free_address();
    let soon = Duration::from_millis(500);
    let error = client(address.clone())
        .wait_timeout(soon)
        .open()
        .unwrap_err();
    let text = error.to_string();
    let expected =
        format!("open: timed out waiting 0.5 s for a connection; can't connect to {address}: ");
    assert!(text.starts_with(&expected), "{text}");
    assert!(error.is_retryable());
    assert!(error.behind().is_none());

    let storage = client(address).wait(false).open().unwrap();
    let error = storage.load(Oid::ZERO).unwrap_err();
    let Error::Disconnected { why, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        matches!(why, Disconnected::NeverConnected { .. }),
        "{error}"
    );
    let refused = storage.begin(TransactionMeta::default()).err().unwrap();
    assert!(
        refused.to_string().starts_with("tpc_begin: not connected"),
        "{refused}"
    );

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let opened = client(silent.local_addr().unwrap().into())
        .wait_timeout(soon)
        .open();
    let text = opened.unwrap_err().to_string();
    let expected = "open: timed out waiting 0.5 s for a connection; no server has answered yet (";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_call_under_way_fails_at_a_loss() {
    let (address, _) = script(Encoding::Pickle, |_, peer| {
        peer.take(5, &());
        peer.asked();
    });
    let storage = client(address).open().unwrap();
    let error = storage.load(Oid::new(1)).unwrap_err();
    let Error::Disconnected { what, why } = &error else {
        panic!("{error}");
    };
    assert_eq!(*what, "loadBefore");
    assert!(matches!(why, Disconnected::Lost { .. }), "{error}");
    assert!(error.is_retryable());
}

#[test]
fn closing_ends_what_waits() {
    let (called, calls) = channel();
    let (address, _) = script(Encoding::Msgpack, move |_, peer| {
        peer.take(5, &());
        peer.asked();
        called.send(()).unwrap();
        peer.fall_silent();
    });
    let storage = client(address).open().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| storage.load(Oid::new(1)));
        calls.recv().unwrap();
        storage.close().unwrap();
        assert!(matches!(waiting.join().unwrap(), Err(Error::Closed)));
    });
    // Also one that is not connected at all.
    let storage = client(free_address()).wait(false).open().unwrap();
    storage.close().unwrap();
    storage.close().unwrap();
}

/// A server that loses each client behind its registration is not asked without a pause.
#[test]
fn a_loss_right_behind_the_handshake_is_a_failure() {
    let (address, connections) = script(Encoding::Msgpack, |_, peer| peer.take(5, &()));
    let minute = Duration::from_secs(60);
    let builder = client(address).disconnect_poll(minute, minute);
    let _storage = builder.wait(false).open().unwrap();
    connections.recv().unwrap();
    // The next one would come after half a minute.
    let next = connections.recv_timeout(Duration::from_millis(200));
    assert!(next.is_err(), "no pause");
}

#[test]
fn the_first_of_several_addresses_that_answers_is_used() {
    let data = mapping();
    let server = Served::at("127.0.0.1:0", Encoding::Msgpack, data);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent
        .local_addr()
        .map(Address::from)
        .map(|it| (it, silent));
    let (silent, _listener) = silent.unwrap();
    let storage = client(free_address())
        .address(silent)
        .address(server.address.clone())
        .open()
        .unwrap();
    storage.ping().unwrap();
    storage.close().unwrap();

    // The only one that is there, once it is told.
    let storage = client(free_address()).wait(false).open().unwrap();
    storage.new_addresses(vec![server.address.clone()]).unwrap();
    while !storage.is_connected() {
        thread::sleep(Duration::from_millis(5));
    }
    storage.ping().unwrap();
}

/// A server that asks for 5 to be the last tid; and the oids that have changed since.
#[test]
fn what_was_missed_is_told() {
    let load = |peer: &mut crate::script::Peer, serial: u64| {
        let (id, call) = peer.asked();
        assert!(matches!(call, Call::LoadBefore { .. }), "{call:?}");
        peer.reply(id, &Some(revision(serial)));
    };
    let (address, _) = script(Encoding::Msgpack, move |number, peer| match number {
        0 => {
            peer.take(5, &());
            load(peer, 3);
            load(peer, 4);
        }
        1 => {
            // Object 1 has changed.
            let oids = vec![Oid::new(1)];
            let last = Tid::new(7);
            peer.take(7, &Some(Invalidations { last, oids }));
            load(peer, 7);
        }
        2 => {
            // Nobody can tell.
            peer.take(9, &());
            load(peer, 8);
            load(peer, 9);
        }
        _ => peer.take(8, &()),
    });
    let storage = client(address)
        .wait_timeout(Duration::from_secs(60))
        .open()
        .unwrap();
    let (listener, told) = Told::channel();
    let _subscription = storage.subscribe(listener);
    let serial = |oid| again(|| storage.load(Oid::new(oid))).serial.as_u64();
    assert_eq!([serial(1), serial(2)], [3, 4]);
    let (heard, connected) = (told.recv().unwrap(), told.recv().unwrap());
    assert_eq!((heard.0, connected.0), ("disconnected", "invalidated"));
    assert_eq!((connected.1, connected.2), (Tid::new(7), vec![Oid::new(1)]));
    assert_eq!(told.recv().unwrap().0, "connected");
    assert_eq!([serial(1), serial(2)], [7, 4]);

    let news: Vec<_> = (0..3).map(|_| told.recv().unwrap()).collect();
    let names: Vec<_> = news.iter().map(|news| news.0).collect();
    assert_eq!(names, ["disconnected", "everything", "connected"]);
    assert_eq!(news[1].1, Tid::new(9));
    assert_eq!([serial(1), serial(2)], [8, 9]);

    // The server has gone back: it is not used, and the cache stays.
    assert_eq!(told.recv().unwrap().0, "disconnected");
    assert_eq!(told.recv().unwrap(), ("behind", Tid::new(8), Vec::new()));
    assert_eq!([serial(1), serial(2)], [8, 9]);
    let error = storage.begin(TransactionMeta::default()).err().unwrap();
    let (_, server, cache) = error.behind().unwrap();
    assert_eq!((server, cache), (Tid::new(8), Tid::new(9)));
    let Error::Disconnected {
        why: Disconnected::NotConnected { attempts },
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert!(matches!(attempts[0].why, Refusal::Behind { .. }));
}

fn revision(serial: u64) -> zeo_proto::message::Revision<'static> {
    zeo_proto::message::Revision {
        data: record(serial as u8).into(),
        serial: Tid::new(serial),
        next: None,
    }
}

/// Tries until the connection is there again.
fn again<T>(mut act: impl FnMut() -> Result<T, Error>) -> T {
    loop {
        match act() {
            Ok(done) => return done,
            Err(why) => assert!(why.is_retryable(), "{why}"),
        }
    }
}

#[test]
fn a_writable_server_replaces_a_read_only_one() {
    let data = mapping();
    let mut settings = zeo_server::Settings::default();
    settings.read_only = true;
    let replica = Served::with("127.0.0.1:0", settings, Arc::clone(&data));
    let primary = free_address();
    // A busy machine may not even get an answer in such a time.
    let refused = [100, 1000, 10_000].into_iter().any(|limit| {
        let client = replica.client().wait_timeout(Duration::from_millis(limit));
        let why = client.open().unwrap_err().to_string();
        why.contains("the server is read-only")
    });
    assert!(refused);

    let storage = ClientStorage::open(
        replica
            .client()
            .address(primary.clone())
            .read_only_fallback(true)
            .settings(),
    );
    let storage = storage.unwrap();
    assert!(storage.is_read_only());
    assert!(matches!(storage.new_oid(), Err(Error::ReadOnly)));
    let (listener, told) = Told::channel();
    let _subscription = storage.subscribe(listener);
    let server = Served::at(&primary.to_string(), Encoding::Pickle, Arc::clone(&data));
    assert_eq!(told.recv().unwrap().0, "disconnected");
    assert_eq!(told.recv().unwrap().0, "connected");
    again(|| storage.new_oid());
    assert!(!storage.is_read_only());
    // And back.
    drop(server);
    assert_eq!(told.recv().unwrap().0, "disconnected");
    assert_eq!(told.recv().unwrap().0, "connected");
    assert!(storage.is_read_only());
    storage.close().unwrap();
}
