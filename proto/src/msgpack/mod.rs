//! Values as msgpack, as msgpack-python reads and writes it for ZEO:
//! `unpackb(raw=False, use_list=False)` and `packb(use_bin_type=True)`.
//!
//! Encoding goes through rmp-serde. Decoding uses rmp below it, since
//! rmp-serde gives out a str that is not UTF-8 as bytes, where Python
//! refuses it, and can't tell where an error stands.

mod keys;

use rmp::Marker;
use rmp::decode::RmpRead;
use serde::Serialize;
use serde::ser::{Error as _, Serializer};

pub use self::keys::{key_text, readable, unreadable_key};
use crate::pickle::Policy;
use crate::value::Value;

/// A msgpack message that is refused: where, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("msgpack refused at byte {at}: {problem}")]
pub struct Error {
    /// The offset in the input of the value that is refused.
    pub at: usize,
    /// What was met there.
    pub problem: Problem,
}

/// What is wrong with a msgpack message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The input ends within a value.
    #[error("{needed} more bytes are needed, but only {left} are left")]
    Truncated {
        /// Bytes that the value needs at least.
        needed: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// Bytes follow the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// A str that is not UTF-8.
    #[error("a str is not valid text")]
    Text,
    /// An extension type, or the byte 0xc1, which begins nothing.
    #[error("values with the marker {0:#04x} are not supported")]
    Unsupported(u8),
    /// Nesting beyond the limit.
    #[error("values are nested deeper than {0}")]
    TooDeep(usize),
    /// More values than the limit.
    #[error("there are more than {0} values")]
    TooManyValues(usize),
}

/// A value that msgpack can't hold: an instance, a global, a persistent
/// reference, an integer of more than 64 bits, text with lone surrogates,
/// anything of 4 GiB.
#[derive(Debug, thiserror::Error)]
#[error("msgpack can't hold the value: {0}")]
pub struct EncodeError(#[from] rmp_serde::encode::Error);

/// Decodes the one value that these bytes are, within the depth and number
/// of values of a policy. Arrays become tuples.
///
/// # Errors
/// [`Error`], with the position: they are cut off, of a kind that no client sends, beyond the
/// policy, or more than one value.
pub fn decode<'a>(bytes: &'a [u8], policy: &Policy) -> Result<Value<'a>, Error> {
    let mut decoder = Decoder {
        rest: bytes,
        length: bytes.len(),
        values_left: policy.max_values,
        owed: 1,
        policy,
    };
    let value = decoder.value(policy.max_depth)?;
    match decoder.rest.len() {
        0 => Ok(value),
        trailing => Err(decoder.error(decoder.position(), Problem::Trailing(trailing))),
    }
}

/// Appends a value to `out`; on an error nothing is appended.
///
/// # Errors
/// [`EncodeError`]: msgpack has nothing for the value.
pub fn encode(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let packed = Packed(value).serialize(&mut rmp_serde::Serializer::new(&mut *out));
    if packed.is_err() {
        out.truncate(start);
    }
    Ok(packed?)
}

/// Appends a dict of these pairs to `out`.
pub(crate) fn encode_pairs(
    pairs: &[(Value<'_>, Value<'_>)],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut serializer = rmp_serde::Serializer::new(out);
    Ok(PackedPairs(pairs).serialize(&mut serializer)?)
}

/// Appends what stands before bytes.
pub(crate) fn encode_bytes_length(length: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = length_of_container(length)?;
    let written = rmp::encode::write_bin_len(out, length);
    Ok(written
        .map(|_| ())
        .map_err(rmp_serde::encode::Error::from)?)
}

/// Appends what stands before the items of an array.
pub(crate) fn encode_array_length(length: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = length_of_container(length)?;
    let written = rmp::encode::write_array_len(out, length);
    Ok(written
        .map(|_| ())
        .map_err(rmp_serde::encode::Error::from)?)
}

/// Appends what stands before the keys and values of a map.
pub(crate) fn encode_map_length(pairs: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = length_of_container(pairs)?;
    let written = rmp::encode::write_map_len(out, length);
    Ok(written
        .map(|_| ())
        .map_err(rmp_serde::encode::Error::from)?)
}

