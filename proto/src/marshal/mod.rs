//! Messages as sized frames: `(id, flag, name, args)` in either encoding
//! behind a length of 4 bytes, big-endian. (ZEO `asyncio/marshal.py` and
//! `asyncio/base.py`.)

mod decode;
mod encode;

use std::borrow::Cow;

pub use self::decode::{Decode, Fields, Items, Mismatch};
pub use self::encode::{Encode, Encoder, List};
use crate::msgpack;
use crate::pickle::{self, Memo, Policy};
use crate::value::Value;

/// The name of the message that answers a call.
pub const REPLY: &str = ".reply";

/// How the values of a connection are encoded, which the server decides by
/// its greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `Z`: pickle, protocol 3 without memo.
    Pickle,
    /// `M`: msgpack.
    Msgpack,
}

/// A message between client and server.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// What the reply is to be found by: a positive number or any other
    /// value that its sender chose; 0 for [`Flag::Async`].
    pub id: Value<'a>,
    /// What kind of message this is.
    pub flag: Flag,
    /// The method, or [`REPLY`].
    pub name: Cow<'a, str>,
    /// The arguments, as a tuple; of a reply the result; of an error reply
    /// `(class name, arguments or attributes)`.
    pub args: Value<'a>,
}

/// What kind of message a message is. Python sends a bool or a number, and
/// asks only whether it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// A call that waits for its reply: `False`.
    Call,
    /// A call or notification without a reply: `True`.
    Async,
    /// The result of a call: 0.
    Reply,
    /// The exception that a call raised: 2.
    Error,
}

