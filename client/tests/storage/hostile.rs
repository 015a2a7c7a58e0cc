//! Servers that do not do what they should.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use zeo_client::{ClientStorage, Disconnected, Error, Tpc};
use zeo_proto::marshal::{Encode, Encoding};
use zeo_proto::message::{Call, Revision};
use zeo_proto::{Exception, Oid, Tid};
use zeo_storage::storage::TransactionMeta;

use crate::basics::Told;
use crate::script::{Peer, script};
use crate::support::{client, record};

fn revision(serial: u64, next: Option<u64>) -> Option<Revision<'static>> {
    Some(Revision {
        data: record(serial as u8).into(),
        serial: Tid::new(serial),
        next: next.map(Tid::new),
    })
}

/// Takes a client, and answers its first call with these bytes; then nothing.
fn answer_with(encoding: Encoding, bytes: impl Fn(u64) -> Vec<u8> + Send + 'static) -> Error {
    let (address, _) = script(encoding, move |number, peer| {
        peer.take(5, &());
        if number == 0 {
            let (id, _) = peer.asked();
            peer.send(&bytes(id));
        }
        peer.fall_silent();
    });
    let storage = client(address).open().unwrap();
    storage.load(Oid::new(1)).unwrap_err()
}

fn reply(id: u64, encoding: Encoding, result: &dyn Encode) -> Vec<u8> {
    let mut out = Vec::new();
    zeo_proto::message::encode_reply(&mut out, encoding, &id, result).unwrap();
    out
}

/// What ends the connection, and what is said then.
/// A transaction that has stored an object.
fn begun(storage: &ClientStorage) -> Tpc<'_> {
    let mut transaction = storage.begin(TransactionMeta::default()).unwrap();
    let stored = transaction.store(Oid::new(1), Tid::ZERO, record(1));
    stored.unwrap();
    transaction
}

#[test]
fn what_is_no_message() {
    for encoding in [Encoding::Pickle, Encoding::Msgpack] {
        let mut call = Vec::new();
        Call::Ping.encode(&mut call, encoding, &99_u64).unwrap();
        for (bytes, expected) in [
            (
                b"\0\0\0\x07garbage".to_vec(),
                "a message that can't be understood",
            ),
            (b"\0\0\0\0".to_vec(), "an empty message"),
            (
                reply(77, encoding, &()),
                "a reply to a call that was not made",
            ),
            (call, "a message that can't be understood"),
        ] {
            let error = answer_with(encoding, move |_| bytes.clone());
            let text = error.to_string();
            assert!(text.starts_with("loadBefore: 127.0.0.1:"), "{text}");
            assert!(text.contains(expected), "{text}");
            assert!(matches!(error, Error::Disconnected { .. }), "{text}");
        }
    }
}

/// What fails one call, while the connection goes on.
#[test]
fn replies_that_are_none() {
    for encoding in [Encoding::Pickle, Encoding::Msgpack] {
        let (address, _) = script(encoding, move |_, peer: &mut Peer| {
            peer.take(5, &());
            for number in 0.. {
                let Some((Some(id), _)) = peer.called() else {
                    return;
                };
                match number {
                    0 => peer.reply(id, &7_u64),
                    // Not before what was asked for; current until before it was written.
                    1 => peer.reply(id, &revision(9, None)),
                    2 => peer.reply(id, &revision(3, Some(3))),
                    3 => peer.reply(id, &revision(3, Some(4))),
                    // Half a message, with the id of the call.
                    4 => {
                        let whole = reply(id, encoding, &revision(3, None));
                        peer.send_frame(&whole[4..whole.len() - 3]);
                    }
                    5 => peer.raise(id, &Exception::message("app.Strange", "no idea")),
                    6 => peer.raise(
                        id,
                        &Exception::message("ZODB.POSException.POSKeyError", "?"),
                    ),
                    _ => peer.reply(id, &revision(3, None)),
                }
            }
        });
        let storage = client(address).open().unwrap();
        let load = || storage.load_before(Oid::new(1), Tid::new(8));
        for _ in 0..5 {
            let error = load().unwrap_err();
            assert!(matches!(error, Error::Reply { .. }), "{error}");
            let text = error.to_string();
            assert!(
                text.contains(": the reply to loadBefore can't be understood: "),
                "{text}"
            );
        }
        let error = load().unwrap_err();
        assert!(matches!(error, Error::Server { .. }), "{error}");
        assert!(
            error
                .to_string()
                .ends_with("loadBefore: app.Strange: no idea"),
            "{error}"
        );
        assert!(matches!(load(), Err(Error::NoObject { .. })));
        assert_eq!(load().unwrap().unwrap().serial, Tid::new(3));
        assert!(storage.is_connected());
    }
}

