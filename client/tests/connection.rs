//! Connections to a real server, and to what is none.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use zeo_client::{Address, Connection, ConnectionError, Options, Raised, probe};
use zeo_proto::framing::write_frame;
use zeo_proto::marshal::Encoding;
use zeo_proto::message::{Call, Incoming, Notification, Sizes, encode_keep_alive, encode_reply};
use zeo_proto::{Oid, Tid, Value};
use zeo_server::{AdHoc, AdHocServer, Settings};

/// Longer than anything takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options::within(PATIENCE)
}

/// A server of our own at `address`, and where it listens.
fn serve(address: &str, encoding: Encoding) -> (AdHocServer, Address) {
    let mut settings = Settings::default();
    settings.encoding = encoding;
    let wanted = zeo_storage::zconfig::datatypes::socket_binding_address(address).unwrap();
    let adhoc = AdHoc::in_memory().address(wanted).settings(settings);
    let server = zeo_server::serve(adhoc).unwrap();
    let address = server.address().parse().unwrap();
    (server, address)
}

/// A socket at which `act` is done with the first connection.
fn pretend(act: impl FnOnce(&mut std::net::TcpStream) + Send + 'static) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        act(&mut stream);
        // Until the client has gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    address.into()
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, payload);
    out
}

#[test]
fn calls_in_both_encodings_over_tcp_and_unix() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("zeo.sock");
    for address in ["127.0.0.1:0", socket.to_str().unwrap()] {
        for (encoding, greeting) in [(Encoding::Pickle, b"Z5"), (Encoding::Msgpack, b"M5")] {
            let (server, address) = serve(address, encoding);
            let mut connection = Connection::open(&address, &options()).unwrap();
            assert_eq!(connection.encoding(), encoding);
            let refused = connection.register("other", true).unwrap_err();
            assert_eq!(refused.raised(), Some(Raised::Other));
            let text = refused.to_string();
            assert!(
                text.contains(": register: builtins.ValueError: unknown"),
                "{text}"
            );
            assert_eq!(connection.register("1", false).unwrap(), Some(Tid::ZERO));
            let oids: Vec<Oid> =
                { connection.call(&Call::NewOids { count: 3 }, &mut |_| {}) }.unwrap();
            assert_eq!(oids.len(), 3);
            // Several calls at once; their replies come in order.
            let first = connection.send(&Call::Ping).unwrap();
            let second = connection.send(&Call::GetInfo).unwrap();
            for (id, method) in [(first, "ping"), (second, "get_info")] {
                let done =
                    connection.reply(method, id, &mut |_| {}, |reply| Ok(reply.outcome.is_ok()));
                assert!(done.unwrap(), "{method}");
            }
            // A result of another type than the method has.
            let error = connection
                .call::<u64>(&Call::GetInfo, &mut |_| {})
                .unwrap_err();
            assert!(
                error.to_string().contains("the reply to get_info can't"),
                "{error}"
            );
            let () = connection.call(&Call::Ping, &mut |_| {}).unwrap();

            let status = probe(&address, &options()).unwrap();
            assert_eq!(status.greeting, greeting);
            assert!(status.status.starts_with(b"{\"1\":"));
            server.stop();
            let lost = connection.call::<()>(&Call::Ping, &mut |_| {}).unwrap_err();
            assert!(
                matches!(lost, ConnectionError::Disconnected { .. }),
                "{lost}"
            );
        }
    }
}

#[test]
fn notifications_and_heartbeats_come_between() {
    let address = pretend(|stream| {
        stream.write_all(&frame(b"M5")).unwrap();
        let mut begin = [0; 6 + 4];
        stream.read_exact(&mut begin).unwrap();
        let mut out = Vec::new();
        encode_keep_alive(&mut out, Encoding::Msgpack).unwrap();
        let sizes = Notification::Info(Sizes { length: 1, size: 2 });
        sizes.encode(&mut out, Encoding::Msgpack).unwrap();
        encode_reply(&mut out, Encoding::Msgpack, &1_u64, &()).unwrap();
        sizes.encode(&mut out, Encoding::Msgpack).unwrap();
        stream.write_all(&out).unwrap();
    });
    let mut connection = Connection::open(&address, &options()).unwrap();
    let mut told = Vec::new();
    let () = connection
        .call(&Call::Ping, &mut |it| told.push(it.method()))
        .unwrap();
    assert_eq!(told, ["info"]);
    let next = connection.receive(|it| matches!(it, Incoming::Notification(_)));
    assert!(next.unwrap());
}

/// What comes instead of a greeting, and what is said of it.
#[test]
fn what_is_no_server() {
    for (bytes, expected) in [
        (
            &b""[..],
            "the connection was lost while waiting for greeting",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            "no ZEO server: it begins with 'SSH-'",
        ),
        (b"\x15\x03\x03\0\x02\x02\x28", "the server speaks TLS"),
        (b"\0\0\0\x02Q5", "no ZEO server: its greeting is 'Q5'"),
        (
            b"\0\0\0\x04Z310",
            "a server of protocol \"Z310\", older than ZEO 5",
        ),
        (
            b"\0\0\0\x02Z4",
            "a server of protocol \"Z4\", older than ZEO 5",
        ),
        (b"\0\0\0\0", "an empty message"),
        (
            b"\0\0\0\x09Z5",
            "the connection was lost while waiting for greeting",
        ),
    ] {
        let address = pretend(move |stream| {
            stream.write_all(bytes).unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Write);
        });
        let error = Connection::open(&address, &options())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{bytes:?}: {error}");
        assert!(error.contains(&address.to_string()), "{error}");
    }
}

