//! Two ends of TLS over a socket, both in this thread.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectKeyIdentifier};
use openssl::x509::{X509, X509Name};
use rustix::event::{EventfdFlags, eventfd};

use super::*;

/// A key and its own certificate for this name.
fn certificate(name: &str) -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    let (from, until) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    builder.set_not_before(&from.unwrap()).unwrap();
    builder.set_not_after(&until.unwrap()).unwrap();
    let basic = BasicConstraints::new().critical().ca().build().unwrap();
    builder.append_extension(basic).unwrap();
    let context = builder.x509v3_context(None, None);
    let identifier = SubjectKeyIdentifier::new().build(&context).unwrap();
    builder.append_extension(identifier).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (key, builder.build())
}

/// A context that has the first certificate and trusts the second.
fn context(own: Option<&(PKey<Private>, X509)>, trusted: &X509, version: SslVersion) -> SslContext {
    let mut builder = SslContextBuilder::new(SslMethod::tls()).unwrap();
    prepare(&mut builder);
    builder.set_min_proto_version(Some(version)).unwrap();
    builder.set_max_proto_version(Some(version)).unwrap();
    if let Some((key, certificate)) = own {
        builder.set_private_key(key).unwrap();
        builder.set_certificate(certificate).unwrap();
    }
    builder.cert_store_mut().add_cert(trusted.clone()).unwrap();
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    builder.set_num_tickets(0).unwrap();
    builder.build()
}

/// One end, and what waits for it.
struct End {
    stream: Stream,
    waiter: Waiter,
    _wake: std::os::fd::OwnedFd,
}

impl End {
    fn new(stream: Stream) -> Self {
        let wake = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        Self {
            waiter: Waiter::new(&stream, wake.as_fd()).unwrap(),
            stream,
            _wake: wake,
        }
    }

    fn look(&mut self) {
        let ready = self.waiter.wait(Some(Duration::ZERO)).unwrap();
        self.stream.note(ready);
    }

    fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        self.look();
        let mut buffer = vec![0; most];
        let count = self.stream.read(&mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }
}

fn ends(server: &SslContext, client: &SslContext) -> (End, End) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut ssl = Ssl::new(server).unwrap();
    ssl.set_accept_state();
    let server = Stream::unix(ours).unwrap().secured(ssl).unwrap();
    let mut ssl = Ssl::new(client).unwrap();
    ssl.set_connect_state();
    let client = Stream::unix(theirs).unwrap().secured(ssl).unwrap();
    (End::new(server), End::new(client))
}

fn shake_hands(server: &mut End, client: &mut End) -> Result<(), HandshakeError> {
    let (mut is_served, mut is_connected) = (false, false);
    while !is_served || !is_connected {
        client.look();
        is_connected = is_connected || client.stream.handshake()?;
        server.look();
        is_served = is_served || server.stream.handshake()?;
    }
    Ok(())
}

fn connected(version: SslVersion) -> (End, End) {
    let (ours, theirs) = (certificate("server"), certificate("client"));
    let server = context(Some(&ours), &theirs.1, version);
    let client = context(Some(&theirs), &ours.1, version);
    let (mut server, mut client) = ends(&server, &client);
    shake_hands(&mut server, &mut client).unwrap();
    (server, client)
}

