//! Typed messages against what Python's client and server sent in a
//! conversation: `golden/messages.txt`, made by `golden/messages.py`, which
//! tells the format. Each is parsed to the value that is expected here, and
//! encoded to the same bytes again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

mod calls;
mod random;
mod replies;

use std::collections::BTreeSet;

use zeo_proto::marshal::{Encoding, Message, decode_message_within};
use zeo_proto::message::{Incoming, Notification, Sizes, encode_keep_alive};
use zeo_proto::pickle::Policy;
use zeo_proto::{Oid, Tid, Value};

const CASES: &str = include_str!("../golden/messages.txt");
const BOTH: [Encoding; 2] = [Encoding::Pickle, Encoding::Msgpack];

/// All cases: who sends it, its label, encoding, and frame.
fn cases() -> Vec<(&'static str, &'static str, Encoding, Vec<u8>)> {
    let case = |line: &'static str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [who, label, letter, hex] = fields[..] else {
            panic!("{line}")
        };
        let encoding = if letter == "Z" { BOTH[0] } else { BOTH[1] };
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let frame = (0..hex.len()).step_by(2).map(byte).collect();
        (who, label, encoding, frame)
    };
    CASES.lines().map(case).collect()
}

fn message(frame: &[u8], encoding: Encoding) -> Message<'_> {
    decode_message_within(&frame[4..], encoding, &Policy::REPLY).unwrap()
}

/// The frames of one message in both encodings, or as many as there are.
fn frames(who: &str, label: &str) -> Vec<(Encoding, Vec<u8>)> {
    let mut found = cases();
    found.retain(|case| (case.0, case.1) == (who, label));
    assert!(!found.is_empty(), "no {who} {label}");
    found.into_iter().map(|case| (case.2, case.3)).collect()
}

/// The labels of all that `who` sends.
fn labels(who: &str) -> BTreeSet<&'static str> {
    let mut found = cases();
    found.retain(|case| case.0 == who);
    found.into_iter().map(|case| case.1).collect()
}

/// The tid of a transaction of the conversation.
fn tid(number: u64) -> Tid {
    Tid::new((0x03d4_e258 + number) << 32)
}

fn oid(number: u64) -> Oid {
    Oid::new(number)
}

/// A record as the generator makes it.
fn record(text: &str) -> Vec<u8> {
    let mut out = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\0.".to_vec();
    out.extend(b"\x80\x03}q\0X\x04\0\0\0dataq\x01}q\x02X\x04\0\0\0textq\x03X");
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
    out.extend(b"q\x04ss.");
    out
}

/// The extension of the first transaction.
fn extension() -> Value<'static> {
    Value::Dict(vec![
        (Value::str("key"), Value::str("value")),
        (Value::str("number"), Value::Float(2.5)),
        (Value::str("none"), Value::None),
    ])
}

#[test]
fn notifications_are_parsed_and_written_as_by_python() {
    let (oid, serial) = (oid(4), tid(7));
    let chunk = b"the content".into();
    let invalidation = Notification::InvalidateTransaction {
        tid: tid(1),
        oids: vec![Oid::new(0), Oid::new(1)].into(),
    };
    for (label, expected) in [
        ("invalidateTransaction", invalidation),
        (
            "info",
            Notification::Info(Sizes {
                length: 2,
                size: 371,
            }),
        ),
        (
            "info packed",
            Notification::Info(Sizes {
                length: 6,
                size: 1491,
            }),
        ),
        (
            "receiveBlobStart",
            Notification::ReceiveBlobStart { oid, serial },
        ),
        (
            "receiveBlobChunk",
            Notification::ReceiveBlobChunk { oid, serial, chunk },
        ),
        (
            "receiveBlobStop",
            Notification::ReceiveBlobStop { oid, serial },
        ),
    ] {
        for (encoding, frame) in frames("notify", label) {
            let found = Incoming::parse(message(&frame, encoding));
            let wanted = Incoming::Notification(expected.clone());
            assert_eq!(found, Ok(wanted), "{label}");
            let mut out = Vec::new();
            expected.encode(&mut out, encoding).unwrap();
            assert_eq!(out, frame, "{label} {encoding:?}");
        }
    }
}

#[test]
fn a_keep_alive_is_one() {
    for (encoding, frame) in frames("reply", "keep-alive") {
        let found = Incoming::parse(message(&frame, encoding));
        assert_eq!(found, Ok(Incoming::KeepAlive));
        let mut out = Vec::new();
        encode_keep_alive(&mut out, encoding).unwrap();
        assert_eq!(out, frame);
    }
}
