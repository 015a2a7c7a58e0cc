//! Refusals, limits, memo and sharing, and random input. That decoder and
//! encoder agree with Python is the matter of `tests/golden.rs`.

use super::*;
use crate::value::{Object, Value};
use proptest::prelude::*;

fn file(bytes: &[u8]) -> Result<Value<'_>, Error> {
    decode(bytes, &Policy::FILE)
}

#[track_caller]
fn refused(bytes: &[u8], at: usize, problem: Problem) {
    assert_eq!(file(bytes), Err(Error { at, problem }), "{bytes:?}");
}

fn int(n: i128) -> Value<'static> {
    Value::Int(n)
}

#[test]
fn input_that_ends_early() {
    use Problem::Truncated;
    refused(b"", 0, Truncated { needed: 1, left: 0 });
    refused(b"K", 0, Truncated { needed: 1, left: 0 });
    refused(b"NJ\x01", 1, Truncated { needed: 4, left: 1 });
    refused(b"C\x05abc", 0, Truncated { needed: 5, left: 3 });
    let needed = u32::MAX as usize;
    refused(b"B\xff\xff\xff\xffab.", 0, Truncated { needed, left: 3 });
    refused(b"\x8b\xff\xff\xff\xff.", 0, Truncated { needed, left: 1 });
    let needed = u64::MAX as usize;
    for opcode in [b"\x8d", b"\x8e", b"\x96", b"\x95"] {
        let bytes = [&opcode[..], &[0xff; 8], b"N."].concat();
        refused(&bytes, 0, Truncated { needed, left: 2 });
    }
    refused(
        b"\x95\x03\0\0\0\0\0\0\0N.",
        0,
        Truncated { needed: 3, left: 2 },
    );
    refused(b"I12", 0, Truncated { needed: 3, left: 2 });
}

#[test]
fn input_that_goes_on() {
    refused(b"N.N", 2, Problem::Trailing(1));
    assert_eq!(decode_prefix(b"N.N", &Policy::FILE), Ok((Value::None, 2)));
}

#[test]
fn opcodes_that_have_no_place() {
    refused(b"N\xffN.", 1, Problem::UnknownOpcode(0xff));
    refused(b"\x80\x06N.", 0, Problem::Protocol(6));
    refused(b"\x97.", 0, Problem::Unsupported("out-of-band buffers"));
}

#[test]
fn extension_codes_in_files() {
    let cases: [(&[u8], u32); 6] = [
        (b"\x82\x01", 1),
        (b"\x82\xff", 255),
        (b"\x83\x00\x01", 256),
        (b"\x83\xff\xff", 65_535),
        (b"\x84\x00\x00\x01\x00", 65_536),
        (b"\x84\xff\xff\xff\x7f", 0x7fff_ffff),
    ];
    for (opcode, code) in cases {
        let pickle = [b"\x80\x03", opcode, b"."].concat();
        let value = Value::Extension(code);
        assert_eq!(decode(&pickle, &Policy::FILE), Ok(value.clone()));
        let mut written = Vec::new();
        encode_all(&[&value], &mut written, Memo::Memoizing).unwrap();
        assert_eq!(written, pickle);
    }
    let on_the_wire = decode(b"\x82\x01.", &Policy::REQUEST).unwrap_err();
    assert_eq!(on_the_wire.problem, Problem::Unsupported("extension codes"));
    for (pickle, code) in [(&b"\x82\0."[..], 0), (b"\x84\0\0\0\x80.", 1 << 31)] {
        let error = decode(pickle, &Policy::FILE).unwrap_err();
        assert_eq!(error.problem, Problem::ExtensionCode(code));
    }
}

#[test]
fn stacks_that_do_not_fit() {
    refused(b".", 0, Problem::StackUnderflow);
    refused(b"0.", 0, Problem::StackUnderflow);
    refused(b"2.", 0, Problem::StackUnderflow);
    refused(b"q\0.", 0, Problem::StackUnderflow);
    refused(b"N\x86.", 1, Problem::StackUnderflow);
    refused(b"N(\x85.", 2, Problem::StackUnderflow);
    refused(b"(o.", 1, Problem::StackUnderflow);
    refused(b"](a.", 2, Problem::StackUnderflow);
    refused(b"(e.", 1, Problem::StackUnderflow);
    refused(b"t.", 0, Problem::NoMark);
    refused(b"1.", 0, Problem::NoMark);
    refused(b"NN.", 2, Problem::StackLeft(1));
    refused(b"(N.", 2, Problem::StackLeft(1));
}

