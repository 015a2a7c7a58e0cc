//! `<` and `==` of Python's values, for those that records hold.

use std::cell::Cell;
use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};

use zeo_proto::Value;

use super::classes::Classes;
use super::error::Error;
use super::lookup::{Equality, Lookup};
use super::numbers::{Int, Number};
use super::operand::{Operand, Sequence};
use super::reference;

/// The answer of a comparison; an error where Python raises.
pub(crate) type Answer = Result<bool, Error>;

/// Compares, as long as the work is in proportion to the records.
///
/// Values nest, and are walked by recursion; the decoder bounds the depth.
pub(crate) struct Comparer {
    classes: &'static dyn Classes,
    left: Cell<usize>,
}

/// Comparisons (each of 16 bytes of text, or of one other value) that are
/// free, and those for each byte of the records.
const FREE_WORK: usize = 1 << 20;
const WORK_PER_BYTE: usize = 16;

const MIXED: &str = "their types have no order";
const NAN: &str = "one is a Decimal, the other is not a number";
const REFERENCES: &str = "persistent references to different objects";

impl Comparer {
    /// For records of this many bytes together, with instances of these
    /// classes besides Python's own.
    pub(crate) fn new(size: usize, classes: &'static dyn Classes) -> Self {
        let work = size.saturating_mul(WORK_PER_BYTE).saturating_add(FREE_WORK);
        Comparer {
            classes,
            left: Cell::new(work),
        }
    }

    /// `a < b`.
    pub(crate) fn less(&self, a: &Value<'_>, b: &Value<'_>) -> Answer {
        let mixed = Err(Error::Incomparable(MIXED));
        match (self.look(a)?, self.look(b)?) {
            (Operand::Reference(_), _) | (_, Operand::Reference(_)) => {
                self.references(a, b).map(|_| false)
            }
            (Operand::Number(a), Operand::Number(b)) => {
                if (a.is_decimal() || b.is_decimal()) && (a.is_nan() || b.is_nan()) {
                    return Err(Error::Incomparable(NAN));
                }
                Ok(self.numbers(&a, &b)? == Some(Ordering::Less))
            }
            (Operand::Tagged(class, a), Operand::Tagged(other, b)) if class == other => Ok(a < b),
            (Operand::Str(a), Operand::Str(b)) => {
                self.spend(a.len().min(b.len()) / 16)?;
                Ok(a < b)
            }
            (Operand::Bytes { bytes: a, .. }, Operand::Bytes { bytes: b, .. }) => {
                self.spend(a.len().min(b.len()) / 16)?;
                Ok(a < b)
            }
            (Operand::Sequence(kind, a), Operand::Sequence(other, b)) if kind == other => {
                for (a, b) in a.iter().zip(b) {
                    if !self.equal(a, b)? {
                        return self.less(a, b);
                    }
                }
                Ok(a.len() < b.len())
            }
            (Operand::Set { items: a, .. }, Operand::Set { items: b, .. }) => {
                Ok(self.contains_all(b, a)? && !self.contains_all(a, b)?)
            }
            (Operand::Moment(a), Operand::Moment(b)) => match a.order(&b) {
                Some(order) => Ok(order == Ordering::Less),
                None => mixed,
            },
            _ => mixed,
        }
    }