fn length_of_container(length: usize) -> Result<u32, rmp_serde::encode::Error> {
    u32::try_from(length)
        .map_err(|_| rmp_serde::encode::Error::custom(format_args!("{length} bytes or items")))
}

struct Decoder<'a, 'p> {
    rest: &'a [u8],
    length: usize,
    values_left: usize,
    /// How many values are yet to come in the containers that are open.
    owed: usize,
    policy: &'p Policy,
}

impl<'a> Decoder<'a, '_> {
    fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    #[cold]
    fn error(&self, at: usize, problem: Problem) -> Error {
        Error { at, problem }
    }

    #[cold]
    fn truncated(&self, at: usize, needed: usize) -> Error {
        let left = self.rest.len();
        self.error(at, Problem::Truncated { needed, left })
    }

    /// A value that may have `depth` levels of containers: the recursion is
    /// bounded by the policy.
    fn value(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        let at = self.position();
        self.spend(at, 1)?;
        self.owed = self.owed.saturating_sub(1);
        let marker = self.number(at, RmpRead::read_data_u8, 1)?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Value::None,
            Marker::True => Value::Bool(true),
            Marker::False => Value::Bool(false),
            Marker::FixPos(int) => Value::Int(int.into()),
            Marker::FixNeg(int) => Value::Int(int.into()),
            Marker::U8 => Value::Int(self.number(at, RmpRead::read_data_u8, 1)?.into()),
            Marker::U16 => Value::Int(self.number(at, RmpRead::read_data_u16, 2)?.into()),
            Marker::U32 => Value::Int(self.number(at, RmpRead::read_data_u32, 4)?.into()),
            Marker::U64 => Value::Int(self.number(at, RmpRead::read_data_u64, 8)?.into()),
            Marker::I8 => Value::Int(self.number(at, RmpRead::read_data_i8, 1)?.into()),
            Marker::I16 => Value::Int(self.number(at, RmpRead::read_data_i16, 2)?.into()),
            Marker::I32 => Value::Int(self.number(at, RmpRead::read_data_i32, 4)?.into()),
            Marker::I64 => Value::Int(self.number(at, RmpRead::read_data_i64, 8)?.into()),
            Marker::F32 => Value::Float(self.number(at, RmpRead::read_data_f32, 4)?.into()),
            Marker::F64 => Value::Float(self.number(at, RmpRead::read_data_f64, 8)?),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                let length = self.length(at, marker - Marker::Bin8.to_u8())?;
                Value::bytes(self.take(at, length)?)
            }
            Marker::FixStr(length) => self.text(at, length.into())?,
            Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                let length = self.length(at, marker - Marker::Str8.to_u8())?;
                self.text(at, length)?
            }
            Marker::FixArray(length) => self.array(at, length.into(), depth)?,
            Marker::Array16 | Marker::Array32 => {
                let length = self.length(at, marker - Marker::Array16.to_u8() + 1)?;
                self.array(at, length, depth)?
            }
            Marker::FixMap(length) => self.map(at, length.into(), depth)?,
            Marker::Map16 | Marker::Map32 => {
                let length = self.length(at, marker - Marker::Map16.to_u8() + 1)?;
                self.map(at, length, depth)?
            }
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32
            | Marker::Reserved => return Err(self.error(at, Problem::Unsupported(marker))),
        })
    }

    fn spend(&mut self, at: usize, values: usize) -> Result<(), Error> {
        match self.values_left.checked_sub(values) {
            Some(left) => {
                self.values_left = left;
                Ok(())
            }
            None => Err(self.error(at, Problem::TooManyValues(self.policy.max_values))),
        }
    }

    /// A number of `size` bytes, read by one of rmp's functions.
    fn number<T, E>(
        &mut self,
        at: usize,
        read: impl FnOnce(&mut &'a [u8]) -> Result<T, E>,
        size: usize,
    ) -> Result<T, Error> {
        // rmp may have read a part when it fails.
        let before = self.rest;
        read(&mut self.rest).map_err(|_| {
            self.rest = before;
            self.truncated(at, size)
        })
    }

    /// A length of 1, 2 or 4 bytes: class 0, 1 or 2.
    fn length(&mut self, at: usize, class: u8) -> Result<usize, Error> {
        let length = match class {
            0 => self.number(at, RmpRead::read_data_u8, 1)?.into(),
            1 => self.number(at, RmpRead::read_data_u16, 2)?.into(),
            _ => self.number(at, RmpRead::read_data_u32, 4)?,
        };
        Ok(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn take(&mut self, at: usize, length: usize) -> Result<&'a [u8], Error> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.truncated(at, length)),
        }
    }

    fn text(&mut self, at: usize, length: usize) -> Result<Value<'a>, Error> {
        let bytes = self.take(at, length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::str(text)),
            Err(_) => Err(self.error(at, Problem::Text)),
        }
    }

    fn array(&mut self, at: usize, length: usize, depth: usize) -> Result<Value<'a>, Error> {
        let depth = self.enter(at, length, depth)?;
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(self.value(depth)?);
        }
        Ok(Value::Tuple(items))
    }

    fn map(&mut self, at: usize, length: usize, depth: usize) -> Result<Value<'a>, Error> {
        let depth = self.enter(at, length.saturating_mul(2), depth)?;
        let mut pairs = Vec::with_capacity(length);
        for _ in 0..length {
            pairs.push((self.value(depth)?, self.value(depth)?));
        }
        Ok(Value::Dict(pairs))
    }

    /// Checks, before memory is taken, that this many values can follow, and
    /// those that outer containers are owed as well (or else nested ones
    /// could claim the same bytes many times). Gives the depth that is left.
    fn enter(&mut self, at: usize, values: usize, depth: usize) -> Result<usize, Error> {
        self.owed = self.owed.saturating_add(values);
        if self.owed > self.rest.len() {
            return Err(self.truncated(at, self.owed));
        }
        if self.owed > self.values_left {
            return Err(self.error(at, Problem::TooManyValues(self.policy.max_values)));
        }
        depth
            .checked_sub(1)
            .ok_or_else(|| self.error(at, Problem::TooDeep(self.policy.max_depth)))
    }
}

