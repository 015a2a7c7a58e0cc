//! `<` and `==` of Python's values, for those that records hold.

use std::cell::Cell;
use std::cmp::Ordering;

use zeo_proto::Value;

use super::instances::{Instance, known};
use super::reference;
use super::unresolved::Unresolved;

/// The answer of a comparison; an error where Python raises.
pub(super) type Answer = Result<bool, Unresolved>;

/// Compares, as long as the work is in proportion to the records.
///
/// Values nest, and are walked by recursion; the decoder bounds the depth.
pub(super) struct Comparer {
    left: Cell<usize>,
}

/// Comparisons (each of 16 bytes of text, or of one other value) that are
/// free, and those for each byte of the records.
const FREE_WORK: usize = 1 << 22;
const WORK_PER_BYTE: usize = 16;

const MIXED: &str = "they are of types without an order between them";
const REFERENCES: &str = "persistent references to different objects";

impl Comparer {
    /// For records of this many bytes together.
    pub(super) fn new(size: usize) -> Self {
        let work = size.saturating_mul(WORK_PER_BYTE).saturating_add(FREE_WORK);
        Comparer {
            left: Cell::new(work),
        }
    }

    /// `a < b`.
    pub(super) fn less(&self, a: &Value<'_>, b: &Value<'_>) -> Answer {
        self.spend(1)?;
        if let Some(ordering) = numbers(a, b) {
            return Ok(ordering == Some(Ordering::Less));
        }
        match (a, b) {
            (Value::Persistent(_), _) | (_, Value::Persistent(_)) => {
                references(a, b).map(|_| false)
            }
            (Value::Str(a), Value::Str(b)) => {
                self.spend(a.len().min(b.len()) / 16)?;
                Ok(a < b)
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                self.spend(a.len().min(b.len()) / 16)?;
                Ok(a < b)
            }
            (Value::Tuple(a), Value::Tuple(b)) | (Value::List(a), Value::List(b)) => {
                for (a, b) in a.iter().zip(b) {
                    if !self.equal(a, b)? {
                        return self.less(a, b);
                    }
                }
                Ok(a.len() < b.len())
            }
            (Value::Object(a), Value::Object(b)) => match (known(a), known(b)) {
                (Some(a), Some(b)) => self.instance_less(&a, &b),
                _ => Err(Unresolved::Incomparable(MIXED)),
            },
            _ => Err(Unresolved::Incomparable(MIXED)),
        }
    }

    /// `a == b`.
    pub(super) fn equal(&self, a: &Value<'_>, b: &Value<'_>) -> Answer {
        self.spend(1)?;
        if let Some(ordering) = numbers(a, b) {
            return Ok(ordering == Some(Ordering::Equal));
        }
        match (a, b) {
            (Value::Persistent(_), _) | (_, Value::Persistent(_)) => references(a, b),
            (Value::None, Value::None) => Ok(true),
            (Value::Str(a), Value::Str(b)) => {
                self.spend(a.len().min(b.len()) / 16)?;
                Ok(a == b)
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                self.spend(a.len().min(b.len()) / 16)?;
                Ok(a == b)
            }
            (Value::Tuple(a), Value::Tuple(b)) => {
                // Unlike a list's, a tuple's items are looked at even where
                // the lengths differ; so they may raise.
                Ok(self.items_equal(a, b)? && a.len() == b.len())
            }
            (Value::List(a), Value::List(b)) => Ok(a.len() == b.len() && self.items_equal(a, b)?),
            (Value::Dict(a), Value::Dict(b)) => self.dicts_equal(a, b),
            (Value::Object(a), Value::Object(b)) => match (known(a), known(b)) {
                (Some(a), Some(b)) => self.instances_equal(&a, &b),
                _ => Err(Unresolved::Incomparable(MIXED)),
            },
            _ => Ok(false),
        }
    }

