//! What a server tells a client without being asked.

use std::borrow::Cow;

use super::shape::ShapeError;
use crate::ids::{Oid, Tid};
use crate::marshal::{
    Decode, Encode, EncodeError, Encoder, Encoding, Fields, Flag, Items, List, Mismatch,
    encode_message,
};
use crate::value::Value;

/// A call of a server to its client, which has no reply.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notification<'a> {
    /// `invalidateTransaction(tid, oids)`: another client has committed.
    InvalidateTransaction {
        /// The transaction.
        tid: Tid,
        /// The objects that it changed.
        oids: Cow<'a, [Oid]>,
    },
    /// `info({length, size})`: the storage has other sizes now.
    Info(Sizes),
    /// `receiveBlobStart(oid, serial)`: the chunks of a blob follow, for
    /// which the client has called `sendBlob`.
    ReceiveBlobStart {
        /// The object.
        oid: Oid,
        /// Which revision of it.
        serial: Tid,
    },
    /// `receiveBlobChunk(oid, serial, chunk)`.
    ReceiveBlobChunk {
        /// The object.
        oid: Oid,
        /// Which revision of it.
        serial: Tid,
        /// The next bytes of the blob.
        chunk: Cow<'a, [u8]>,
    },
    /// `receiveBlobStop(oid, serial)`: the blob is complete.
    ReceiveBlobStop {
        /// The object.
        oid: Oid,
        /// Which revision of it.
        serial: Tid,
    },
}

/// The sizes of a storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// How many objects it has.
    pub length: u64,
    /// How many bytes it takes.
    pub size: u64,
}

impl<'a> Notification<'a> {
    /// Types the call of `name` with `args`, a tuple.
    ///
    /// # Errors
    ///
    /// No such notification, or other arguments than it has.
    pub fn parse(name: &str, args: Value<'a>) -> Result<Self, ShapeError> {
        let parsed = match name {
            "invalidateTransaction" => invalidation(args),
            "info" => {
                Items::of(args, 1, "(info,)").and_then(|mut args| args.next("info").map(Self::Info))
            }
            "receiveBlobStart" => {
                blob(args).map(|(oid, serial)| Self::ReceiveBlobStart { oid, serial })
            }
            "receiveBlobChunk" => chunk(args),
            "receiveBlobStop" => {
                blob(args).map(|(oid, serial)| Self::ReceiveBlobStop { oid, serial })
            }
            _ => return Err(ShapeError::unknown(name)),
        };
        parsed.map_err(|wrong| match &*wrong.place {
            "" => ShapeError::new(name, wrong.within("args")),
            _ => ShapeError::new(name, wrong),
        })
    }

    /// Appends the notification to `out` as one frame.
    ///
    /// # Errors
    ///
    /// It is too long for a frame; `out` then is as it was.
    pub fn encode(&self, out: &mut Vec<u8>, encoding: Encoding) -> Result<(), EncodeError> {
        encode_message(
            out,
            encoding,
            &0_u64,
            Flag::Async,
            self.method(),
            &Args(self),
        )
    }

    /// The name of the method.
    pub fn method(&self) -> &'static str {
        match self {
            Self::InvalidateTransaction { .. } => "invalidateTransaction",
            Self::Info(_) => "info",
            Self::ReceiveBlobStart { .. } => "receiveBlobStart",
            Self::ReceiveBlobChunk { .. } => "receiveBlobChunk",
            Self::ReceiveBlobStop { .. } => "receiveBlobStop",
        }
    }
}

fn invalidation(args: Value<'_>) -> Result<Notification<'_>, Mismatch> {
    let mut args = Items::of(args, 2, "(tid, oids)")?;
    Ok(Notification::InvalidateTransaction {
        tid: args.next("tid")?,
        oids: Cow::Owned(args.next("oids")?),
    })
}

fn blob(args: Value<'_>) -> Result<(Oid, Tid), Mismatch> {
    let mut args = Items::of(args, 2, "(oid, serial)")?;
    Ok((args.next("oid")?, args.next("serial")?))
}

fn chunk(args: Value<'_>) -> Result<Notification<'_>, Mismatch> {
    let mut args = Items::of(args, 3, "(oid, serial, chunk)")?;
    Ok(Notification::ReceiveBlobChunk {
        oid: args.next("oid")?,
        serial: args.next("serial")?,
        chunk: args.next("chunk")?,
    })
}

/// The arguments of a notification, as a tuple.
struct Args<'n, 'a>(&'n Notification<'a>);

impl Encode for Args<'_, '_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        match self.0 {
            Notification::InvalidateTransaction { tid, oids } => to.tuple(&[tid, &List(oids)]),
            Notification::Info(sizes) => to.tuple(&[sizes]),
            Notification::ReceiveBlobStart { oid, serial }
            | Notification::ReceiveBlobStop { oid, serial } => to.tuple(&[oid, serial]),
            Notification::ReceiveBlobChunk { oid, serial, chunk } => {
                to.tuple(&[oid, serial, chunk])
            }
        }
    }
}

impl Encode for Sizes {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.dict(&[("length", &self.length), ("size", &self.size)])
    }
}

impl Decode<'_> for Sizes {
    fn decode(value: Value<'_>) -> Result<Self, Mismatch> {
        let mut fields = Fields::of(value)?;
        Ok(Self {
            length: fields.take("length")?,
            size: fields.take("size")?,
        })
    }
}
