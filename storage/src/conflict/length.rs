//! `BTrees.Length.Length`: both changes of the number are added up.

use zeo_proto::Value;

use super::unresolved::Unresolved;

/// committed + new - old, as Python computes it with these types.
pub(super) fn resolve(states: &[Value<'_>; 3]) -> Result<Value<'static>, Unresolved> {
    let [old, committed, new] = states;
    let sum = apply(committed, new, i128::checked_add, |a, b| a + b)?;
    apply(&sum, old, i128::checked_sub, |a, b| a - b)
}

fn apply(
    a: &Value<'_>,
    b: &Value<'_>,
    ints: fn(i128, i128) -> Option<i128>,
    floats: fn(f64, f64) -> f64,
) -> Result<Value<'static>, Unresolved> {
    match (int(a), int(b)) {
        (Some(a), Some(b)) => ints(a, b).map(Value::Int).ok_or(Unresolved::TooLarge),
        _ => match (float(a), float(b)) {
            (Some(a), Some(b)) => Ok(Value::Float(floats(a, b))),
            _ => Err(Unresolved::Incomparable("a length is no number")),
        },
    }
}

fn int(value: &Value<'_>) -> Option<i128> {
    match *value {
        Value::Int(int) => Some(int),
        Value::Bool(bool) => Some(bool.into()),
        _ => None,
    }
}

fn float(value: &Value<'_>) -> Option<f64> {
    match *value {
        Value::Float(float) => Some(float),
        _ => int(value).map(|int| int as f64),
    }
}