    fn items_equal(&self, a: &[Value<'_>], b: &[Value<'_>]) -> Answer {
        for (a, b) in a.iter().zip(b) {
            if !self.equal(a, b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn dicts_equal(&self, a: &[(Value<'_>, Value<'_>)], b: &[(Value<'_>, Value<'_>)]) -> Answer {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (at, (key, value)) in a.iter().enumerate() {
            let Some(found) = self.find(key, b, |(key, _)| key, at)? else {
                return Ok(false);
            };
            if !self.equal(&found.1, value)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn contains_all(&self, all: &[Value<'_>], items: &[Value<'_>]) -> Answer {
        for (at, item) in items.iter().enumerate() {
            if self.find(item, all, |other| other, at)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds a key, where it usually is before anywhere else.
    fn find<'v, 'a: 'v, T>(
        &self,
        key: &Value<'_>,
        entries: &'v [T],
        key_of: impl Fn(&'v T) -> &'v Value<'a>,
        usually: usize,
    ) -> Result<Option<&'v T>, Unresolved> {
        let usual = entries.get(usually);
        for entry in usual.into_iter().chain(entries) {
            if self.equal(key, key_of(entry))? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn instance_less(&self, a: &Instance<'_>, b: &Instance<'_>) -> Answer {
        match (a, b) {
            (Instance::Set { items: a, .. }, Instance::Set { items: b, .. }) => {
                Ok(self.contains_all(b, a)? && !self.contains_all(a, b)?)
            }
            (Instance::Date(a), Instance::Date(b)) => Ok(a < b),
            (Instance::Time(a), Instance::Time(b)) => Ok(a < b),
            (Instance::Delta(a), Instance::Delta(b)) => Ok(a < b),
            (Instance::DateTime(a, zone), Instance::DateTime(b, other)) if zone == other => {
                Ok(a < b)
            }
            _ => Err(Unresolved::Incomparable(MIXED)),
        }
    }

    fn instances_equal(&self, a: &Instance<'_>, b: &Instance<'_>) -> Answer {
        match (a, b) {
            (Instance::Set { items: a, .. }, Instance::Set { items: b, .. }) => {
                Ok(self.contains_all(b, a)? && self.contains_all(a, b)?)
            }
            (Instance::DateTime(_, Some(zone)), Instance::DateTime(_, Some(other)))
                if zone != other =>
            {
                Err(Unresolved::Incomparable("times of different zones"))
            }
            _ => Ok(a == b),
        }
    }

    fn spend(&self, work: usize) -> Result<(), Unresolved> {
        let left = self.left.get().checked_sub(work);
        self.left.set(left.ok_or(Unresolved::TooLarge)?);
        Ok(())
    }
}

/// References are equal or raise, whatever they are compared with.
fn references(a: &Value<'_>, b: &Value<'_>) -> Answer {
    match (a, b) {
        (Value::Persistent(a), Value::Persistent(b)) if reference::equal(a, b) => Ok(true),
        _ => Err(Unresolved::Incomparable(REFERENCES)),
    }
}

/// The order of two numbers (bools are some), without rounding; `Some(None)`
/// when one is no number (NaN), and `None` when not both are of such types.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    let int = |value: &Value<'_>| match *value {
        Value::Int(int) => Some(int),
        Value::Bool(bool) => Some(bool.into()),
        _ => None,
    };
    Some(match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (a, Value::Float(b)) => int_with_float(int(a)?, *b),
        (Value::Float(a), b) => int_with_float(int(b)?, *a).map(Ordering::reverse),
        (a, b) => Some(int(a)?.cmp(&int(b)?)),
    })
}

fn int_with_float(int: i128, float: f64) -> Option<Ordering> {
    const TWO_TO_127: f64 = -(i128::MIN as f64);
    if float.is_nan() {
        None
    } else if float >= TWO_TO_127 {
        Some(Ordering::Less)
    } else if float < -TWO_TO_127 {
        Some(Ordering::Greater)
    } else {
        // Exact, since the whole part is in range.
        match int.cmp(&(float.trunc() as i128)) {
            Ordering::Equal => 0.0.partial_cmp(&float.fract()),
            other => Some(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_without_rounding() {
        use Ordering::{Equal, Greater, Less};
        let cases = [
            (1, 1.0, Some(Equal)),
            (-1, -1.5, Some(Greater)),
            (-2, -1.5, Some(Less)),
            (1 << 53, 9007199254740992.0, Some(Equal)),
            ((1 << 53) + 1, 9007199254740992.0, Some(Greater)),
            (i128::MAX, 1.7014118346046923e38, Some(Less)),
            (i128::MIN, -1.7014118346046923e38, Some(Equal)),
            (i128::MIN, f64::NEG_INFINITY, Some(Greater)),
            (0, f64::INFINITY, Some(Less)),
            (0, f64::NAN, None),
        ];
        for (int, float, expected) in cases {
            assert_eq!(int_with_float(int, float), expected, "{int} {float}");
        }
    }

    #[test]
    fn work_is_bounded() {
        let text = "x".repeat(1 << 20);
        let many = Value::List(vec![Value::str(&text); 1000]);
        let other = many.clone();
        let answer = Comparer::new(1000).equal(&many, &other);
        assert!(matches!(answer, Err(Unresolved::TooLarge)), "{answer:?}");
    }
}
