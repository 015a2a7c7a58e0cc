//! The keys of maps. Python's msgpack reads only text and bytes there
//! (`strict_map_key`), and takes a whole message for bad that has another one.

use std::borrow::Cow;

use crate::repr;
use crate::value::Value;

/// Whether Python's msgpack reads a map with this key.
fn is_readable(key: &Value<'_>) -> bool {
    matches!(key, Value::Str(_) | Value::Bytes(_))
}

/// The first key, in the value or anywhere in it, that Python's msgpack does
/// not read.
pub fn unreadable_key<'v, 'a>(value: &'v Value<'a>) -> Option<&'v Value<'a>> {
    match value {
        Value::Tuple(items) | Value::List(items) => items.iter().find_map(unreadable_key),
        Value::Dict(pairs) => unreadable_in(pairs),
        _ => None,
    }
}

fn unreadable_in<'v, 'a>(pairs: &'v [(Value<'a>, Value<'a>)]) -> Option<&'v Value<'a>> {
    let mut pairs = pairs.iter();
    pairs.find_map(|(key, value)| {
        if is_readable(key) {
            unreadable_key(value)
        } else {
            Some(key)
        }
    })
}

/// The value as Python's msgpack reads it: with text ([`key_text`]) for the keys
/// that it does not read. Of keys that become the same, the last one counts
/// there.
pub fn readable<'v, 'a>(value: &'v Value<'a>) -> Cow<'v, Value<'a>> {
    match unreadable_key(value) {
        None => Cow::Borrowed(value),
        Some(_) => Cow::Owned(with_text(value)),
    }
}

fn with_text<'a>(value: &Value<'a>) -> Value<'a> {
    match value {
        Value::Tuple(items) => Value::Tuple(items.iter().map(with_text).collect()),
        Value::List(items) => Value::List(items.iter().map(with_text).collect()),
        Value::Dict(pairs) => Value::Dict(pairs.iter().map(pair_with_text).collect()),
        other => other.clone(),
    }
}

fn pair_with_text<'a>((key, value): &(Value<'a>, Value<'a>)) -> (Value<'a>, Value<'a>) {
    let key = if is_readable(key) {
        key.clone()
    } else {
        Value::Str(key_text(key).into())
    };
    (key, with_text(value))
}

/// The key as text, as Python shows it: `1`, `None`, `(1, 'a')`.
pub fn key_text(key: &Value<'_>) -> String {
    repr::value(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Object;

    fn dict(key: Value<'static>, value: Value<'static>) -> Value<'static> {
        Value::Dict(vec![(key, value)])
    }

    #[test]
    fn finds_what_python_does_not_read() {
        let fine = dict(
            Value::bytes(b"b"),
            Value::List(vec![dict(Value::str("a"), Value::Int(1))]),
        );
        assert_eq!(unreadable_key(&fine), None);
        let deep = dict(
            Value::str("a"),
            Value::Tuple(vec![dict(Value::Int(5), Value::None)]),
        );
        assert_eq!(unreadable_key(&deep), Some(&Value::Int(5)));
        let inner = dict(Value::str("5"), Value::None);
        let shown = dict(Value::str("a"), Value::Tuple(vec![inner]));
        assert_eq!(*readable(&deep), shown);
        assert_eq!(*readable(&fine), fine);
    }

    #[test]
    fn shows_keys_as_python_does() {
        let tuple = Value::Tuple(vec![Value::Int(-1), Value::str("a'b"), Value::bytes(b"\0")]);
        let one = Value::Tuple(vec![Value::Bool(true)]);
        let date = Value::Object(Box::new(Object {
            callable: Value::Global {
                module: "datetime".into(),
                name: "date".into(),
            },
            args: Value::Tuple(vec![Value::bytes(b"\x07\xea\x0b\x1b")]),
            new: false,
            state: None,
            items: Vec::new(),
            pairs: Vec::new(),
        }));
        for (key, expected) in [
            (Value::None, "None"),
            (Value::Int(1), "1"),
            (Value::Float(1.5), "1.5"),
            (tuple, r#"(-1, "a'b", b'\x00')"#),
            (one, "(True,)"),
            (Value::Float(f64::NAN), "nan"),
            (Value::Float(f64::NEG_INFINITY), "-inf"),
            (date, "datetime.date(b'\\x07\\xea\\x0b\\x1b')"),
        ] {
            assert_eq!(key_text(&key), expected);
        }
    }
}