#[test]
fn values_of_the_wrong_kind() {
    let wrong = Problem::WrongKind;
    refused(
        b"NNa.",
        2,
        wrong("items are appended to a value that is not a list"),
    );
    refused(
        b"]NNs.",
        3,
        wrong("items are set in a value that is not a dict"),
    );
    refused(
        b"](N\x90.",
        3,
        wrong("items are added to a value that is not a set"),
    );
    refused(
        b"NNb.",
        2,
        wrong("a state is given to a value that is not an instance"),
    );
    let second = wrong("an instance is given a second state");
    refused(b"cm\nC\n)\x81NbNb.", 10, second);
    let no_tuple = wrong("the arguments of a call are not a tuple");
    refused(b"cm\nC\nNR.", 6, no_tuple);
    let no_dict = wrong("the keywords of a call are not a dict");
    refused(b"cm\nC\n)N\x92.", 7, no_dict);
    let no_text = wrong("a global's name is not text");
    refused(b"NN\x93.", 2, no_text);
    refused(b"}(Nu.", 3, Problem::OddItems);
    refused(b"(Nd.", 2, Problem::OddItems);
}

#[test]
fn text_and_numbers_that_do_not_parse() {
    refused(b"X\x01\0\0\0\xff.", 0, Problem::Text("a str"));
    refused(b"X\x02\0\0\0\xed\xa0.", 0, Problem::Text("a str"));
    refused(b"cm\xff\nC\n.", 0, Problem::Text("a module name"));
    refused(
        b"\x8c\x01m\x8c\x03a\nb\x93.",
        8,
        Problem::Text("a global's name"),
    );
    refused(b"I1x\n.", 0, Problem::Literal("an int"));
    refused(b"I\xff\n.", 0, Problem::Literal("an int"));
    refused(b"F-\n.", 0, Problem::Literal("a float"));
    refused(b"Sabc\n.", 0, Problem::Literal("a string"));
    refused(b"V\\ud800\n.", 0, Problem::Literal("a unicode string"));
    refused(b"Np-1\n.", 1, Problem::Literal("a memo index"));
    let wide = [b"L", &[b'1'; 5000][..], b"L\n."].concat();
    refused(&wide, 0, Problem::Literal("an int"));
}

#[test]
fn what_persistent_ids_pass_over() {
    let policy = Policy {
        max_values: 8,
        ..Policy::FILE
    };
    fn ids<'a>(state: &'a [u8], policy: &Policy) -> Result<Vec<Value<'a>>, Error> {
        Unpickler::new(state, policy).persistent_ids()
    }
    let wide = [&b"(\x8a\x12"[..], &[0x7f; 18], b"K\x01QU\x01aQt."].concat();
    assert_eq!(ids(&wide, &policy), Ok(vec![Value::None, Value::str("a")]));
    for state in [
        &b"(X\x04\0\0\0a\xed\xa0\x80X\x01\0\0\0aQt."[..],
        b"(X\x06\0\0\0\xed\xbf\xbf\xed\xa0\x80U\x01aQt.",
        b"(Vx\\ud800\nU\x01aQt.",
        b"(L-1234567890123456789012345678901234567890123456789L\nU\x01aQt.",
        &[b"(", &b"K\x01N\x88".repeat(100)[..], b"U\x01aQt."].concat(),
    ] {
        let found = ids(state, &policy);
        assert_eq!(found, Ok(vec![Value::str("a")]), "{}", state.escape_ascii());
    }
    for state in [
        &b"X\x01\0\0\0\xff."[..],
        b"X\x02\0\0\0\xed\xa0.",
        b"L1x\n.",
        b"I-\n.",
    ] {
        assert!(ids(state, &policy).is_err(), "{}", state.escape_ascii());
    }
    // A value may follow, of which everything counts.
    let mut both = Unpickler::new(b"K\x01.K\x02.", &policy);
    assert_eq!(both.persistent_ids(), Ok(vec![]));
    assert_eq!(both.value(), Ok(int(2)));
}

#[test]
fn memo_entries() {
    refused(b"h\x01.", 0, Problem::NoMemo(1));
    refused(b"Nq\x05h\x04\x86.", 3, Problem::NoMemo(4));
    let (far, near) = (
        b"K\x07r\xff\xff\xff\xff0j\xff\xff\xff\xff.",
        b"K\x07q\x000h\x00.",
    );
    assert_eq!(file(far), Ok(int(7)), "an index claims no memory");
    assert_eq!(file(near), Ok(int(7)));
    let policy = Policy {
        max_memo: 2,
        ..Policy::FILE
    };
    let full = decode(b"N\x94\x94\x94.", &policy);
    let problem = Problem::MemoFull(2);
    assert_eq!(full, Err(Error { at: 3, problem }));
    assert_eq!(decode(b"Nq\x00q\x00q\x00.", &policy), Ok(Value::None));
}

