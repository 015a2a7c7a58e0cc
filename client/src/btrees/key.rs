//! Keys and values: which of them a class takes, and how keys are ordered.

use std::cmp::Ordering;

use zeo_storage::btrees::{self, Kind, NoOrder, Tree};

use super::error::{Error, Result};
use super::plain::plain;
use crate::record::Value;

/// The order of two keys, as Python finds it.
pub(super) fn order(a: &Value, b: &Value) -> Result<Ordering, NoOrder> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Ok(str::cmp(a, b)),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(a.cmp(b)),
        _ => btrees::order(&plain(a), &plain(b)),
    }
}

/// The key as a tree of this class keeps it.
pub(super) fn key(class: &Tree, key: Value) -> Result<Value> {
    let refused = |given: String, why: String| Error::Key {
        class: class.name(),
        given,
        why,
    };
    match class.key {
        // What has no order with itself has none with others. NaN is never found again.
        Kind::Object => match order(&key, &key) {
            Ok(Ordering::Equal) => Ok(key),
            Ok(_) => Err(refused(shown(&key), "it is not equal to itself".into())),
            Err(why) => Err(refused(shown(&key), why.to_string())),
        },
        kind => {
            let given = shown(&key);
            kept(kind, key).ok_or_else(|| refused(given, wanted(kind)))
        }
    }
}

/// The value as a tree of this class keeps it.
pub(super) fn value(class: &Tree, value: Value) -> Result<Value> {
    if class.value == Kind::Object {
        return Ok(value);
    }
    let given = shown(&value);
    kept(class.value, value).ok_or_else(|| Error::Value {
        class: class.name(),
        given,
        why: wanted(class.value),
    })
}

/// Whether a container of this kind keeps a value as it is; [`kept`] tells of all others.
pub(super) fn is_kept(kind: Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Object, _) => true,
        (Kind::Int(min, max), Value::Int(int)) => (min..=max).contains(&i128::from(*int)),
        _ => false,
    }
}

/// What a container of this kind keeps of a value; `None` if it refuses it.
pub(super) fn kept(kind: Kind, value: Value) -> Option<Value> {
    let within = |min, max, int: i128| (min..=max).contains(&int);
    match (kind, value) {
        (Kind::Object, value) => Some(value),
        (Kind::Int(min, max), Value::Int(int)) => {
            within(min, max, int.into()).then_some(Value::Int(int))
        }
        (Kind::Int(min, max), Value::BigInt(int)) => {
            let fits = i128::try_from(&*int).is_ok_and(|int| within(min, max, int));
            fits.then_some(Value::BigInt(int))
        }
        (Kind::Int(..), Value::Bool(bool)) => Some(Value::Int(bool.into())),
        // Single precision, written as a float of double precision.
        (Kind::Float, Value::Float(float)) => Some(Value::Float(f64::from(float as f32))),
        (Kind::Float, Value::Bool(bool)) => Some(Value::Float(f64::from(bool))),
        (Kind::Float, Value::Int(int)) => Some(Value::Float(f64::from(int as f32))),
        (Kind::Bytes(length), Value::Bytes(bytes)) if bytes.len() == length => {
            Some(Value::Bytes(bytes))
        }
        _ => None,
    }
}

/// Whether setting a value over another changes nothing, so that nothing is written.
pub(super) fn same(kind: Kind, a: &Value, b: &Value) -> bool {
    match kind {
        Kind::Int(..) | Kind::Float => a == b,
        // Also the very same value is written again.
        Kind::Object | Kind::Bytes(_) => false,
    }
}

fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Object => "any object".to_owned(),
        Kind::Int(min, max) => format!("it takes integers from {min} to {max}"),
        Kind::Float => "it takes floats, and integers of 64 bits".to_owned(),
        Kind::Bytes(length) => format!("it takes bytes of length {length}"),
    }
}

/// A key or value as errors show it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Int(int) => int.to_string(),
        Value::BigInt(int) if int.bits() <= 128 => int.to_string(),
        Value::Float(float) => format!("{float:?}"),
        Value::Str(text) if text.chars().count() <= 60 => format!("{text:?}"),
        Value::Bytes(bytes) if bytes.len() <= 30 => format!("b\"{}\"", bytes.escape_ascii()),
        other => other.kind(),
    }
}
