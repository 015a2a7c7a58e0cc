//! Records that no client of Python's makes, or that want too much.

use super::*;

#[test]
fn what_a_state_may_not_hold() {
    // A set as Python 2 names it, by which Python 3 does not find it here.
    let set = |module: &str| {
        let state = format!("((K\x01c{module}\nset\n(]K\x01atRtt.");
        let record = bucket(state.as_bytes());
        resolve(&record, &record, &record)
    };
    assert!(set("builtins").is_ok());
    assert!(matches!(
        set("__builtin__"),
        Err(Unresolved::Instance { class, .. }) if class == "__builtin__.set"
    ));
    let other = [b"\x80\x03capp\nThing\n.", &b"N."[..]].concat();
    let answer = resolve(&other, &other, &other);
    assert!(
        matches!(&answer, Err(Unresolved::Class(class)) if class == "app.Thing"),
        "{answer:?}"
    );
    let deleted = resolve(b"", b"", b"").unwrap_err();
    assert!(matches!(deleted, Unresolved::Unreadable { .. }));
}

#[test]
fn results_that_share_are_bounded() {
    // 1 MiB of text, as the value of 201 keys.
    let mut state = b"(K\x00X\0\0\x10\0".to_vec();
    state.extend(vec![b'x'; 1 << 20]);
    state.extend(b"q\x01");
    for n in 1..=200u8 {
        state.extend([b'K', n, b'h', 1]);
    }
    state.extend(b"t\x85.");
    let record = bucket(&state);
    let answer = resolve(&record, &record, &record);
    assert!(matches!(answer, Err(Unresolved::TooLarge)));
}

#[test]
fn damaged_records_are_no_trouble() {
    let lines = include_str!("../../../testdata/conflict.txt").lines();
    for line in lines.step_by(9) {
        let [old, committed, new] = case(line).records;
        for at in 0..new.len() {
            for bit in [0, 3, 6] {
                let mut damaged = new.clone();
                damaged[at] ^= 1 << bit;
                let _ = resolve(&old, &committed, &damaged);
                let _ = resolve(&damaged, &committed, &damaged);
            }
            let _ = resolve(&old, &new[..at], &committed);
        }
    }
}

/// What becomes of a bucket with this value, unchanged; as opcodes.
fn with_value(value: &str) -> std::result::Result<Vec<u8>, Unresolved> {
    let record = bucket(format!("((I1\n{value}tt.").as_bytes());
    resolve(&record, &record, &record)
}