fn is_blocked(result: &io::Result<impl Sized>) -> bool {
    matches!(result, Err(why) if why.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn both_versions_carry_bytes_both_ways_and_name_the_peer() {
    for (version, name) in [
        (SslVersion::TLS1_2, "TLSv1.2"),
        (SslVersion::TLS1_3, "TLSv1.3"),
    ] {
        let (mut server, mut client) = connected(version);
        let identity = server.stream.identity().unwrap();
        assert_eq!(
            identity.to_string(),
            format!("{name}, certificate of CN=client")
        );
        assert!(is_blocked(&server.read(10)));
        assert!(!server.stream.is_readable());
        client.stream.write_all(b"from the client").unwrap();
        server.stream.write_all(b"from the server").unwrap();
        assert_eq!(server.read(100).unwrap(), b"from the client");
        assert_eq!(client.read(100).unwrap(), b"from the server");
    }
}

#[test]
fn what_is_decrypted_already_is_read_without_a_wait() {
    let (mut server, mut client) = connected(SslVersion::TLS1_3);
    assert!(is_blocked(&server.read(1)));
    // Two records, which come off the socket together.
    client.stream.write_all(&[1; 20]).unwrap();
    client.stream.write_all(&[2; 20]).unwrap();
    assert_eq!(server.read(5).unwrap(), [1; 5]);
    let next = server.waiter.wait(Some(Duration::ZERO)).unwrap();
    assert!(!next.read, "the socket has nothing more to tell");
    let mut rest: Vec<u8> = Vec::new();
    while server.stream.is_readable() {
        let mut buffer = [0; 7];
        match server.stream.read(&mut buffer) {
            Ok(count) => rest.extend(&buffer[..count]),
            Err(why) => assert_eq!(why.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert_eq!(rest, [vec![1; 15], vec![2; 20]].concat());
}

#[test]
fn what_comes_right_behind_the_handshake_is_not_lost() {
    let (ours, theirs) = (certificate("server"), certificate("client"));
    let server = context(Some(&ours), &theirs.1, SslVersion::TLS1_3);
    let client = context(Some(&theirs), &ours.1, SslVersion::TLS1_3);
    let (mut server, mut client) = ends(&server, &client);
    while !client.stream.handshake().unwrap() {
        client.look();
        server.look();
        assert!(!server.stream.handshake().unwrap());
        client.look();
    }
    client.stream.write_all(b"early").unwrap();
    server.look();
    assert!(server.stream.handshake().unwrap());
    assert!(server.stream.is_readable());
    assert_eq!(server.read(100).unwrap(), b"early");
}

#[test]
fn what_does_not_fit_goes_out_later_whole_and_in_order() {
    let (mut server, mut client) = connected(SslVersion::TLS1_3);
    let mut sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut done, mut blocked, mut received) = (0, 0, Vec::new());
    while received.len() < sent.len() {
        // What waits is moved, and grows.
        sent = sent.clone();
        while done < sent.len() {
            match server.stream.write(&sent[done..]) {
                Ok(count) => done += count,
                Err(why) => {
                    assert_eq!(why.kind(), io::ErrorKind::WouldBlock);
                    blocked += 1;
                    if sent.len() < 4_000_000 {
                        sent.extend([7; 1000]);
                    }
                    break;
                }
            }
        }
        for _ in 0..5 {
            match client.read(50_000) {
                Ok(bytes) => received.extend(bytes),
                Err(why) => assert_eq!(why.kind(), io::ErrorKind::WouldBlock),
            }
        }
        server.look();
    }
    assert!(blocked > 0 && received == sent);
}

#[test]
fn an_orderly_end_is_told_from_a_cut() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let (mut server, mut client) = connected(version);
        client.stream.write_all(b"last").unwrap();
        client.stream.close();
        assert_eq!(server.read(100).unwrap(), b"last");
        assert_eq!(server.read(100).unwrap(), b"");
        assert!(!server.stream.is_truncated());
        // It has only ended sending, and is answered.
        server.stream.write_all(b"answer").unwrap();
        server.stream.close();
        assert_eq!(client.read(100).unwrap(), b"answer");
        assert_eq!(client.read(100).unwrap(), b"");
        assert!(!client.stream.is_truncated());

        let (mut server, mut client) = connected(version);
        client.stream.write_all(b"last").unwrap();
        drop(client);
        assert_eq!(server.read(100).unwrap(), b"last");
        assert_eq!(server.read(100).unwrap(), b"");
        assert!(server.stream.is_truncated());
    }
}

#[test]
fn a_refused_client_hears_of_it_when_the_server_closes() {
    let (ours, theirs) = (certificate("server"), certificate("client"));
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let server_context = context(Some(&ours), &ours.1, version);
        for (own, shown, alert) in [
            (
                Some(&theirs),
                "its certificate is not accepted: self-signed certificate (CN=client)",
                "unknown ca",
            ),
            (None, "it has no certificate", ""),
        ] {
            let client_context = context(own, &ours.1, version);
            let (mut server, mut client) = ends(&server_context, &client_context);
            let why = shake_hands(&mut server, &mut client).unwrap_err();
            assert_eq!(why.to_string(), shown);
            client.look();
            let waits = client.stream.handshake();
            assert!(waits.is_ok(), "not before");
            server.stream.close();
            client.look();
            let heard = match client.stream.handshake() {
                // Its handshake was over long ago.
                Ok(true) => client.read(10).unwrap_err().to_string(),
                Ok(false) => panic!("it hears nothing"),
                Err(HandshakeError::Alert(alert)) => alert,
                Err(other) => panic!("{other}"),
            };
            assert!(heard.contains("alert") && heard.contains(alert), "{heard}");
        }
    }
}

#[test]
fn what_is_not_tls_is_called_so() {
    let (ours, theirs) = (certificate("server"), certificate("client"));
    let context = context(Some(&ours), &theirs.1, SslVersion::TLS1_3);
    for (sent, shown) in [
        (&b"\0\0\0\x04ruok"[..], "it does not speak TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "it does not speak TLS"),
        (b"", "it closed the connection"),
        (b"\x16\x03\x01\x00", "it closed the connection"),
    ] {
        let (mut server, client) = ends(&context, &context);
        assert!(server.stream.is_silent());
        rustix::io::write(&client.stream, sent).unwrap();
        drop(client);
        server.look();
        let why = server.stream.handshake().unwrap_err();
        assert_eq!(why.to_string(), shown);
        assert_eq!(server.stream.is_silent(), sent.is_empty());
    }
}

#[test]
fn garbage_behind_the_handshake_is_an_error() {
    let (mut server, client) = connected(SslVersion::TLS1_3);
    rustix::io::write(&client.stream, &[23, 3, 3, 0, 20, 1, 2, 3]).unwrap();
    assert!(is_blocked(&server.read(10)), "it is not whole");
    rustix::io::write(&client.stream, &[9; 17]).unwrap();
    let why = server.read(10).unwrap_err().to_string();
    assert!(why.starts_with("TLS: ") && why.contains("mac"), "{why}");
}