#[test]
fn answers_in_another_order_find_their_callers() {
    let (address, _) = script(Encoding::Msgpack, |_, peer| {
        peer.take(5, &());
        let mut calls: Vec<_> = (0..4).map(|_| peer.asked()).collect();
        calls.reverse();
        for (id, call) in calls {
            let Call::LoadBefore { oid, .. } = call else {
                panic!("{call:?}");
            };
            peer.reply(id, &revision(oid.as_u64(), None));
        }
        peer.fall_silent();
    });
    let storage = client(address).open().unwrap();
    thread::scope(|scope| {
        for number in 1..5 {
            let storage = &storage;
            scope.spawn(move || {
                let found = storage.load(Oid::new(number)).unwrap();
                assert_eq!(found.serial, Tid::new(number));
            });
        }
    });
}

#[test]
fn identical_loads_under_way_are_asked_for_once() {
    let (asked, told) = channel();
    let (address, _) = script(Encoding::Msgpack, move |_, peer| {
        peer.take(5, &());
        let (id, _) = peer.asked();
        asked.send(()).unwrap();
        // The second question is another one.
        let (other, call) = peer.asked();
        assert!(matches!(call, Call::Ping), "{call:?}");
        peer.reply(id, &revision(3, None));
        peer.reply(other, &());
        // On a busy machine, a load may begin only now.
        while let Some((id, _)) = peer.called() {
            peer.reply(id.unwrap(), &revision(3, None));
        }
    });
    let storage = client(address).open().unwrap();
    thread::scope(|scope| {
        let load = || storage.load(Oid::new(1)).unwrap();
        let first = scope.spawn(load);
        told.recv().unwrap();
        storage.prefetch(&[Oid::new(1)], Tid::new(i64::MAX as u64));
        let others = [scope.spawn(load), scope.spawn(load)];
        storage.ping().unwrap();
        assert_eq!(first.join().unwrap().serial, Tid::new(3));
        for other in others {
            assert_eq!(other.join().unwrap().serial, Tid::new(3));
        }
    });
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (address, connections) = script(Encoding::Msgpack, |_, peer| {
        peer.take(5, &());
        peer.fall_silent();
    });
    let storage = client(address)
        .call_timeout(Duration::from_millis(30))
        .open()
        .unwrap();
    let error = storage.ping().unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("connection lost: no reply to ping within 0.03 s"),
        "{text}"
    );
    connections.recv().unwrap();
    let error = storage.load(Oid::new(1)).unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

/// Tids rise: when one does not, the cache is compared with the server anew.
#[test]
fn a_transaction_that_is_not_later_ends_the_connection() {
    for tid in [5, 4] {
        let (address, _) = script(Encoding::Pickle, move |number, peer| {
            peer.take(5, &());
            if number == 0 {
                let (id, _) = peer.asked();
                peer.reply(id, &revision(3, None));
                peer.invalidate(tid, &[1]);
            }
            peer.fall_silent();
        });
        let storage = client(address).open().unwrap();
        let (listener, told) = Told::channel();
        let _subscription = storage.subscribe(listener);
        storage.load(Oid::new(1)).unwrap();
        assert_eq!(told.recv().unwrap().0, "disconnected");
        assert_eq!(told.recv().unwrap().0, "connected");
        assert_eq!(storage.last_tid(), Tid::new(5));
    }
}

