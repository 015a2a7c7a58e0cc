//! Values of a message as the types that they must have, without a copy of
//! what they borrow.

use std::borrow::Cow;
use std::fmt;

use crate::ids::{Oid, Tid};
use crate::value::Value;

/// What can be made of a value in a message.
pub trait Decode<'a>: Sized {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// The value, or a part of it, is another kind of value.
    fn decode(value: Value<'a>) -> Result<Self, Mismatch>;
}

/// A value that is not of the kind that it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which part of the whole: `serial`, `oids[3]`; empty for the whole.
    pub place: String,
    /// What it must be.
    pub expected: &'static str,
    /// What it is.
    pub found: String,
}

impl Mismatch {
    /// The whole is not what it must be.
    pub fn new(expected: &'static str, found: &Value<'_>) -> Self {
        Self {
            place: String::new(),
            expected,
            found: found.kind(),
        }
    }

    /// What is the whole here is this part of something larger.
    #[must_use]
    pub fn within(mut self, part: &str) -> Self {
        let dot = match self.place.chars().next() {
            None | Some('[') => "",
            Some(_) => ".",
        };
        self.place = format!("{part}{dot}{}", self.place);
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &*self.place {
            "" => "the value",
            place => place,
        };
        write!(f, "{place} is {}, not {}", self.found, self.expected)
    }
}

impl std::error::Error for Mismatch {}

/// The items of a tuple or list, taken one by one.
#[derive(Debug)]
pub struct Items<'a>(std::vec::IntoIter<Value<'a>>);

impl<'a> Items<'a> {
    /// The items of a value that must have so many.
    ///
    /// # Errors
    ///
    /// It is no tuple or list, or has another number of items.
    pub fn of(value: Value<'a>, count: usize, expected: &'static str) -> Result<Self, Mismatch> {
        match value {
            Value::Tuple(items) | Value::List(items) if items.len() == count => {
                Ok(Self(items.into_iter()))
            }
            other => Err(Mismatch::new(expected, &other)),
        }
    }

    /// The next item, which has this name in errors.
    ///
    /// # Errors
    ///
    /// It is not of this type.
    pub fn next<T: Decode<'a>>(&mut self, name: &str) -> Result<T, Mismatch> {
        let value = self.0.next().unwrap_or(Value::None);
        T::decode(value).map_err(|wrong| wrong.within(name))
    }
}

/// The items of a dict, taken by name.
#[derive(Debug)]
pub struct Fields<'a>(Vec<(Value<'a>, Value<'a>)>);

impl<'a> Fields<'a> {
    /// The items of a value that must be a dict.
    ///
    /// # Errors
    ///
    /// It is no dict.
    pub fn of(value: Value<'a>) -> Result<Self, Mismatch> {
        match value {
            Value::Dict(pairs) => Ok(Self(pairs)),
            other => Err(Mismatch::new("a dict", &other)),
        }
    }

    /// The item of this name, taken out; `None` counts as the value of one
    /// that is not there.
    ///
    /// # Errors
    ///
    /// It is not of this type.
    pub fn take<T: Decode<'a>>(&mut self, name: &str) -> Result<T, Mismatch> {
        let at = self
            .0
            .iter()
            .position(|(key, _)| key.as_str() == Some(name));
        let value = at.map_or(Value::None, |at| self.0.swap_remove(at).1);
        T::decode(value).map_err(|wrong| wrong.within(name))
    }
}

impl<'a> Decode<'a> for Value<'a> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        Ok(value)
    }
}

impl Decode<'_> for Oid {
    fn decode(value: Value<'_>) -> Result<Self, Mismatch> {
        value
            .as_oid()
            .ok_or_else(|| Mismatch::new("an oid of 8 bytes", &value))
    }
}

impl Decode<'_> for Tid {
    fn decode(value: Value<'_>) -> Result<Self, Mismatch> {
        value
            .as_tid()
            .ok_or_else(|| Mismatch::new("a tid of 8 bytes", &value))
    }
}

impl Decode<'_> for () {
    fn decode(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::None => Ok(()),
            other => Err(Mismatch::new("None", &other)),
        }
    }
}

/// Python's programs take numbers for truth values.
impl Decode<'_> for bool {
    fn decode(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Bool(flag) => Ok(flag),
            Value::Int(number) => Ok(number != 0),
            other => Err(Mismatch::new("a bool", &other)),
        }
    }
}

impl Decode<'_> for u64 {
    fn decode(value: Value<'_>) -> Result<Self, Mismatch> {
        let number = match &value {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        number.ok_or_else(|| Mismatch::new("an int of 64 bits that is not negative", &value))
    }
}

impl Decode<'_> for f64 {
    fn decode(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Float(number) => Ok(number),
            Value::Int(number) => Ok(number as f64),
            other => Err(Mismatch::new("a number", &other)),
        }
    }
}

impl<'a> Decode<'a> for Cow<'a, [u8]> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(Mismatch::new("bytes", &other)),
        }
    }
}

impl<'a> Decode<'a> for Cow<'a, str> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        match value {
            Value::Str(text) => Ok(text),
            other => Err(Mismatch::new("text", &other)),
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Option<T> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        match value {
            Value::None => Ok(None),
            value => T::decode(value).map(Some),
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        match value {
            Value::Tuple(items) | Value::List(items) => { items.into_iter().enumerate() }
                .map(|(at, item)| T::decode(item).map_err(|why| why.within(&format!("[{at}]"))))
                .collect(),
            other => Err(Mismatch::new("a list", &other)),
        }
    }
}

impl<'a, A: Decode<'a>, B: Decode<'a>> Decode<'a> for (A, B) {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        let mut items = Items::of(value, 2, "a pair")?;
        Ok((items.next("[0]")?, items.next("[1]")?))
    }
}
