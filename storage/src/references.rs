//! Which objects a record refers to: what a pack follows.
//!
//! The pickles of a record, class and state, hold references as persistent
//! ids of these forms (ZODB `serialize`):
//!
//! ```text
//! oid                         of an object whose class is not known yet
//! (oid, class)                the usual one
//! ['w', (oid,)], ['w', (oid, database)], [oid]
//!                             weak: does not keep the object
//! ['n', (database, oid)], ['m', (database, oid, class)]
//!                             into another database
//! ```
//!
//! So those that are lists don't count, as in Python's `referencesf`. An oid
//! is bytes, or text where Python 2 wrote it and all of it is ASCII.

use std::io;

use zeo_proto::pickle::{self, Policy, Unpickler};
use zeo_proto::{Oid, Value};

use crate::record::{PLAIN_MAX, decompress, name_of};

/// Why the references of a record can't be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It begins as a compressed record, and is none.
    #[error("it can't be decompressed: {0}")]
    Compressed(#[from] io::Error),
    /// One of its two pickles is broken, or missing.
    #[error("{0}")]
    Pickle(#[from] pickle::Error),
    /// A persistent id is none of ZODB's.
    #[error("a reference has a form that ZODB does not know: {0:.200}")]
    Form(String),
}

/// The objects of this database that a record refers to, weakly or not at
/// all excepted, in the order of the record; an object may occur again.
///
/// # Errors
/// [`Unreadable`]: it is not a record of two pickles, or refers in a form that ZODB does not have.
pub fn references(record: &[u8]) -> Result<Vec<Oid>, Unreadable> {
    let mut found = Vec::new();
    each_reference(record, |oid, _| found.push(oid))?;
    Ok(found)
}

/// A reference with what it says of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The object.
    pub oid: Oid,
    /// The dotted name of its class, if the reference has it.
    pub class: Option<String>,
}

/// The same as [`references`], with the classes.
///
/// # Errors
/// As for [`references`].
pub fn references_with_classes(record: &[u8]) -> Result<Vec<Reference>, Unreadable> {
    let mut found = Vec::new();
    each_reference(record, |oid, id| {
        let class = match id {
            Value::Tuple(items) => items.get(1).and_then(name_of),
            _ => None,
        };
        found.push(Reference { oid, class });
    })?;
    Ok(found)
}