/// A reply that comes behind an invalidation is what it says; one that came before it is not current
/// any more.
#[test]
fn the_cache_follows_the_order_of_messages() {
    let (address, _) = script(Encoding::Msgpack, |_, peer| {
        peer.take(5, &());
        let (id, _) = peer.asked();
        peer.reply(id, &revision(3, None));
        peer.invalidate(6, &[1]);
        let (ping, _) = peer.asked();
        peer.reply(ping, &());
        let (id, _) = peer.asked();
        peer.reply(id, &revision(6, None));
        peer.fall_silent();
    });
    let storage = client(address).open().unwrap();
    let oid = Oid::new(1);
    assert_eq!(storage.load(oid).unwrap().serial, Tid::new(3));
    storage.ping().unwrap();
    assert_eq!(storage.last_tid(), Tid::new(6));
    let before = storage.load_before(oid, Tid::new(6)).unwrap().unwrap();
    assert_eq!(
        (before.serial, before.next),
        (Tid::new(3), Some(Tid::new(6)))
    );
    assert_eq!(storage.load(oid).unwrap().serial, Tid::new(6));
    assert_eq!(
        storage.load(oid).unwrap().serial,
        Tid::new(6),
        "from the cache"
    );
}

#[test]
fn a_connection_that_is_lost_in_finish_leaves_the_outcome_open() {
    // None: no reply. Else what it is.
    type Answer = Option<fn(u64) -> Vec<u8>>;
    let answers: [Answer; 3] = [
        None,
        Some(|id| reply(id, Encoding::Msgpack, &7_u64)),
        Some(|id| {
            let whole = reply(id, Encoding::Msgpack, &Tid::new(7));
            let mut cut = Vec::new();
            zeo_proto::framing::write_frame(&mut cut, &whole[4..whole.len() - 3]);
            cut
        }),
    ];
    for answer in answers {
        let (address, _) = script(Encoding::Msgpack, move |number, peer| {
            peer.take(5 + number as u64, &());
            if number > 0 {
                return peer.fall_silent();
            }
            let (id, vote) = peer.asked();
            assert!(matches!(vote, Call::Vote { .. }), "{vote:?}");
            peer.reply(id, &());
            let (id, finish) = peer.asked();
            assert!(matches!(finish, Call::TpcFinish { .. }), "{finish:?}");
            if let Some(answer) = answer {
                peer.send(&answer(id));
                peer.fall_silent();
            }
        });
        let storage = client(address).open().unwrap();
        let mut transaction = begun(&storage);
        transaction.vote().unwrap();
        let error = transaction.finish().unwrap_err();
        assert!(!error.is_retryable());
        let Error::OutcomeUnknown(unfinished) = error else {
            panic!("{error}");
        };
        assert_eq!(unfinished.since(), Tid::new(5));
        assert!(unfinished.oids().contains(&Oid::new(1)));
    }
}

#[test]
fn steps_behind_a_loss_are_refused() {
    let (address, _) = script(Encoding::Msgpack, |number, peer| {
        peer.take(5, &());
        if number == 0 {
            let (_, vote) = peer.asked();
            assert!(matches!(vote, Call::Vote { .. }));
            return;
        }
        peer.fall_silent();
    });
    let storage = client(address).open().unwrap();
    let mut transaction = begun(&storage);
    let lost = transaction.vote().unwrap_err();
    assert!(
        matches!(
            &lost,
            Error::Disconnected {
                why: Disconnected::Lost { .. },
                ..
            }
        ),
        "{lost}"
    );
    for error in [
        transaction
            .store(Oid::new(1), Tid::ZERO, record(1))
            .unwrap_err(),
        transaction
            .check_current(Oid::new(1), Tid::ZERO)
            .unwrap_err(),
        transaction.delete(Oid::new(1), Tid::ZERO).unwrap_err(),
        transaction.undo(b"12345678").unwrap_err(),
        transaction.vote().unwrap_err(),
    ] {
        let Error::Disconnected { why, .. } = &error else {
            panic!("{error}");
        };
        assert!(matches!(why, Disconnected::BegunBefore), "{error}");
    }
}