    /// `a == b`.
    pub(crate) fn equal(&self, a: &Value<'_>, b: &Value<'_>) -> Answer {
        match (self.look(a)?, self.look(b)?) {
            (Operand::Reference(_), _) | (_, Operand::Reference(_)) => self.references(a, b),
            (Operand::None, Operand::None) => Ok(true),
            (Operand::Number(a), Operand::Number(b)) => self.numbers_equal(&a, &b),
            (Operand::Number(a), Operand::Complex(real, imaginary))
            | (Operand::Complex(real, imaginary), Operand::Number(a)) => {
                Ok(imaginary == 0.0 && self.numbers_equal(&a, &Number::Float(real))?)
            }
            (Operand::Complex(a, b), Operand::Complex(c, d)) => Ok(a == c && b == d),
            (Operand::Tagged(class, a), Operand::Tagged(other, b)) => Ok(class == other && a == b),
            (Operand::Str(a), Operand::Str(b)) => {
                self.spend(a.len().min(b.len()) / 16)?;
                Ok(a == b)
            }
            (Operand::Bytes { bytes: a, .. }, Operand::Bytes { bytes: b, .. }) => {
                self.spend(a.len().min(b.len()) / 16)?;
                Ok(a == b)
            }
            (Operand::Sequence(Sequence::Tuple, a), Operand::Sequence(Sequence::Tuple, b)) => {
                // Unlike a list's, a tuple's items are looked at even where
                // the lengths differ; so they may raise.
                Ok(self.items_equal(a, b)? && a.len() == b.len())
            }
            (Operand::Sequence(kind, a), Operand::Sequence(other, b)) => {
                Ok(kind == other && a.len() == b.len() && self.items_equal(a, b)?)
            }
            (
                Operand::Dict { pairs: a, ordered },
                Operand::Dict {
                    pairs: b,
                    ordered: other,
                },
            ) => {
                let keys = || a.iter().zip(b).map(|((a, _), (b, _))| self.equal(a, b));
                Ok(self.dicts_equal(a, b)? && (!(ordered && other) || all(keys())?))
            }
            (Operand::Set { items: a, .. }, Operand::Set { items: b, .. }) => {
                Ok(self.contains_all(b, a)? && self.contains_all(a, b)?)
            }
            (Operand::Moment(a), Operand::Moment(b)) => Ok(a.equals(&b)),
            (Operand::Class, Operand::Class) => Ok(a == b),
            _ => Ok(false),
        }
    }

    fn numbers(&self, a: &Number<'_>, b: &Number<'_>) -> Result<Option<Ordering>, Error> {
        let words = a.words().saturating_add(b.words());
        self.spend(if a.is_int() && b.is_int() {
            words / 16
        } else {
            words.saturating_mul(words) / 16
        })?;
        Ok(a.order(b))
    }

    fn numbers_equal(&self, a: &Number<'_>, b: &Number<'_>) -> Answer {
        if a.is_signaling() || b.is_signaling() {
            Err(Error::Incomparable(NAN))
        } else {
            Ok(self.numbers(a, b)? == Some(Ordering::Equal))
        }
    }

    fn items_equal(&self, a: &[Value<'_>], b: &[Value<'_>]) -> Answer {
        all(a.iter().zip(b).map(|(a, b)| self.equal(a, b)))
    }

