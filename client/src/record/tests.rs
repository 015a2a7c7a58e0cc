use super::*;

/// A record of class `a.C` and this state pickle, of which 0 is memoized.
fn record(state: &[u8]) -> Vec<u8> {
    [b"\x80\x03ca\nC\nq\0.\x80\x03", state, b"."].concat()
}

fn decode(state: &[u8]) -> Record {
    Record::decode(record(state)).unwrap()
}

fn again(state: &[u8]) {
    let bytes = record(state);
    let encoded = Record::decode(bytes.clone()).unwrap().encode().unwrap();
    assert_eq!(
        encoded.escape_ascii().to_string(),
        bytes.escape_ascii().to_string()
    );
}

const ONE: &[u8] = b"C\x08\0\0\0\0\0\0\0\x01";

#[test]
fn every_kind_is_written_as_it_was() {
    let states: [&[u8]; 16] = [
        b"N",
        b"(\x88\x89K\x01M\0\x01J\xff\xff\xff\xff\x8a\x09\0\0\0\0\0\0\0\0\x01G?\xf0\0\0\0\0\0\0tq\x01",
        b"}q\x01X\x04\0\0\0dataq\x02}q\x03s",
        // Text, known again and equal.
        b"X\x02\0\0\0abq\x01h\x01X\x02\0\0\0abq\x02\x87q\x03",
        b"X\x03\0\0\0\xed\xa0\x80q\x01C\x02abq\x02\x86q\x03",
        b"cbuiltins\nset\nq\x01]q\x02(K\x01K\x02e\x85q\x03Rq\x04",
        b"cbuiltins\nfrozenset\nq\x01]q\x02\x85q\x03Rq\x04",
        // A list in two places, and a tuple.
        b"]q\x01K\x01ah\x01\x86q\x02",
        b"K\x01\x85q\x01h\x01)\x87q\x02",
        // A list that contains itself, a tuple that does, an instance that does.
        b"]q\x01h\x01a",
        b"]q\x01h\x01\x85q\x02a0h\x02",
        b"(]q\x01(h\x01K\x01K\x02K\x03tq\x02aK\x01K\x02K\x031h\x02",
        b"h\0)\x81q\x01}q\x02X\x02\0\0\0meq\x03h\x01sb",
        // Items and pairs of an instance.
        b"cm\nL\nq\x01)\x81q\x02K\x01aK\x02K\x03s}q\x03b",
        b"\x82\x07\x83\0\x07\x84\0\0\0\x07\x87q\x01",
        b"cdatetime\ndatetime\nq\x01C\n\x07\xe4\x01\x02\x03\x04\x05\0\0\0q\x02\x85q\x03Rq\x04",
    ];
    for state in states {
        again(state);
    }
}

#[test]
fn references_of_every_kind() {
    let one = |before: &[u8], after: &[u8]| [before, ONE, after].concat();
    again(&one(b"", b"q\x01h\0\x86q\x02Q"));
    again(&one(
        b"(",
        b"q\x01h\0\x86q\x02Qh\x01h\0\x86q\x03QK\x01K\x02tq\x04",
    ));
    again(&one(b"", b"q\x01Q"));
    again(&one(b"]q\x01(X\x01\0\0\0wq\x02", b"q\x03\x85q\x04eQ"));
    again(&one(
        b"]q\x01(X\x01\0\0\0wq\x02",
        b"q\x03X\x02\0\0\0dbq\x04\x86q\x05eQ",
    ));
    again(&one(
        b"]q\x01(X\x01\0\0\0nq\x02X\x02\0\0\0dbq\x03",
        b"q\x04\x86q\x05eQ",
    ));
    again(&one(
        b"]q\x01(X\x01\0\0\0mq\x02X\x02\0\0\0dbq\x03",
        b"q\x04h\0\x87q\x05eQ",
    ));
    // Of forms that ZODB does not write now.
    again(&one(b"]q\x01", b"q\x02aQ"));
    again(b"K\x01Q");
    again(&one(
        b"",
        b"q\x01X\x01\0\0\0aq\x02X\x01\0\0\0bq\x03\x86q\x04\x86q\x05Q",
    ));

    let value = decode(&one(
        b"]q\x01(X\x01\0\0\0mq\x02X\x02\0\0\0dbq\x03",
        b"q\x04h\0\x87q\x05eQ",
    ));
    let reference = value.state.as_reference().unwrap();
    assert_eq!(reference.oid.as_u64(), 1);
    assert_eq!(reference.class, Some(Class::new("a", "C")));
    assert_eq!(reference.database.as_deref(), Some("db"));
    assert!(!reference.weak);
}

#[test]
fn references_to_one_object_share_its_oid() {
    let class = || Some(Class::new("a", "C"));
    let refers = || Value::Reference(Box::new(Reference::new(zeo_proto::Oid::new(1), class())));
    let record = Record::new(Class::new("a", "B"), Value::tuple([refers(), refers()]));
    let state = b"C\x08\0\0\0\0\0\0\0\x01q\x01ca\nC\nq\x02\x86q\x03Q\
        h\x01h\x02\x86q\x04Q\x86q\x05.";
    let expected = [b"\x80\x03ca\nB\nq\0.\x80\x03", state.as_slice()].concat();
    assert_eq!(record.encode().unwrap(), expected);
}

