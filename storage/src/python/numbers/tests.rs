//! Orders of numbers of all types.

use super::*;
use Ordering::{Equal, Greater, Less};

fn decimal(text: &str) -> Number<'_> {
    Number::decimal(text).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn integers_and_floats_without_rounding() {
    let cases = [
        (1, 1.0, Some(Equal)),
        (0, -0.0, Some(Equal)),
        (-1, -1.5, Some(Greater)),
        (-2, -1.5, Some(Less)),
        (0, 5e-324, Some(Less)),
        (1 << 53, 9007199254740992.0, Some(Equal)),
        ((1 << 53) + 1, 9007199254740992.0, Some(Greater)),
        (i128::MAX, 1.7014118346046923e38, Some(Less)),
        (i128::MIN, -1.7014118346046923e38, Some(Equal)),
        (i128::MIN, f64::NEG_INFINITY, Some(Greater)),
        (0, f64::INFINITY, Some(Less)),
        (0, f64::NAN, None),
    ];
    for (int, float, expected) in cases {
        let (int, float) = (Number::Int(Int::Short(int)), Number::Float(float));
        assert_eq!(int.order(&float), expected, "{int:?} {float:?}");
        assert_eq!(float.order(&int), expected.map(Ordering::reverse));
    }
    let mut long = vec![0; 24];
    long.push(1);
    let two_to_192 = 2f64.powi(192);
    assert_eq!(
        Number::Int(Int::Long(&long)).order(&Number::Float(two_to_192)),
        Some(Equal)
    );
    long[0] = 1;
    assert_eq!(
        Number::Int(Int::Long(&long)).order(&Number::Float(two_to_192)),
        Some(Greater)
    );
}

#[test]
fn decimals() {
    let cases = [
        ("1.50", "1.5", Some(Equal)),
        ("-0", "0E-7", Some(Equal)),
        ("1E+3", "999", Some(Greater)),
        ("-1E+3", "-999", Some(Less)),
        ("1E-3", "0.001000", Some(Equal)),
        (
            "123456789012345678901234567890.1",
            "123456789012345678901234567890",
            Some(Greater),
        ),
        ("1E+999999999999999999", "2", Some(Greater)),
        (
            "-1E+999999999999999999",
            "1E-999999999999999999",
            Some(Less),
        ),
        (
            "9E-1999999999999999997",
            "1E+999999999999999999",
            Some(Less),
        ),
        ("Infinity", "1E+999999999999999999", Some(Greater)),
        ("-Infinity", "Infinity", Some(Less)),
        ("NaN", "NaN", None),
        ("sNaN12", "1", None),
    ];
    for (a, b, expected) in cases {
        assert_eq!(decimal(a).order(&decimal(b)), expected, "{a} {b}");
        assert_eq!(
            decimal(b).order(&decimal(a)),
            expected.map(Ordering::reverse)
        );
    }
    for bad in [
        "",
        ".",
        "-",
        "1E",
        "1E+",
        "E5",
        "1e5",
        "1_0",
        " 1",
        "1.2.3",
        "--1",
        "NaNx",
        "inf",
        "1E+1000000000000000000",
        "10E+999999999999999999",
        "1E-1999999999999999998",
        "1E+99999999999999999999",
        "\u{661}",
    ] {
        assert_eq!(Number::decimal(bad), None, "{bad}");
    }
}

#[test]
fn all_kinds_with_each_other() {
    let third = Number::fraction_of_text("1/3").unwrap();
    assert_eq!(third.order(&Number::Float(1.0 / 3.0)), Some(Greater));
    assert_eq!(
        third.order(&decimal("0.3333333333333333333333")),
        Some(Greater)
    );
    assert_eq!(third.order(&decimal("1E+99999999999999")), Some(Less));
    assert_eq!(third.order(&Number::Float(f64::INFINITY)), Some(Less));
    let parts = [-2, -4].map(Value::Int);
    let half = Number::fraction(&parts[0], &parts[1]).unwrap();
    assert_eq!(half.order(&Number::Float(0.5)), Some(Equal));
    assert_eq!(half.order(&decimal("0.50")), Some(Equal));
    assert_eq!(half.order(&Number::Int(Int::Short(1))), Some(Less));
    assert_eq!(decimal("0.1").order(&Number::Float(0.1)), Some(Less));
    assert_eq!(Number::fraction(&Value::Int(1), &Value::Int(0)), None);
    for bad in [
        "1/0",
        "1.5",
        "1/",
        "/1",
        "",
        "1_0",
        "+1",
        "1/2/3",
        &"9".repeat(5000),
    ] {
        assert_eq!(Number::fraction_of_text(bad), None, "{bad}");
    }
}
