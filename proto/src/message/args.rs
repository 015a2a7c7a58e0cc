//! The arguments of a call, by position, as the types that they must have.

use std::borrow::Cow;
use std::cmp::Ordering;

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

    /// The first tid of a range: any bytes, which Python compares with tids.
    pub(super) fn start(&mut self) -> Result<Option<Tid>, CallError> {
        let bound = self.bound()?;
        Ok(bound.map(|(tid, length)| {
            let behind = u64::from(length == Ordering::Greater);
            Tid::new(tid.as_u64().saturating_add(behind))
        }))
    }

    /// The last tid of a range, by the same comparison.
    pub(super) fn stop(&mut self) -> Result<Option<Tid>, CallError> {
        let bound = self.bound()?;
        Ok(bound.map(|(tid, length)| {
            let before = u64::from(length == Ordering::Less);
            Tid::new(tid.as_u64().saturating_sub(before))
        }))
    }

    /// Bytes cut to a tid or filled up with zeros, and how many there were
    /// compared with those of a tid.
    fn bound(&mut self) -> Result<Option<(Tid, Ordering)>, CallError> {
        match self.any() {
            Value::None => Ok(None),
            Value::Bytes(bytes) => {
                let mut tid = [0; 8];
                tid.iter_mut()
                    .zip(&*bytes)
                    .for_each(|(to, &from)| *to = from);
                Ok(Some((Tid::from_bytes(tid), bytes.len().cmp(&tid.len()))))
            }
            _ => Err(self.expected("a tid as bytes, or None")),
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