fn each_reference(record: &[u8], mut take: impl FnMut(Oid, &Value<'_>)) -> Result<(), Unreadable> {
    let plain = decompress(record, PLAIN_MAX)?;
    // One for both: the state may use what the class pickle has memoized.
    let mut pickles = Unpickler::new(&plain, &Policy::FILE);
    for _ in 0..2 {
        for id in pickles.persistent_ids()? {
            if let Some(oid) = referred(&id)? {
                take(oid, &id);
            }
        }
    }
    Ok(())
}

/// The object that a persistent id names, if it is one of this database that
/// is kept by that.
fn referred(id: &Value<'_>) -> Result<Option<Oid>, Unreadable> {
    let oid = match id {
        Value::List(_) => return Ok(None),
        Value::Tuple(items) => items.first(),
        oid => Some(oid),
    };
    let bytes = match oid {
        Some(Value::Bytes(bytes)) => bytes.as_ref(),
        Some(Value::Str(text)) => text.as_bytes(),
        _ => &[],
    };
    match Oid::from_slice(bytes) {
        Some(oid) => Ok(Some(oid)),
        None => Err(Unreadable::Form(format!("{id:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::compress;

    /// A record of a class pickle and this state.
    fn record(state: &[u8]) -> Vec<u8> {
        [b"\x80\x03ca\nC\nq\x00.\x80\x03", state].concat()
    }

    fn numbers(record: &[u8]) -> Vec<u64> {
        let found = references(record).unwrap();
        found.iter().map(|oid| oid.as_u64()).collect()
    }

    const ONE: &[u8] = b"C\x08\0\0\0\0\0\0\0\x01";

    #[test]
    fn every_form() {
        let (memoized, text) = (b"h\0", b"U\x08\0\0\0\0\0\0\0\x02");
        let large = b"C\x08\xff\0\0\0\0\0\0\x03";
        let cases: &[(&[&[u8]], &[u64])] = &[
            (&[ONE, b"Q."], &[1]),
            (&[text, b"Q."], &[2]),
            (&[large, b"Q."], &[0xff00_0000_0000_0003]),
            (&[b"(", ONE, memoized, b"tQ", ONE, b"Q\x86."], &[1, 1]),
            (&[b"(", text, b"ca\nD\ntQ."], &[2]),
            (&[b"]q\x01(X\x01\0\0\0w", ONE, b"\x85eQ."], &[]),
            (&[b"]", ONE, b"aQ."], &[]),
            (&[b"]q\x01(X\x01\0\0\0nX\x01\0\0\0d", ONE, b"\x86eQ."], &[]),
            // A class, a value and the class of a reference by extension codes.
            (&[b"(", ONE, b"\x82\xf0tQ."], &[1]),
            (
                &[b"\x83\xa0\x0f)\x81}b", ONE, b"Q\x84\x70\x11\x01\0\x87."],
                &[1],
            ),
            (&[b"N."], &[]),
            // A lone surrogate, and an integer of 144 bits.
            (&[b"X\x03\0\0\0\xed\xa0\x800", ONE, b"Q."], &[1]),
            (&[b"\x8a\x12", &[0x7f; 18], b"0", ONE, b"Q."], &[1]),
        ];
        for (state, expected) in cases {
            let record = record(&state.concat());
            assert_eq!(numbers(&record), *expected, "{}", record.escape_ascii());
        }
    }

    /// Made by Python: `testdata/generate/make_reference_data.py`.
    #[test]
    fn every_protocol() {
        let lines = include_str!("../testdata/references.txt").lines();
        let mut count = 0;
        for line in lines {
            let fields: Vec<_> = line.split('\t').collect();
            let [name, record, oids] = fields[..] else {
                panic!("{line}");
            };
            let expected: Vec<u64> = oids
                .split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect();
            assert_eq!(numbers(&hex::decode(record).unwrap()), expected, "{name}");
            count += 1;
        }
        assert!(count > 10);
    }

    #[test]
    fn classes_of_references() {
        let usual = record(&[b"(", ONE, b"ca\nD\ntQ."].concat());
        let pair = [b"(".as_slice(), ONE, b"X\x01\0\0\0aX\x01\0\0\0E\x86tQ."].concat();
        let bare = record(&[ONE, b"Q."].concat());
        for (record, expected) in [
            (usual, Some("a.D")),
            (record(&pair), Some("a.E")),
            (bare, None),
        ] {
            let found = references_with_classes(&record).unwrap();
            let class = expected.map(str::to_owned);
            let oid = Oid::new(1);
            assert_eq!(found, [Reference { oid, class }]);
        }
    }

    #[test]
    fn both_pickles_count() {
        let class = [b"\x80\x03(ca\nC\n", ONE, b"Qt.\x80\x03N."].concat();
        assert_eq!(numbers(&class), [1]);
    }

    #[test]
    fn compressed_records() {
        let many = (0..100_u8).flat_map(|n| [b"C\x08\0\0\0\0\0\0\0".to_vec(), vec![n, b'Q']]);
        let state = [b"(".to_vec(), many.flatten().collect(), b"t.".to_vec()].concat();
        let zipped = compress(record(&state));
        assert!(zipped.starts_with(b".z"));
        assert!(numbers(&zipped).into_iter().eq(0..100));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let missing_state = b"\x80\x03ca\nC\nq\x00.";
        let wrong_form = record(b"K\x01Q.");
        let wrong_length = record(b"C\x02abQ.");
        let cases: [&[u8]; 5] = [
            b"",
            missing_state,
            &wrong_form,
            &wrong_length,
            b".znot zipped",
        ];
        for record in cases {
            assert!(references(record).is_err(), "{}", record.escape_ascii());
        }
    }
}