/// A value to be written as msgpack-python writes it.
struct Packed<'v, 'a>(&'v Value<'a>);

impl Serialize for Packed<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::None => to.serialize_unit(),
            Value::Bool(value) => to.serialize_bool(*value),
            Value::Int(int) => match (i64::try_from(*int), u64::try_from(*int)) {
                (Ok(int), _) => to.serialize_i64(int),
                (_, Ok(int)) => to.serialize_u64(int),
                _ => Err(S::Error::custom(format_args!(
                    "an int of more than 64 bits, {int}"
                ))),
            },
            Value::Long(_) => Err(S::Error::custom("an int of more than 128 bits")),
            Value::Float(float) => to.serialize_f64(*float),
            Value::Bytes(bytes) => {
                check_length::<S>(bytes.len())?;
                to.serialize_bytes(bytes)
            }
            Value::Str(text) => {
                check_length::<S>(text.len())?;
                to.serialize_str(text)
            }
            Value::Tuple(items) | Value::List(items) => {
                check_length::<S>(items.len())?;
                to.collect_seq(items.iter().map(Packed))
            }
            Value::Dict(pairs) => PackedPairs(pairs).serialize(to),
            Value::Surrogates(_) => Err(S::Error::custom("text with lone surrogates")),
            Value::Global { module, name } => {
                Err(S::Error::custom(format_args!("the global {module}.{name}")))
            }
            Value::Extension(code) => {
                Err(S::Error::custom(format_args!("the extension code {code}")))
            }
            Value::Object(_) => Err(S::Error::custom("an instance")),
            Value::Persistent(_) => Err(S::Error::custom("a persistent reference")),
        }
    }
}

/// The pairs of a dict.
struct PackedPairs<'v, 'a>(&'v [(Value<'a>, Value<'a>)]);

impl Serialize for PackedPairs<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        check_length::<S>(self.0.len())?;
        to.collect_map(
            self.0
                .iter()
                .map(|(key, value)| (Packed(key), Packed(value))),
        )
    }
}

/// Lengths have 4 bytes, which rmp-serde does not check.
fn check_length<S: Serializer>(length: usize) -> Result<(), S::Error> {
    match u32::try_from(length) {
        Ok(_) => Ok(()),
        Err(_) => Err(S::Error::custom(format_args!("{length} bytes or items"))),
    }
}

#[cfg(test)]
mod tests;