#[test]
fn policy_decides_on_globals_persistent_ids_and_strings() {
    for module in ["builtins", "zodbpickle", "ZopeUndo.Prefix", "copy_reg"] {
        let bytes = format!("c{module}\nname\n.");
        decode(bytes.as_bytes(), &Policy::REQUEST).expect(module);
    }
    for bytes in [
        &b"cos\nsystem\n."[..],
        b"\x8c\x02os\x8c\x06system\x93.",
        b"(ios\nsystem\n.",
    ] {
        let error = decode(bytes, &Policy::REQUEST).expect_err("refused");
        let (module, name) = ("os".to_owned(), "system".to_owned());
        assert_eq!(error.problem, Problem::Global { module, name });
        assert!(error.to_string().contains("os.system"), "{error}");
    }
    let error = decode(b"NQ.", &Policy::REQUEST).expect_err("refused");
    assert_eq!(error.problem, Problem::Persistent);
    let strings = Policy {
        strings: Strings::Bytes,
        ..Policy::FILE
    };
    assert_eq!(decode(b"U\x01a.", &strings), Ok(Value::bytes(b"a")));
    assert_eq!(file(b"U\x01a."), Ok(Value::str("a")));
}

#[test]
fn instances_by_every_opcode() {
    let object = |new, args: Vec<Value<'static>>| {
        Value::Object(Box::new(Object {
            callable: Value::Global {
                module: "m".into(),
                name: "C".into(),
            },
            args: Value::Tuple(args),
            new,
            state: None,
            items: vec![],
            pairs: vec![],
        }))
    };
    assert_eq!(file(b"cm\nC\n)R."), Ok(object(false, vec![])));
    assert_eq!(file(b"cm\nC\n)\x81."), Ok(object(true, vec![])));
    assert_eq!(file(b"cm\nC\n)}\x92."), Ok(object(true, vec![])));
    assert_eq!(file(b"(im\nC\n."), Ok(object(true, vec![])));
    assert_eq!(file(b"(cm\nC\nK\x01o."), Ok(object(false, vec![int(1)])));
    let keywords = file(b"cm\nC\n)}NNs\x92.").expect("decodes");
    let Value::Object(call) = keywords else {
        panic!("{keywords:?}");
    };
    let name = Value::Global {
        module: "copyreg".into(),
        name: "__newobj_ex__".into(),
    };
    assert_eq!(call.callable, name);
    assert_eq!(call.args.as_items().map(<[_]>::len), Some(3));
}

#[test]
fn lists_filled_after_they_were_memoized() {
    // [[1], the same]
    let inner = Value::List(vec![int(1)]);
    let expected = Value::List(vec![inner.clone(), inner]);
    assert_eq!(file(b"](]q\0K\x01ah\0e."), Ok(expected.clone()));
    assert_eq!(file(b"](]q\0h\0e0]q\0K\x01a0](h\0h\0e."), Ok(expected));
}

#[test]
fn pickles_that_share_a_memo() {
    let mut both = Unpickler::new(b"]q\0K\x01a.h\0.", &Policy::FILE);
    assert_eq!(both.value(), Ok(Value::List(vec![int(1)])));
    assert_eq!(both.value(), Ok(Value::List(vec![int(1)])));
    assert_eq!(both.position(), 10);
}

#[test]
fn values_that_contain_themselves() {
    for bytes in [
        &b"]q\0h\0a."[..],
        b"}q\0Nh\0s.",
        b"](]q\0h\0\x85ae.",
        b"]q\0(h\0h\0h\0e.",
    ] {
        let error = file(bytes).expect_err("refused");
        assert_eq!(error.problem, Problem::Recursive, "{bytes:?}");
    }
}

#[test]
fn persistent_ids_in_spite_of_everything() {
    // A list of itself, deep tuples, and two references.
    let mut bytes = b"(]q\0h\0aC\x01aQNC\x01b\x86Q".to_vec();
    bytes.extend(vec![0x85; 10_000]);
    bytes.extend(b"t.");
    let ids = Unpickler::new(&bytes, &Policy::FILE).persistent_ids();
    let pair = Value::Tuple(vec![Value::None, Value::bytes(b"b")]);
    assert_eq!(ids, Ok(vec![Value::bytes(b"a"), pair]));
}