#[test]
fn forms_of_instances() {
    let uuid = |state: &str| {
        format!("ccopyreg\n_reconstructor\n(cuuid\nUUID\ncbuiltins\nobject\nNtR(d{state}b")
    };
    let timezone = |days: i32, seconds: i32| {
        format!("cdatetime\ntimezone\n(cdatetime\ntimedelta\n(I{days}\nI{seconds}\nI0\ntRtR")
    };
    let deque = |most: i32| format!("ccollections\ndeque\n((tI{most}\ntR(I1\nI2\ne");
    for good in [
        "cdecimal\nDecimal\n(V1E+999999999999999999\ntR",
        "cfractions\nFraction\n(V-1/3\ntR",
        "cfractions\nFraction\n(I1\nI3\ntR",
        "cipaddress\nIPv4Address\n(I1\ntR",
        "cipaddress\nIPv6Address\n(V::1\ntR",
        "cbuiltins\nbytearray\n(V\u{e9}\nVlatin-1\ntR",
        // A time of Python 2.
        "cdatetime\ntime\n(S'abcdef'\ntR",
        &uuid("Vint\nI5\nsVis_safe\nI-1\ns"),
        &uuid("Vint\nL340282366920938463463374607431768211455L\ns"),
        &deque(2),
    ] {
        let answer = with_value(good);
        // Where there is an order.
        assert!(
            answer.is_ok() || good.contains("time\n("),
            "{good:?}: {answer:?}"
        );
    }
    for bad in [
        "cdecimal\nDecimal\n(Vone\ntR",
        "cdecimal\nDecimal\n(V1E+1000000000000000000\ntR",
        "cdecimal\nDecimal\n(I1\ntR",
        "cdecimal\nDecimal\n(V1\nNtR",
        "cdecimal\nDecimal\n(V1\ntR(d(b",
        "cfractions\nFraction\n(I1\nI0\ntR",
        "cfractions\nFraction\n(V1/0\ntR",
        "cfractions\nFraction\n(F1\nI1\ntR",
        "cipaddress\nIPv4Address\n(I4294967296\ntR",
        "cipaddress\nIPv4Address\n(I-1\ntR",
        "cipaddress\nIPv6Address\n(V::1%1\ntR",
        "cipaddress\nIPv6Address\n(L340282366920938463463374607431768211456L\ntR",
        "cbuiltins\nbytearray\n(V\\u20ac\nVlatin-1\ntR",
        &timezone(1, 0),
        &timezone(-1, 0),
        &uuid(""),
        &uuid("Vint\nNs"),
        &uuid("Vint\nI-1\ns"),
        &uuid("Vint\nI5\nsVother\nI5\ns"),
        &uuid("Vint\nI5\nsVis_safe\nI7\ns"),
        &deque(1),
        "ccollections\ndefaultdict\n(capp\nThing\ntR",
        "cuuid\nSafeUUID\n",
    ] {
        let answer = with_value(bad);
        let unknown = matches!(answer, Err(Unresolved::Instance { .. }));
        let unreadable = matches!(answer, Err(Unresolved::Unreadable { .. }));
        assert!(unknown || unreadable, "{bad:?}: {answer:?}");
    }
}

#[test]
fn text_of_python_2_is_ascii() {
    assert!(with_value("S'a'\n").is_ok());
    let answer = with_value("S'\\xe9'\n");
    assert!(
        matches!(answer, Err(Unresolved::Unreadable { .. })),
        "{answer:?}"
    );
}

#[test]
fn integers_of_any_length_are_kept() {
    let many = "9".repeat(4000);
    let record = with_value(&format!("L{many}L\n")).unwrap();
    let mut pickles = Unpickler::new(&record, &Policy::FILE);
    pickles.value().unwrap();
    let Value::Tuple(state) = pickles.value().unwrap() else {
        panic!()
    };
    let Some([Value::Int(1), long @ Value::Long(_)]) = state[0].as_items() else {
        panic!()
    };
    assert_eq!(numbers::big(long).unwrap().to_string(), many);
}

#[test]
fn work_is_bounded() {
    let shared = |value: &str| {
        let fetched: String = (2..5000).map(|key| format!("I{key}\ng0\n")).collect();
        with_value(&format!("{value}p0\n{fetched}"))
    };
    // Small to write, large as what it stands for.
    let decimal = |text: &str| format!("cdecimal\nDecimal\n(V{text}\ntR");
    let (far, near) = (decimal("1E+999999999"), decimal("1E-999999999"));
    assert!(with_value(&format!("({far}{near}F0.1\nt")).is_ok());
    // Quadratic work.
    let refused = |answer| assert!(matches!(answer, Err(Unresolved::TooLarge)), "{answer:?}");
    let digits = "1".repeat(200_000);
    refused(with_value(&decimal(&digits)));
    refused(with_value(&decimal(&format!("0.{digits}"))));
    // Text that is read at each fetch.
    let fraction = format!("cfractions\nFraction\n(V{0}/{0}\ntR", &digits[..4300]);
    for value in [&fraction, &decimal(&digits[..8000])] {
        assert!(with_value(value).is_ok());
        refused(shared(value));
    }

    let nested = |depth| format!("{}I1\n{}", "(".repeat(depth), "t".repeat(depth));
    assert!(with_value(&nested(190)).is_ok());
    for deep in [&nested(250), &nested(100_000), "(lp0\ng0\na"] {
        let answer = with_value(deep);
        assert!(
            matches!(answer, Err(Unresolved::Unreadable { .. })),
            "{answer:?}"
        );
    }
}