/// What comes instead of a reply: each is an error that names the method, and no wait for ever.
#[test]
fn what_is_no_reply() {
    let mut wrong_id = Vec::new();
    encode_reply(&mut wrong_id, Encoding::Pickle, &7_u64, &()).unwrap();
    let mut a_call = Vec::new();
    Call::Ping
        .encode(&mut a_call, Encoding::Pickle, &1_u64)
        .unwrap();
    let mut strange = Vec::new();
    let exception = Value::str("no exception");
    let flag = zeo_proto::marshal::Flag::Error;
    let (out, it) = (&mut strange, Encoding::Pickle);
    zeo_proto::marshal::encode_message(out, it, &1_u64, flag, ".reply", &exception).unwrap();
    for (bytes, expected) in [
        (frame(b"garbage"), "reply to ping"),
        (
            wrong_id,
            "a reply to a call that was not made, with an id 7",
        ),
        (a_call, "reply to ping: "),
        (strange, "the reply to ping can't be understood"),
        (
            b"\0\0\xff\xff".to_vec(),
            "a message of 65535 bytes is over the limit",
        ),
        (
            b"\0\0\0\x09half".to_vec(),
            "lost while waiting for reply to ping",
        ),
        (Vec::new(), "lost while waiting for reply to ping"),
    ] {
        let address = pretend(move |stream| {
            let answer = [frame(b"Z5"), bytes].concat();
            stream.write_all(&answer).unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Write);
        });
        let mut options = options();
        options.message_limit = 10_000;
        let mut connection = Connection::open(&address, &options).unwrap();
        let error = connection.call::<()>(&Call::Ping, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn each_wait_has_a_limit() {
    let soon = Options::within(Duration::from_millis(20));
    let silent = pretend(|_| {});
    let error = Connection::open(&silent, &soon).unwrap_err().to_string();
    assert!(
        error.contains("no greeting within 0.02 s; no ZEO server, a stuck one"),
        "{error}"
    );
    let silent = pretend(|stream| stream.write_all(&frame(b"Z5")).unwrap());
    let mut connection = Connection::open(&silent, &options()).unwrap();
    connection.set_call_limit(Some(Duration::from_millis(20)));
    let error = connection.call::<()>(&Call::Ping, &mut |_| {}).unwrap_err();
    assert!(matches!(error, ConnectionError::TimedOut { .. }), "{error}");
    let error = error.to_string();
    assert!(error.ends_with("no reply to ping within 0.02 s"), "{error}");
}

#[test]
fn a_server_that_never_stops_sending_has_no_more_time() {
    let endless = pretend(|stream| {
        stream.write_all(&frame(b"Z5")).unwrap();
        let mut beat = Vec::new();
        encode_keep_alive(&mut beat, Encoding::Pickle).unwrap();
        while stream.write_all(&beat).is_ok() {}
    });
    let mut connection = Connection::open(&endless, &options()).unwrap();
    connection.set_call_limit(Some(Duration::from_millis(20)));
    let error = connection.call::<()>(&Call::Ping, &mut |_| {}).unwrap_err();
    assert!(matches!(error, ConnectionError::TimedOut { .. }), "{error}");
}

#[test]
fn a_server_that_sends_before_it_reads_stops_nobody() {
    const SIZE: usize = 8 << 20;
    let address = pretend(|stream| {
        let mut out = frame(b"M5");
        let chunk = Notification::ReceiveBlobChunk {
            oid: Oid::ZERO,
            serial: Tid::ZERO,
            chunk: vec![0; SIZE].into(),
        };
        chunk.encode(&mut out, Encoding::Msgpack).unwrap();
        stream.write_all(&out).unwrap();
        let mut begin = vec![0; 6 + SIZE];
        stream.read_exact(&mut begin).unwrap();
        let mut out = Vec::new();
        encode_reply(&mut out, Encoding::Msgpack, &2_u64, &()).unwrap();
        stream.write_all(&out).unwrap();
    });
    let mut connection = Connection::open(&address, &options()).unwrap();
    let chunk = vec![0; SIZE].into();
    connection.send(&Call::StoreBlobChunk { chunk }).unwrap();
    let mut told = 0;
    let () = connection.call(&Call::Ping, &mut |_| told += 1).unwrap();
    assert_eq!(told, 1);
}

#[test]
fn addresses_at_which_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for (address, expected) in [
        (format!("localhost:{port}"), "Connection refused"),
        ("/no/such/zeo.sock".to_owned(), "No such file or directory"),
        ("no-such-host.invalid:1".to_owned(), ""),
    ] {
        let error = Connection::open(&address.parse().unwrap(), &options()).unwrap_err();
        let expected = format!("can't connect to {address}: {expected}");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