#[test]
fn bombs() {
    let deep = [&b")"[..], &[0x85; 1_000_000], b"."].concat();
    let limit = Policy::FILE.max_depth;
    let error = file(&deep).expect_err("deep");
    assert_eq!(error.problem, Problem::TooDeep(limit));
    let fits = [&b"N"[..], &vec![0x85; limit], b"."].concat();
    assert!(file(&fits).is_ok());
    let marks = vec![b'('; 1_000_000];
    assert!(file(&marks).is_err());
    // Each list holds the one before twice: a billion laughs.
    let mut laughs = b"]q\0".to_vec();
    for n in 1..50 {
        laughs.extend([b']', b'q', n, b'(', b'h', n - 1, b'h', n - 1, b'e']);
    }
    let doubled = [&b"N"[..], &b"2\x86".repeat(60), b"."].concat();
    laughs.push(b'.');
    for bomb in [&laughs[..], &doubled] {
        let error = decode(bomb, &Policy::FILE).expect_err("bomb");
        assert!(
            matches!(
                error.problem,
                Problem::TooManyValues(_) | Problem::StackLeft(_)
            ),
            "{error}"
        );
    }
    let policy = Policy {
        max_values: 10,
        ..Policy::FILE
    };
    let error = decode(b"(NNNNNNNNNNNt.", &policy).expect_err("many");
    assert_eq!((error.at, error.problem), (11, Problem::TooManyValues(10)));
    // Text that must be copied counts by its length.
    let text = format!(
        "(V\\u20ac{}\nq\0{}t.",
        "x".repeat(100_000),
        "h\0".repeat(100_000)
    );
    let error = decode(text.as_bytes(), &Policy::REQUEST).expect_err("copies");
    assert!(
        matches!(error.problem, Problem::TooManyValues(_)),
        "{error}"
    );
}

#[test]
fn what_can_not_be_encoded_leaves_nothing() {
    let global = Value::Global {
        module: "os\nsystem".into(),
        name: "x".into(),
    };
    let mut out = b"before".to_vec();
    let list = Value::List(vec![Value::None, global]);
    let error = encode(&list, &mut out, Memo::Fast).expect_err("refused");
    assert!(matches!(error, EncodeError::GlobalName { .. }), "{error}");
    assert_eq!(out, b"before");
}

/// Pickles that use most opcodes, to mutate.
const SEEDS: &[&[u8]] = &[
    b"\x80\x03(K\x01K\x00X\x0a\x00\x00\x00loadBeforeC\x0812345678C\x08abcdefgh\x86t.",
    b"\x80\x03}q\0(X\x01\0\0\0aq\x01]q\x02(K\x01M\x02\x01J\x01\0\0\x80\x8a\x05\0\0\0\0\x01eh\x01h\x02u.",
    b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8f\x94(K\x01K\x02\x90\x8c\x01m\x8c\x01C\x93)\x81}\x94b\x86\x94.",
    b"(lp0\nI1\naS'ab'\np1\nag1\na(dp2\nVx\nF1.5\ns0(im\nC\np3\nNb0.",
    b"(cm\nC\nNtQ(cm\nC\nNo0\x96\x02\0\0\0\0\0\0\0ab0.",
    b"]q\0(]q\x01(h\0h\x01eh\x01h\0e.",
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever is in the input, it is decoded or refused; and what was
    /// decoded is encoded to what decodes to the same.
    #[test]
    fn no_input_panics(
        seed in 0..SEEDS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..6),
    ) {
        let mut bytes = SEEDS[seed].to_vec();
        for (at, byte, kind) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        for policy in [Policy::FILE, Policy::REQUEST] {
            let _ = Unpickler::new(&bytes, &policy).persistent_ids();
            let Ok((value, used)) = decode_prefix(&bytes, &policy) else {
                continue;
            };
            prop_assert!(used <= bytes.len());
            for memo in [Memo::Fast, Memo::Memoizing] {
                let mut out = Vec::new();
                encode(&value, &mut out, memo).expect("encodes");
                let again = file(&out).expect("decodes again");
                prop_assert_eq!(format!("{:?}", again), format!("{:?}", value));
            }
        }
    }
}

/// Python lets them pass, both ways (`surrogatepass`).
#[test]
fn lone_surrogates_are_text() {
    let text = b"a\xed\xa0\x80\xc3\xa9";
    let pickle = [&b"\x80\x03X\x06\0\0\0"[..], text, b"q\0."].concat();
    for policy in [Policy::REQUEST, Policy::FILE] {
        let value = decode(&pickle, &policy).unwrap();
        assert_eq!(value, Value::Surrogates(text.into()));
        let mut out = Vec::new();
        encode(&value, &mut out, Memo::Memoizing).unwrap();
        assert_eq!(out, pickle);
        assert!(crate::msgpack::encode(&value, &mut out).is_err());
    }
}
