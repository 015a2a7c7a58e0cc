//! The arguments of a call, by position, as the types that they must have.

use std::borrow::Cow;

use super::call::CallError;
use crate::ids::{Oid, Tid};
use crate::value::Value;

/// The arguments that are left, taken one by one.
pub(super) struct Args<'a> {
    pub(super) method: &'static str,
    pub(super) position: usize,
    pub(super) values: std::vec::IntoIter<Value<'a>>,
}

impl<'a> Args<'a> {
    /// The next argument; `None` where an optional one was left out.
    pub(super) fn any(&mut self) -> Value<'a> {
        self.position += 1;
        self.values.next().unwrap_or(Value::None)
    }

    pub(super) fn error(&self, what: impl Into<String>) -> CallError {
        CallError::Arguments {
            method: self.method,
            what: what.into(),
        }
    }

    pub(super) fn expected(&self, what: &str) -> CallError {
        self.error(format!("argument {} must be {what}", self.position))
    }

    pub(super) fn oid(&mut self) -> Result<Oid, CallError> {
        self.any()
            .as_oid()
            .ok_or_else(|| self.expected("an oid of 8 bytes"))
    }

    /// The oid of an object that is to be there already: for a look-up, what
    /// is no oid is just not found.
    pub(super) fn known_oid(&mut self) -> Result<Oid, CallError> {
        let value = self.any();
        value
            .as_oid()
            .ok_or_else(|| CallError::NoObject(Box::new(value.into_owned())))
    }

    pub(super) fn tid(&mut self) -> Result<Tid, CallError> {
        self.any()
            .as_tid()
            .ok_or_else(|| self.expected("a tid of 8 bytes"))
    }

    /// The serial an object is stored over; `None` counts as "new". Python
    /// never looks at the serial of a new object, so that programs get away
    /// with zeros in text.
    pub(super) fn serial(&mut self) -> Result<Tid, CallError> {
        match self.any() {
            Value::None => Ok(Tid::ZERO),
            Value::Str(text) if text == "\0\0\0\0\0\0\0\0" => Ok(Tid::ZERO),
            value => value
                .as_tid()
                .ok_or_else(|| self.expected("a tid of 8 bytes or None")),
        }
    }

    pub(super) fn optional_tid(&mut self) -> Result<Option<Tid>, CallError> {
        match self.any() {
            Value::None => Ok(None),
            value => value
                .as_tid()
                .map(Some)
                .ok_or_else(|| self.expected("a tid of 8 bytes or None")),
        }
    }

    pub(super) fn optional_oid(&mut self) -> Result<Option<Oid>, CallError> {
        match self.any() {
            Value::None => Ok(None),
            value => value
                .as_oid()
                .map(Some)
                .ok_or_else(|| self.expected("an oid of 8 bytes or None")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Cow<'a, [u8]>, CallError> {
        match self.any() {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.expected("bytes")),
        }
    }

    pub(super) fn optional_bytes(&mut self) -> Result<Option<Cow<'a, [u8]>>, CallError> {
        match self.any() {
            Value::None => Ok(None),
            Value::Bytes(bytes) => Ok(Some(bytes)),
            _ => Err(self.expected("bytes or None")),
        }
    }

    /// A record to be stored. Python looks at it at the vote only, and a
    /// program that never votes (one of upstream's tests) may send text: that
    /// counts as no data, which no vote lets through.
    pub(super) fn record(&mut self) -> Result<Cow<'a, [u8]>, CallError> {
        match self.any() {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Str(_) => Ok(Cow::Borrowed(&[])),
            _ => Err(self.expected("bytes")),
        }
    }

    pub(super) fn bytes_or_text(&mut self) -> Result<Cow<'a, [u8]>, CallError> {
        match self.any() {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Str(Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
            Value::Str(Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
            _ => Err(self.expected("bytes or text")),
        }
    }

    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, CallError> {
        match self.any() {
            Value::Str(text) => Ok(text),
            Value::Bytes(bytes) => String::from_utf8(bytes.into_owned())
                .map(Cow::Owned)
                .map_err(|_| self.expected("text")),
            _ => Err(self.expected("text")),
        }
    }

    /// A label for logs: whatever the client sends, as text.
    pub(super) fn label(&mut self) -> Cow<'a, str> {
        match self.any() {
            Value::Str(text) => text,
            Value::Bytes(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
            other => Cow::Owned(format!("{other:?}").chars().take(80).collect()),
        }
    }

    pub(super) fn status(&mut self) -> Result<u8, CallError> {
        match self.any() {
            Value::None => Ok(b' '),
            Value::Str(text) if text.len() == 1 => Ok(text.as_bytes()[0]),
            Value::Bytes(bytes) if bytes.len() == 1 => Ok(bytes[0]),
            _ => Err(self.expected("a status of one character")),
        }
    }

    /// Truth as Python sees it, for the values that clients send.
    pub(super) fn flag(&mut self) -> bool {
        self.flag_or(false)
    }

    pub(super) fn flag_or(&mut self, default: bool) -> bool {
        if self.values.len() == 0 {
            return default;
        }
        match self.any() {
            Value::None | Value::Bool(false) | Value::Int(0) => false,
            Value::Float(number) => number != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::Bytes(bytes) => !bytes.is_empty(),
            Value::Tuple(items) | Value::List(items) => !items.is_empty(),
            Value::Dict(pairs) => !pairs.is_empty(),
            _ => true,
        }
    }

    pub(super) fn int(&mut self) -> Result<i64, CallError> {
        match self.any() {
            Value::Int(number) => {
                i64::try_from(number).map_err(|_| self.expected("an integer of 64 bits"))
            }
            Value::Bool(flag) => Ok(i64::from(flag)),
            _ => Err(self.expected("an integer")),
        }
    }

    pub(super) fn int_or(&mut self, default: i64) -> Result<i64, CallError> {
        if self.values.len() == 0 {
            Ok(default)
        } else {
            self.int()
        }
    }

    /// A count: negative ones are none, huge ones are all.
    pub(super) fn size(&mut self, default: i64) -> Result<usize, CallError> {
        Ok(usize::try_from(self.int_or(default)?.max(0)).unwrap_or(usize::MAX))
    }

    pub(super) fn number(&mut self) -> Result<f64, CallError> {
        match self.any() {
            Value::Float(number) => Ok(number),
            Value::Int(number) => Ok(number as f64),
            _ => Err(self.expected("a number")),
        }
    }

    pub(super) fn iterator(&mut self) -> Result<u64, CallError> {
        u64::try_from(self.int()?).map_err(|_| self.expected("an iterator's id"))
    }

    pub(super) fn iterators(&mut self) -> Result<Vec<u64>, CallError> {
        let value = self.any();
        let id = |item: &Value<'_>| match item {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        value
            .as_items()
            .and_then(|items| items.iter().map(id).collect())
            .ok_or_else(|| self.expected("a sequence of iterator ids"))
    }
}