/// Why a message can't be decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is no pickle that is allowed here.
    #[error(transparent)]
    Pickle(#[from] pickle::Error),
    /// It is no msgpack that is allowed here.
    #[error(transparent)]
    Msgpack(#[from] msgpack::Error),
    /// It is a value, but not a message.
    #[error("a message must be (id, flag, name, args): {0}")]
    NoMessage(&'static str),
}

/// Why a message can't be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It holds what a pickle can't.
    #[error(transparent)]
    Pickle(#[from] pickle::EncodeError),
    /// It holds what msgpack can't.
    #[error(transparent)]
    Msgpack(#[from] msgpack::EncodeError),
    /// It is longer than a frame can be.
    #[error("a message of {0} bytes is too long for a frame")]
    TooLong(usize),
}

/// Decodes a client's message, within [`Policy::REQUEST`]: the payload of a
/// frame without its length.
///
/// # Errors
/// [`DecodeError`]: the bytes can't be decoded within the policy, or are not a message.
pub fn decode_message(bytes: &[u8], encoding: Encoding) -> Result<Message<'_>, DecodeError> {
    decode_message_within(bytes, encoding, &Policy::REQUEST)
}

/// Decodes a message within the limits of any policy.
///
/// # Errors
/// As for [`decode_message`].
pub fn decode_message_within<'a>(
    bytes: &'a [u8],
    encoding: Encoding,
    policy: &Policy,
) -> Result<Message<'a>, DecodeError> {
    let value = match encoding {
        Encoding::Pickle => pickle::decode(bytes, policy)?,
        Encoding::Msgpack => msgpack::decode(bytes, policy)?,
    };
    let (Value::Tuple(parts) | Value::List(parts)) = value else {
        return Err(DecodeError::NoMessage("it is not a tuple"));
    };
    let parts = <[Value<'a>; 4]>::try_from(parts);
    let [id, flag, name, args] =
        parts.map_err(|_| DecodeError::NoMessage("it does not have four items"))?;
    let Value::Str(name) = name else {
        return Err(DecodeError::NoMessage("the name is not a str"));
    };
    let is_true = match flag {
        Value::Bool(flag) => flag,
        Value::Int(flag) => flag != 0,
        _ => return Err(DecodeError::NoMessage("the flag is not a bool or an int")),
    };
    let flag = match (is_true, name == REPLY) {
        (false, false) => Flag::Call,
        (true, false) => Flag::Async,
        (false, true) => Flag::Reply,
        (true, true) => Flag::Error,
    };
    Ok(Message {
        id,
        flag,
        name,
        args,
    })
}

/// Appends a message to `out` as one frame, length included.
///
/// # Errors
///
/// The encoding can't hold a part of it, or it is too long for a frame; `out`
/// then is as it was.
pub fn encode_message(
    out: &mut Vec<u8>,
    encoding: Encoding,
    id: &dyn Encode,
    flag: Flag,
    name: &str,
    args: &dyn Encode,
) -> Result<(), EncodeError> {
    encode_message_around(out, encoding, id, flag, name, args, 0)
}

/// As [`encode_message`], of a message from which so many bytes are left out
/// ([`Encoder::bytes_apart`]).
pub(crate) fn encode_message_around(
    out: &mut Vec<u8>,
    encoding: Encoding,
    id: &dyn Encode,
    flag: Flag,
    name: &str,
    args: &dyn Encode,
    left_out: usize,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend([0; 4]);
    let parts: [&dyn Encode; 4] = [id, &flag, &name, args];
    let encoded = match encoding {
        Encoding::Pickle => pickle::encode_parts(out, Memo::Fast, |pickler| {
            Encoder::new(pickler.out, encoding).tuple(&parts)
        }),
        Encoding::Msgpack => Encoder::new(out, encoding).tuple(&parts),
    };
    let sized = encoded.and_then(|()| write_length(out, start, left_out));
    if sized.is_err() {
        out.truncate(start);
    }
    sized
}

/// Writes the length of the frame that begins at `start`, ends with `out` and misses so many bytes.
fn write_length(out: &mut [u8], start: usize, left_out: usize) -> Result<(), EncodeError> {
    let frame = out.get_mut(start..).unwrap_or_default();
    let too_long = EncodeError::TooLong(frame.len().saturating_add(left_out));
    let Some((head, payload)) = frame.split_first_chunk_mut::<4>() else {
        return Err(too_long);
    };
    let length = u32::try_from(payload.len().saturating_add(left_out)).map_err(|_| too_long)?;
    *head = length.to_be_bytes();
    Ok(())
}

impl Encode for Flag {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        match self {
            Flag::Call => false.encode(to),
            Flag::Async => true.encode(to),
            Flag::Reply => 0_u64.encode(to),
            Flag::Error => 2_u64.encode(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Encoding; 2] = [Encoding::Pickle, Encoding::Msgpack];

    fn frame(encoding: Encoding, args: &Value<'_>) -> Result<Vec<u8>, EncodeError> {
        let mut out = b"before".to_vec();
        encode_message(&mut out, encoding, &Value::Int(1), Flag::Call, "name", args)
            .inspect_err(|_| assert_eq!(out, b"before"))?;
        Ok(out)
    }

    #[test]
    fn frames_are_appended_and_read_again() {
        for encoding in BOTH {
            let out = frame(encoding, &Value::Tuple(vec![Value::bytes(b"x")])).expect("encodes");
            let (length, payload) = out[6..].split_at(4);
            assert_eq!(length, (payload.len() as u32).to_be_bytes());
            let message = decode_message(payload, encoding).expect("decodes");
            assert_eq!(message.id, Value::Int(1));
            assert_eq!((message.flag, &*message.name), (Flag::Call, "name"));
            assert_eq!(message.args, Value::Tuple(vec![Value::bytes(b"x")]));
        }
    }

    #[test]
    fn what_can_not_be_encoded_leaves_nothing() {
        let global = |name: &'static str| Value::Global {
            module: "m".into(),
            name: name.into(),
        };
        let error = frame(Encoding::Pickle, &global("a\nb"));
        assert!(matches!(error, Err(EncodeError::Pickle(_))), "{error:?}");
        let error = frame(Encoding::Msgpack, &global("ab"));
        assert!(matches!(error, Err(EncodeError::Msgpack(_))), "{error:?}");
    }

    #[test]
    fn flags_are_what_python_takes_for_true() {
        let kind = |flag: Value<'static>, name: &'static str| {
            let parts = vec![Value::Int(1), flag, Value::str(name), Value::None];
            let mut out = Vec::new();
            pickle::encode(&Value::Tuple(parts), &mut out, Memo::Fast).expect("encodes");
            decode_message(&out, Encoding::Pickle).map(|message| message.flag)
        };
        assert_eq!(kind(Value::Bool(false), "m"), Ok(Flag::Call));
        assert_eq!(kind(Value::Int(0), "m"), Ok(Flag::Call));
        assert_eq!(kind(Value::Bool(true), "m"), Ok(Flag::Async));
        assert_eq!(kind(Value::Int(1), "m"), Ok(Flag::Async));
        assert_eq!(kind(Value::Int(0), REPLY), Ok(Flag::Reply));
        assert_eq!(kind(Value::Int(2), REPLY), Ok(Flag::Error));
        let error = kind(Value::None, "m");
        assert!(matches!(error, Err(DecodeError::NoMessage(_))), "{error:?}");
    }

    #[test]
    fn values_that_are_no_messages() {
        for bytes in [&b"N."[..], b"K\x01K\x02\x86.", b"(K\x01K\0K\x02Nt.", b""] {
            assert!(decode_message(bytes, Encoding::Pickle).is_err());
        }
        for bytes in [&b"\xc0"[..], b"\x92\x01\x02", b"\x94\x01\x00\x02\xc0", b""] {
            assert!(decode_message(bytes, Encoding::Msgpack).is_err());
        }
    }
}
