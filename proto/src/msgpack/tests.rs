//! Refusals and random input; `tests/golden.rs` compares with Python.

use super::*;
use crate::value::Object;
use proptest::prelude::*;

#[track_caller]
fn refused(bytes: &[u8], at: usize, problem: Problem) {
    let expected = Err(Error { at, problem });
    assert_eq!(decode(bytes, &Policy::REQUEST), expected, "{bytes:x?}");
}

#[test]
fn what_is_refused() {
    use Problem::Truncated;
    refused(b"", 0, Truncated { needed: 1, left: 0 });
    refused(b"\x92\x01", 0, Truncated { needed: 2, left: 1 });
    refused(b"\x91\xcd\x01", 1, Truncated { needed: 2, left: 1 });
    refused(b"\xc4\x05abc", 0, Truncated { needed: 5, left: 3 });
    let most = u32::MAX as usize;
    for marker in [b"\xc6", b"\xdb", b"\xdd"] {
        let bytes = [&marker[..], &[0xff; 4]].concat();
        let (needed, left) = (most, 0);
        refused(&bytes, 0, Truncated { needed, left });
    }
    let (needed, left) = (most * 2, 1);
    refused(b"\xdf\xff\xff\xff\xff\x01", 0, Truncated { needed, left });
    refused(b"\xc0\xc0", 1, Problem::Trailing(1));
    refused(b"\x91\xa1\xff", 1, Problem::Text);
    refused(b"\xd4\x01\x01", 0, Problem::Unsupported(0xd4));
    refused(b"\xc7\x00\x01", 0, Problem::Unsupported(0xc7));
    refused(b"\xc1", 0, Problem::Unsupported(0xc1));
}

#[test]
fn limits() {
    let limit = Policy::REQUEST.max_depth;
    let nested = |depth: usize| [&vec![0x91; depth][..], b"\xc0"].concat();
    assert!(decode(&nested(limit), &Policy::REQUEST).is_ok());
    refused(&nested(limit + 1), limit, Problem::TooDeep(limit));
    refused(&nested(1_000_000), limit, Problem::TooDeep(limit));
    let policy = Policy {
        max_values: 3,
        ..Policy::REQUEST
    };
    assert!(decode(b"\x92\x01\x02", &policy).is_ok());
    for bytes in [&b"\x93\x01\x02\x03"[..], b"\x92\x91\x01\x02"] {
        let error = decode(bytes, &policy).expect_err("many");
        assert_eq!(error.problem, Problem::TooManyValues(3));
    }
}

#[test]
fn nested_containers_do_not_claim_the_same_bytes() {
    // Two maps of 20 pairs, one within the other, before 50 bytes.
    let bytes = [&b"\xde\x00\x14\xde\x00\x14"[..], &[1; 50]].concat();
    let missing = Problem::Truncated {
        needed: 79,
        left: 50,
    };
    refused(&bytes, 3, missing);
}

#[test]
fn what_can_not_be_encoded_leaves_nothing() {
    let global = Value::Global {
        module: "os".into(),
        name: "system".into(),
    };
    let object = Value::Object(Box::new(Object {
        callable: global.clone(),
        args: Value::Tuple(vec![]),
        new: false,
        state: None,
        items: vec![],
        pairs: vec![],
    }));
    for (value, named) in [
        (global, "the global os.system"),
        (object, "an instance"),
        (
            Value::Persistent(Box::new(Value::None)),
            "a persistent reference",
        ),
        (Value::Int(1 << 64), "18446744073709551616"),
        (Value::Int(-(1 << 63) - 1), "-9223372036854775809"),
    ] {
        let mut out = b"before".to_vec();
        let error = encode(&Value::List(vec![Value::None, value]), &mut out);
        let error = error.expect_err(named).to_string();
        assert!(error.contains(named), "{error}");
        assert_eq!(out, b"before");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Bytes are decoded or refused; what was decoded comes back the same.
    #[test]
    fn no_input_panics(bytes in prop::collection::vec(
        prop_oneof![any::<u8>(), 0x80..=0xdfu8, 0..4u8], 0..40,
    )) {
        if let Ok(value) = decode(&bytes, &Policy::REQUEST) {
            let mut out = Vec::new();
            encode(&value, &mut out).expect("encodes");
            let again = decode(&out, &Policy::REQUEST).expect("decodes again");
            prop_assert_eq!(format!("{again:?}"), format!("{value:?}"));
        }
    }
}
