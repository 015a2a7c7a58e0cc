//! Values as Python's `repr` shows them, which ZODB's scripts print.

use crate::Value;
use crate::pickle::{self, Policy};

/// `repr(bytes)`: `b'abc'`.
pub fn bytes(bytes: &[u8]) -> String {
    let quote = quote_for(bytes);
    let mut shown = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b' '..=b'~' | b'\t' | b'\n' | b'\r' => push(&mut shown, char::from(byte), quote),
            _ => shown.push_str(&format!("\\x{byte:02x}")),
        }
    }
    shown.push(quote);
    shown
}

/// `repr(str)`: `'abc'`.
pub fn text(text: &str) -> String {
    let quote = quote_for(text.as_bytes());
    let mut shown = String::from(quote);
    for c in text.chars() {
        push(&mut shown, c, quote);
    }
    shown.push(quote);
    shown
}

/// `repr(float)`: `0.5`, `1e-05`, `1e+16`.
pub fn float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return if number.is_nan() {
            "nan".to_owned()
        } else {
            scientific // inf
        };
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ if number.fract() == 0.0 => format!("{number:.1}"),
        _ => number.to_string(),
    }
}

/// `repr` of a value out of a pickle, with classes by their dotted names and
/// other objects as calls that would make them.
pub fn value(of: &Value<'_>) -> String {
    match of {
        Value::None => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Long(bytes) => format!("<int of {} bytes>", bytes.len()),
        Value::Float(number) => float(*number),
        Value::Bytes(found) => bytes(found),
        Value::Str(found) => text(found),
        Value::Surrogates(found) => format!("<str {}>", bytes(found)),
        Value::Tuple(items) if items.len() == 1 => format!("({},)", list(items)),
        Value::Tuple(items) => format!("({})", list(items)),
        Value::List(items) => format!("[{}]", list(items)),
        Value::Dict(items) => format!("{{{}}}", pairs(items)),
        Value::Global { module, name } => printable(&format!("{module}.{name}")),
        Value::Extension(code) => format!("<extension code {code}>"),
        Value::Persistent(id) => format!("<persistent {}>", value(id)),
        Value::Object(object) => {
            let args = match &object.args {
                Value::Tuple(items) => list(items),
                other => value(other),
            };
            format!("{}({args})", value(&object.callable))
        }
    }
}

/// A name out of a file without what would move the cursor of a terminal.
pub fn printable(name: &str) -> String {
    let shown = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    name.chars().map(shown).collect()
}

/// The value that a pickle holds, the same way. Nothing is imported or run.
pub fn pickled(bytes: &[u8]) -> String {
    match pickle::decode(bytes, &Policy::FILE) {
        Ok(found) => value(&found),
        Err(why) => format!("<{} bytes that can't be read: {why}>", bytes.len()),
    }
}

fn list(items: &[Value<'_>]) -> String {
    items.iter().map(value).collect::<Vec<_>>().join(", ")
}

fn pairs(items: &[(Value<'_>, Value<'_>)]) -> String {
    let pair = |(key, found): &(Value<'_>, Value<'_>)| format!("{}: {}", value(key), value(found));
    items.iter().map(pair).collect::<Vec<_>>().join(", ")
}

/// Python takes double quotes for what holds single ones, and no double ones.
fn quote_for(bytes: &[u8]) -> char {
    if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    }
}

fn push(shown: &mut String, c: char, quote: char) {
    match c {
        '\t' => shown.push_str("\\t"),
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\\' => shown.push_str("\\\\"),
        c if c == quote => shown.extend(['\\', c]),
        // Close to what Python calls printable.
        c if c.is_control() || (c.is_whitespace() && c != ' ') => {
            let code = u32::from(c);
            shown.push_str(&match code {
                0..=0xff => format!("\\x{code:02x}"),
                0x100..=0xffff => format!("\\u{code:04x}"),
                _ => format!("\\U{code:08x}"),
            });
        }
        c => shown.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_in_python() {
        for (of, expected) in [
            (&b""[..], "b''"),
            (b"max", "b'max'"),
            (b"it's", "b\"it's\""),
            (b"'\"", "b'\\'\"'"),
            (b"\"", "b'\"'"),
            (b"\t\n\r\\\0\x7f\xff", r"b'\t\n\r\\\x00\x7f\xff'"),
        ] {
            assert_eq!(bytes(of), expected);
        }
    }

    #[test]
    fn floats_as_in_python() {
        for (of, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (81.226297803, "81.226297803"),
            (1000000000000000.0, "1000000000000000.0"),
            (1e+16, "1e+16"),
            (1.2345678901234568e+17, "1.2345678901234568e+17"),
            (1e+22, "1e+22"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012345"),
            (1e-05, "1e-05"),
            (5e-05, "5e-05"),
            (-2.5e-07, "-2.5e-07"),
            (1e+100, "1e+100"),
            (0.3333333333333333, "0.3333333333333333"),
            (5e-324, "5e-324"),
            (1.7976931348623157e+308, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (9999999999999998.0, "9999999999999998.0"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(of), expected);
        }
    }

    #[test]
    fn values_as_in_python() {
        let global = |name: &'static str| Value::Global {
            module: "a.b".into(),
            name: name.into(),
        };
        let object = crate::value::Object {
            callable: global("C"),
            args: Value::Tuple(vec![Value::Float(1.0), Value::str("é\u{85}\u{2028}'")]),
            new: true,
            state: None,
            items: vec![],
            pairs: vec![],
        };
        let dict = Value::Dict(vec![
            (Value::str("k"), Value::Tuple(vec![Value::Bool(true)])),
            (
                Value::Int(-1),
                Value::List(vec![Value::None, Value::bytes(b"\0")]),
            ),
            (Value::Tuple(vec![]), Value::Object(Box::new(object))),
        ]);
        let expected = r#"{'k': (True,), -1: [None, b'\x00'], (): a.b.C(1.0, "é\x85\u2028'")}"#;
        assert_eq!(value(&dict), expected);
    }
}
