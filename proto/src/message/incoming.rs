//! What a client gets: replies to its calls, and notifications.

use super::notification::Notification;
use super::shape::ShapeError;
use crate::exception::Exception;
use crate::marshal::{Decode, DecodeError, Encoding, Flag, Message, decode_message_within};
use crate::pickle::Policy;
use crate::value::Value;

/// A message from a server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Incoming<'a> {
    /// The reply to a call.
    Reply(Reply<'a>),
    /// What no call has asked for.
    Notification(Notification<'a>),
    /// It says that the connection is alive, and nothing else.
    KeepAlive,
}

/// The reply to a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<'a> {
    /// The id of the call.
    pub id: Value<'a>,
    /// The result; or, in `Err`, what tells the exception that the call
    /// raised.
    pub outcome: Result<Value<'a>, Value<'a>>,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The server raised an exception.
    #[error("{0}")]
    Raised(Exception),
    /// The reply is not what the method returns.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// Why a message of a server can't be understood.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IncomingError {
    /// It is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is one that no server sends.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// The id of a message whose rest may be anything, as one that can't be decoded: what it is the
/// reply to. None where it is no number, or not written as servers write it.
pub fn message_id(payload: &[u8], encoding: Encoding) -> Option<u64> {
    let number = |bytes: &[u8]| {
        let mut number = [0; 8];
        number.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(number))
    };
    match encoding {
        // Protocol 3 and a mark; the number is little-endian.
        Encoding::Pickle => match payload.strip_prefix(b"\x80\x03(")? {
            [b'K', bytes @ ..] => number(bytes.get(..1)?),
            [b'M', bytes @ ..] => number(bytes.get(..2)?),
            [b'J', bytes @ ..] => number(bytes.get(..4)?),
            [0x8a, length, bytes @ ..] => number(bytes.get(..usize::from(*length))?),
            _ => None,
        },
        // An array of four; the number is big-endian.
        Encoding::Msgpack => match payload.strip_prefix(b"\x94")? {
            [small @ 0..0x80, ..] => Some(u64::from(*small)),
            [kind @ 0xcc..=0xcf, bytes @ ..] => {
                let bytes = bytes.get(..1 << (kind - 0xcc))?;
                number(&bytes.iter().rev().copied().collect::<Vec<_>>())
            }
            _ => None,
        },
    }
}

impl<'a> Incoming<'a> {
    /// Decodes the payload of a frame, within [`Policy::REPLY`].
    ///
    /// # Errors
    ///
    /// It is no message, or not one that [`Self::parse`] takes.
    pub fn decode(payload: &'a [u8], encoding: Encoding) -> Result<Self, IncomingError> {
        let message = decode_message_within(payload, encoding, &Policy::REPLY)?;
        Ok(Self::parse(message)?)
    }

    /// Types a message of a server.
    ///
    /// # Errors
    ///
    /// It is a call that has a reply, which no server makes; or a
    /// notification that is unknown or has other arguments than it must. The
    /// shape of a reply is looked at by [`Reply::result`], since only the
    /// caller knows the method.
    pub fn parse(message: Message<'a>) -> Result<Self, ShapeError> {
        let Message {
            id,
            flag,
            name,
            args,
        } = message;
        Ok(match flag {
            Flag::Reply if id == Value::Int(-1) => Self::KeepAlive,
            Flag::Reply => Self::Reply(Reply {
                id,
                outcome: Ok(args),
            }),
            Flag::Error => Self::Reply(Reply {
                id,
                outcome: Err(args),
            }),
            Flag::Async => Self::Notification(Notification::parse(&name, args)?),
            Flag::Call => return Err(ShapeError::unknown(&name)),
        })
    }
}

impl<'a> Reply<'a> {
    /// The reply with every borrowed part copied.
    pub fn into_owned(self) -> Reply<'static> {
        Reply {
            id: self.id.into_owned(),
            outcome: match self.outcome {
                Ok(result) => Ok(result.into_owned()),
                Err(raised) => Err(raised.into_owned()),
            },
        }
    }

    /// What the call of this method has returned. Which type that is,
    /// the module `reply` tells for each method.
    ///
    /// # Errors
    ///
    /// The call raised an exception, or the result is of another type.
    pub fn result<T: Decode<'a>>(self, method: &str) -> Result<T, ReplyError> {
        match self.outcome {
            Ok(value) => T::decode(value)
                .map_err(|wrong| ShapeError::new(method, wrong.within("result")).into()),
            Err(raised) => match Exception::from_reply(raised) {
                Ok(exception) => Err(ReplyError::Raised(exception)),
                Err(wrong) => Err(ShapeError::new(method, wrong.within("exception")).into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::encode_reply;

    #[test]
    fn the_id_of_a_message_that_is_cut_off() {
        for encoding in [Encoding::Pickle, Encoding::Msgpack] {
            for id in [
                1,
                127,
                128,
                255,
                256,
                65_535,
                65_536,
                i32::MAX as u64,
                1 << 31,
                1 << 40,
            ] {
                let mut out = Vec::new();
                encode_reply(&mut out, encoding, &id, &7_u64).expect("encodes");
                // Behind the id, 9 bytes follow at least.
                for end in out.len() - 9..=out.len() {
                    assert_eq!(message_id(&out[4..end], encoding), Some(id), "{encoding:?}");
                }
                assert_eq!(message_id(&out[4..8], encoding).unwrap_or(id) & !id, 0);
            }
            for garbage in [
                &b""[..],
                b"\x80\x03(",
                b"\x80\x03(\x8a\x09",
                b"\x94\xc0",
                b"\x94",
            ] {
                assert_eq!(message_id(garbage, encoding), None);
            }
        }
    }
}
