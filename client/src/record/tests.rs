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
        let digits = line.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = digits.map(byte).collect();
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