    fn dicts_equal(&self, a: &[(Value<'_>, Value<'_>)], b: &[(Value<'_>, Value<'_>)]) -> Answer {
        if a.len() != b.len() {
            return Ok(false);
        }
        let mut keys = Lookup::new(self, b.iter().map(|(key, _)| key));
        for (at, (key, value)) in a.iter().enumerate() {
            let found = keys.find(key, at)?.and_then(|place| b.get(place));
            match found {
                Some((_, other)) if self.equal(other, value)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn contains_all(&self, all: &[Value<'_>], items: &[Value<'_>]) -> Answer {
        let mut all = Lookup::new(self, all);
        for (at, item) in items.iter().enumerate() {
            if all.find(item, at)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The operand that a value is, of which the text may have to be read.
    pub(crate) fn look<'v>(&self, value: &'v Value<'v>) -> Result<Operand<'v>, Error> {
        self.spend(1)?;
        if let Value::Object(object) = value {
            let text = |value: &Value<'_>| value.as_str().map_or(0, str::len);
            let args = object.args.as_items().unwrap_or_default();
            self.spend(args.iter().map(text).sum::<usize>() / 16)?;
        }
        Ok(Operand::of(value, self.classes))
    }

    /// References are equal or raise, whatever they are compared with.
    fn references(&self, a: &Value<'_>, b: &Value<'_>) -> Answer {
        match (a, b) {
            (Value::Persistent(a), Value::Persistent(b))
                if reference::equal(a, b, self.classes) =>
            {
                Ok(true)
            }
            _ => Err(Error::Incomparable(REFERENCES)),
        }
    }

    /// Adds a value to a digest, unless it has none.
    fn add(&self, value: &Value<'_>, to: &mut DefaultHasher) -> Result<bool, Error> {
        match self.look(value)? {
            Operand::Str(text) => {
                self.spend(text.len() / 16)?;
                text.hash(to);
            }
            Operand::Bytes { bytes, .. } => {
                self.spend(bytes.len() / 16)?;
                bytes.hash(to);
            }
            // An int that a float is equal to is that float.
            Operand::Number(Number::Int(Int::Short(int))) => (int as f64).to_bits().hash(to),
            Operand::Number(Number::Float(float)) => (float + 0.0).to_bits().hash(to),
            Operand::Number(_) | Operand::Complex(..) | Operand::Set { .. } => return Ok(false),
            Operand::Tagged(_, number) => number.hash(to),
            Operand::Sequence(Sequence::Tuple, items) => {
                for item in items {
                    if !self.add(item, to)? {
                        return Ok(false);
                    }
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// Takes work off what is left.
    pub(crate) fn spend(&self, work: usize) -> Result<(), Error> {
        let left = self.left.get().checked_sub(work);
        self.left.set(left.ok_or(Error::TooMuch)?);
        Ok(())
    }
}

impl Equality for Comparer {
    fn equal(&self, a: &Value<'_>, b: &Value<'_>) -> Answer {
        Comparer::equal(self, a, b)
    }

    fn digest(&self, value: &Value<'_>) -> Result<Option<u64>, Error> {
        let mut hasher = DefaultHasher::new();
        Ok(self.add(value, &mut hasher)?.then(|| hasher.finish()))
    }
}

/// Whether all answers are yes; none are asked for behind a no.
pub(crate) fn all(answers: impl Iterator<Item = Answer>) -> Answer {
    for answer in answers {
        if !answer? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeo_proto::value::Object;

    struct NoClasses;

    impl Classes for NoClasses {
        fn knows(&self, _: &str, _: &str) -> bool {
            false
        }

        fn are_same(&self, _: (&str, &str), _: (&str, &str)) -> bool {
            false
        }
    }

    #[test]
    fn sets_and_dicts_in_any_order() {
        let ints = |from: i128| (0..5000).map(move |n| Value::Int((n * 7 + from) % 5000));
        let set = |items: Vec<Value<'static>>| {
            Value::Object(Box::new(Object {
                callable: Value::Global {
                    module: "builtins".into(),
                    name: "frozenset".into(),
                },
                args: Value::Tuple(vec![Value::List(items)]),
                new: false,
                state: None,
                items: Vec::new(),
                pairs: Vec::new(),
            }))
        };
        let (a, b) = (set(ints(0).collect()), set(ints(3).collect()));
        let fewer = set(ints(1).skip(1).collect());
        let comparer = Comparer::new(0, &NoClasses);
        assert!(comparer.equal(&a, &b).unwrap() && !comparer.less(&a, &b).unwrap());
        assert!(comparer.less(&fewer, &a).unwrap() && !comparer.equal(&a, &fewer).unwrap());
        let dict = |from| Value::Dict(ints(from).map(|key| (key.clone(), key)).collect());
        assert!(comparer.equal(&dict(0), &dict(3)).unwrap());
        // Equal values of several types.
        let one = |value| set(vec![value, Value::Str("a".into()), Value::None]);
        let turned = |value| set(vec![Value::None, value, Value::Str("a".into())]);
        for (a, b) in [
            (Value::Bool(true), Value::Float(1.0)),
            (Value::Float(-0.0), Value::Int(0)),
            (Value::Int(i128::MIN), Value::Float(-(2f64.powi(127)))),
        ] {
            assert!(comparer.equal(&one(a), &turned(b)).unwrap());
        }
    }

    #[test]
    fn work_is_bounded() {
        let text = "x".repeat(1 << 20);
        let many = Value::List(vec![Value::str(&text); 1000]);
        let other = many.clone();
        let answer = Comparer::new(1000, &NoClasses).equal(&many, &other);
        assert!(matches!(answer, Err(Error::TooMuch)), "{answer:?}");
    }
}
