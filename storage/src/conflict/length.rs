//! `BTrees.Length.Length`: both changes of the number are added up.

use num_bigint::BigInt;
use zeo_proto::Value;

use super::unresolved::Unresolved;
use crate::python::numbers;

/// committed + new - old, as Python computes it with these types.
pub(super) fn resolve(states: &[Value<'_>; 3]) -> Result<Value<'static>, Unresolved> {
    let [old, committed, new] = states;
    let sum = apply(committed, new, |a, b| a + b, |a, b| a + b)?;
    apply(&sum, old, |a, b| a - b, |a, b| a - b)
}

fn apply(
    a: &Value<'_>,
    b: &Value<'_>,
    ints: fn(BigInt, BigInt) -> BigInt,
    floats: fn(f64, f64) -> f64,
) -> Result<Value<'static>, Unresolved> {
    match (numbers::big(a), numbers::big(b)) {
        (Some(a), Some(b)) => Ok(numbers::value(&ints(a, b))),
        _ => match (float(a), float(b)) {
            (Some(a), Some(b)) => Ok(Value::Float(floats(a, b))),
            _ => Err(Unresolved::Incomparable("a length is not a number")),
        },
    }
}

fn float(value: &Value<'_>) -> Option<f64> {
    match *value {
        Value::Float(float) => Some(float),
        _ => numbers::float(&numbers::big(value)?),
    }
}