/// By ZODB 6.4 and 5.8: `tests/client/states.py`.
#[test]
fn records_of_python_are_written_as_they_were() {
    let mut count = 0;
    for line in include_str!("../../testdata/records.txt").lines() {
        let bytes = hex::decode(line).unwrap();
        let encoded = Record::decode(bytes.clone()).unwrap().encode().unwrap();
        assert_eq!(
            encoded.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        );
        count += 1;
    }
    assert!(count > 200);
}

/// A reference that is made here shares the oid with those to the same object, made or read.
#[test]
fn new_references() {
    let mut read = decode(&[ONE, b"q\x01h\0\x86q\x02Q"].concat());
    let new = || {
        Value::from(Reference::new(
            zeo_proto::Oid::new(1),
            read.class().cloned(),
        ))
    };
    let (first, second) = (new(), new());
    read.state = Value::tuple([read.state.clone(), first, second]);
    let expected = [
        ONE,
        b"q\x01h\0\x86q\x02Qh\x01h\0\x86q\x03Qh\x01h\0\x86q\x04Q\x87q\x05",
    ];
    assert_eq!(read.encode().unwrap(), record(&expected.concat()));
    let Value::Tuple(parts) = &read.state else {
        panic!("no tuple");
    };
    read.state = Value::tuple(parts[1..].to_vec());
    let expected = [ONE, b"q\x01h\0\x86q\x02Qh\x01h\0\x86q\x03Q\x86q\x04"];
    assert_eq!(read.encode().unwrap(), record(&expected.concat()));
}

#[test]
fn json_is_read_again() {
    for line in include_str!("../../testdata/records.txt").lines() {
        let record = Record::decode(hex::decode(line).unwrap()).unwrap();
        let json = record.to_json();
        let read = Record::from_json(&json).unwrap();
        assert_eq!(read.to_json(), json);
        let written = Record::decode(read.encode().unwrap()).unwrap();
        assert_eq!(written.to_json(), json);
    }
}

