//! Values written straight into a message: typed messages make no tree of
//! [`Value`]s first, and a record that is sent is copied once.

use std::borrow::Cow;

use super::{EncodeError, Encoding};
use crate::ids::{Oid, Tid};
use crate::msgpack;
use crate::pickle::Pickler;
use crate::value::Value;

/// What can stand in a message.
pub trait Encode {
    /// Writes it.
    ///
    /// # Errors
    ///
    /// The encoding can't hold it. What was written of it then is no value.
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError>;
}

/// Writes values in the encoding of a connection.
#[derive(Debug)]
pub struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    encoding: Encoding,
}

impl<'o> Encoder<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, encoding: Encoding) -> Self {
        Self { out, encoding }
    }

    /// The encoding that is written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Writes a value of any kind.
    ///
    /// # Errors
    ///
    /// The encoding can't hold it.
    pub fn value(&mut self, value: &Value<'_>) -> Result<(), EncodeError> {
        match self.encoding {
            Encoding::Pickle => Ok(Pickler::fast(self.out).save(value)?),
            Encoding::Msgpack => Ok(msgpack::encode(value, self.out)?),
        }
    }

    /// Writes what stands before `length` bytes, which are not written here; returns where they
    /// belong.
    pub(crate) fn bytes_apart(&mut self, length: usize) -> Result<usize, EncodeError> {
        match self.encoding {
            Encoding::Pickle => Pickler::fast(self.out).begin_bytes(length)?,
            Encoding::Msgpack => msgpack::encode_bytes_length(length, self.out)?,
        }
        Ok(self.out.len())
    }

    /// Writes a tuple.
    ///
    /// # Errors
    ///
    /// The encoding can't hold one of the items.
    pub fn tuple(&mut self, items: &[&dyn Encode]) -> Result<(), EncodeError> {
        match self.encoding {
            Encoding::Pickle => Pickler::fast(self.out).begin_tuple(items.len()),
            Encoding::Msgpack => msgpack::encode_array_length(items.len(), self.out)?,
        }
        for item in items {
            item.encode(self)?;
        }
        if self.encoding == Encoding::Pickle {
            Pickler::fast(self.out).end_tuple(items.len());
        }
        Ok(())
    }

    /// Writes a list.
    ///
    /// # Errors
    ///
    /// The encoding can't hold one of the items.
    pub fn list<T: Encode>(&mut self, items: &[T]) -> Result<(), EncodeError> {
        match self.encoding {
            Encoding::Pickle => Pickler::fast(self.out).list(items, |pickler, item| {
                item.encode(&mut Encoder::new(pickler.out, Encoding::Pickle))
            }),
            Encoding::Msgpack => {
                msgpack::encode_array_length(items.len(), self.out)?;
                items.iter().try_for_each(|item| item.encode(self))
            }
        }
    }

    /// Writes a dict whose keys are text.
    ///
    /// # Errors
    ///
    /// The encoding can't hold one of the values.
    pub fn dict(&mut self, fields: &[(&str, &dyn Encode)]) -> Result<(), EncodeError> {
        match self.encoding {
            Encoding::Pickle => Pickler::fast(self.out).dict(fields, |pickler, (name, value)| {
                let mut inside = Encoder::new(pickler.out, Encoding::Pickle);
                name.encode(&mut inside)?;
                value.encode(&mut inside)
            }),
            Encoding::Msgpack => {
                msgpack::encode_map_length(fields.len(), self.out)?;
                fields.iter().try_for_each(|(name, value)| {
                    name.encode(self)?;
                    value.encode(self)
                })
            }
        }
    }

    /// Writes a dict of any keys and values.
    ///
    /// # Errors
    ///
    /// The encoding can't hold one of them.
    pub fn pairs(&mut self, pairs: &[(Value<'_>, Value<'_>)]) -> Result<(), EncodeError> {
        match self.encoding {
            Encoding::Pickle => Ok(Pickler::fast(self.out).dict(pairs, Pickler::save_pair)?),
            Encoding::Msgpack => Ok(msgpack::encode_pairs(pairs, self.out)?),
        }
    }
}

impl Encode for Value<'_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(self)
    }
}

/// As bytes.
impl Encode for Oid {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(&Value::bytes(&self.to_bytes()))
    }
}

/// As bytes.
impl Encode for Tid {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(&Value::bytes(&self.to_bytes()))
    }
}

/// As `None`.
impl Encode for () {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(&Value::None)
    }
}

impl Encode for bool {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(&Value::Bool(*self))
    }
}

impl Encode for i64 {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(&Value::Int((*self).into()))
    }
}

impl Encode for u64 {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(&Value::Int((*self).into()))
    }
}

impl Encode for f64 {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(&Value::Float(*self))
    }
}

/// As bytes.
impl Encode for [u8] {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(&Value::bytes(self))
    }
}

impl Encode for str {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.value(&Value::str(self))
    }
}

impl<T: Encode + ToOwned + ?Sized> Encode for Cow<'_, T> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        (**self).encode(to)
    }
}

impl<T: Encode + ?Sized> Encode for &T {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        (**self).encode(to)
    }
}

/// `None` as `None`.
impl<T: Encode> Encode for Option<T> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        match self {
            Some(value) => value.encode(to),
            None => ().encode(to),
        }
    }
}

/// As a list.
impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.list(self)
    }
}

/// A borrowed slice, as a list.
#[derive(Clone, Copy, Debug)]
pub struct List<'s, T>(pub &'s [T]);

impl<T: Encode> Encode for List<'_, T> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.list(self.0)
    }
}

/// As a tuple of two: so is the id of a `loadBefore`, `(oid, tid)`.
impl<A: Encode, B: Encode> Encode for (A, B) {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.tuple(&[&self.0, &self.1])
    }
}