#[test]
fn json_of_every_kind() {
    let state: &[(&[u8], &str)] = &[
        (
            b"\x8a\x09\0\0\0\0\0\0\0\0\x01",
            r#"{"$int":"18446744073709551616"}"#,
        ),
        (b"G?\xf0\0\0\0\0\0\0", "1.0"),
        (b"G\x7f\xf0\0\0\0\0\0\0", r#"{"$float":"inf"}"#),
        (b"C\x04a\\\0\"", r#"{"$bytes":"a\\\\\\x00\\\""}"#),
        (b"}K\x01Ns", r#"{"$dict":[[1,null]]}"#),
        (b"}X\x02\0\0\0$aNs", r#"{"$dict":[["$a",null]]}"#),
        (b"}X\x02\0\0\0\xc3\xa9]s", r#"{"é":[]}"#),
        (b"]q\x01h\x01a", r#"{"$shared":1,"value":[{"$shared":1}]}"#),
        (b"h\0)\x81}b", r#"{"$instance":"a.C","state":{}}"#),
        (b"h\0K\x01\x85R", r#"{"$call":"a.C","args":[1]}"#),
        (
            b"cdatetime\ndatetime\nC\n\x07\xe4\x01\x02\x03\x04\x05\0\0\x09\x85R",
            r#"{"$datetime":"2020-01-02T03:04:05.000009"}"#,
        ),
        (
            b"C\x08\0\0\0\0\0\0\0\x2ah\0\x86Q",
            r#"{"$ref":"0x2a","class":"a.C"}"#,
        ),
    ];
    for (state, json) in state {
        let record = decode(state);
        assert_eq!(record.state.to_json(), *json);
        assert_eq!(Value::from_json(json).unwrap().to_json(), *json);
        assert_eq!(
            record.to_json(),
            format!(r#"{{"class":"a.C","state":{json}}}"#)
        );
    }
    for wrong in [
        "{}",
        "1",
        "{\"class\":\"a.C\"}",
        "{\"class\":1,\"state\":{\"$set\":1}}",
    ] {
        assert!(Record::from_json(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn states_as_types() {
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Plain,
        Sized(u8, u8),
        Named { name: String },
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Part {
        number: u64,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Page {
        title: String,
        parts: Vec<Part>,
        pair: (i32, Option<bool>),
        kinds: Vec<Kind>,
        sizes: BTreeMap<String, f64>,
        parent: Reference,
        created: DateTime,
        anything: Value,
    }
    let parent = Reference::new(zeo_proto::Oid::new(7), Some(Class::new("a", "C")));
    let page = Page {
        title: "Home".into(),
        parts: vec![Part { number: u64::MAX }],
        pair: (-1, None),
        kinds: vec![
            Kind::Plain,
            Kind::Sized(1, 2),
            Kind::Named { name: "x".into() },
        ],
        sizes: [("a".to_owned(), 1.5)].into(),
        parent,
        created: "2020-02-03T04:05:06+01:00".parse().unwrap(),
        anything: Value::Set(vec![Value::None]),
    };
    let mut record = Record::new(Class::new("a", "C"), Dict::from([("other", 1)]));
    record.update_from(&page).unwrap();
    let record = Record::decode(record.encode().unwrap()).unwrap();
    assert_eq!(record.get("other"), Some(&Value::Int(1)));
    assert_eq!(record.to_type::<Page>().unwrap(), page);

    // Parts that are instances, values in several places.
    let part = Shared::new(Instance::new(Class::new("a", "Part"), [("number", 3)].into()).into());
    let twice = Value::List(vec![Value::Shared(part.clone()), Value::Shared(part)]);
    let parts: Vec<Part> = twice.to_type().unwrap();
    assert_eq!(parts, [Part { number: 3 }, Part { number: 3 }]);
    let ring = Shared::new(Value::None);
    ring.set(Value::List(vec![Value::Shared(ring.within())]));
    let error = Value::Shared(ring)
        .to_type::<serde_json::Value>()
        .unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
}

#[test]
fn floats_by_json_keep_every_bit() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let float = f64::from_bits(random.u64(..));
        if float.is_finite() {
            let read = Value::from_json(&Value::Float(float).to_json()).unwrap();
            assert_eq!(read, Value::Float(float));
        }
    }
}

#[test]
fn deep_values() {
    let nested = |depth: usize| [&b"]".repeat(depth)[..], &b"a".repeat(depth - 1)].concat();
    let deep = decode(&nested(MAX_DEPTH));
    assert!(deep.to_json().contains("[[[["));
    let encoded = deep.encode().unwrap();
    assert_eq!(Record::decode(encoded).unwrap(), deep);
    let deeper = Record::decode(record(&nested(MAX_DEPTH + 1)));
    assert!(matches!(deeper, Err(DecodeError::TooDeep)));
    let deeper = Record::decode(record(&nested(1_000_000)));
    assert!(matches!(deeper, Err(DecodeError::TooDeep)));
    let error = Value::from(vec![deep.state]).to_type::<serde_json::Value>();
    assert!(error.unwrap_err().to_string().contains("nested deeper"));

    // Made here, and containing itself by places that keep it.
    let ring = Shared::new(Value::None);
    ring.set(Value::List(vec![Value::Shared(ring.clone())]));
    let state = Value::Shared(ring.clone());
    let looped = Record::new(Class::new("a", "C"), state);
    let again = Record::decode(looped.encode().unwrap()).unwrap();
    assert_eq!(again.to_json(), looped.to_json());
    ring.set(Value::None);
}

/// A list that is in two places only as both are one tuple: it is one list there.
#[test]
fn what_can_be_changed_within_a_tuple() {
    let state = b"K\x01]q\x01\x86q\x02h\x02\x86q\x03";
    again(state);
    let json = decode(state).to_json();
    let read = Record::from_json(&json).unwrap();
    assert_eq!(read.encode().unwrap(), record(state));
}

#[test]
fn a_part_of_what_is_gone_is_refused() {
    let mut list = decode(b"]q\x01h\x01\x85a").state;
    let part = list.edit(|list| match list {
        Value::List(items) => items.pop(),
        _ => None,
    });
    drop(list);
    let orphan = Record::new(Class::new("a", "C"), part.unwrap());
    assert!(matches!(orphan.encode(), Err(EncodeError::Gone)));
}

#[test]
fn damaged_records() {
    let mut random = fastrand::Rng::with_seed(7);
    let lines: Vec<&str> = include_str!("../../testdata/records.txt").lines().collect();
    let mut decoded = 0;
    for round in 0..6_000 {
        let line = lines[random.usize(..lines.len())];
        let mut bytes = hex::decode(line).unwrap();
        bytes.truncate(2000);
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match round % 3 {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = random.u8(..),
                _ => bytes[at] = b"()]}.RQbaseuthqj0123\x80\x81\x85\x86"[random.usize(..24)],
            }
        }
        if let Ok(record) = Record::decode(bytes) {
            decoded += 1;
            record.to_json();
            let Ok(written) = record.encode() else {
                continue;
            };
            let again = Record::decode(written.clone()).unwrap();
            assert_eq!(again.encode().unwrap(), written);
        }
    }
    assert!(decoded > 300);
}

/// What would not be written as it was is refused, not altered.
#[test]
fn what_cannot_be_kept_is_refused() {
    let states: [&[u8]; 6] = [
        b"U\x01\xff",             // text of Python 2 that is not ASCII
        b"h\0)\x81}bK\x01a",      // an item behind the state
        b"h\0)\x81}bK\x01K\x02s", // a pair behind the state
        b"h\0)\x81}b}b",          // two states
        b"\x97",                  // an out-of-band buffer
        b"\xff",                  // no opcode
    ];
    for state in states {
        assert!(
            Record::decode(record(state)).is_err(),
            "{}",
            state.escape_ascii()
        );
    }
}
