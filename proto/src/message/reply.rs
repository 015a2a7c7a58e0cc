//! What calls return.
//!
//! | method | result |
//! |---|---|
//! | `register` | [`Tid`]; `Option<Tid>` where a storage has no last transaction |
//! | `lastTransaction`, `getTid` | [`Tid`] |
//! | `get_info` | [`StorageInfo`] |
//! | `getInvalidations` | `Option<`[`Invalidations`]`>`; none: the client must empty its cache |
//! | `loadBefore` | `Option<`[`Revision`]`>`; none: the object is younger |
//! | `loadSerial` | bytes: `Cow<[u8]>` |
//! | `record_iternext` | [`CurrentRecord`] |
//! | `history` | `Vec<`[`HistoryEntry`](super::HistoryEntry)`>` |
//! | `undoLog`, `undoInfo` | `Vec<`[`UndoEntry`](super::UndoEntry)`>` |
//! | `iterator_start`, `iterator_record_start` | `u64`, the iterator's id |
//! | `iterator_next` | `Option<`[`IteratedTransaction`]`>`; none: the end |
//! | `iterator_record_next` | `Option<`[`IteratedRecord`]`>`; none: the end |
//! | `new_oid` | [`Oid`] |
//! | `new_oids` | `Vec<`[`Oid`]`>` |
//! | `vote` | `Option<Vec<`[`Voted`]`>>` |
//! | `tpc_finish` | `Option<Tid>`; none: no such transaction |
//! | `server_status` | [`Value::Dict`], an open set of counters |
//! | all others | `()` |

use std::borrow::Cow;

use super::notification::Sizes;
use crate::exception::Exception;
use crate::ids::{Oid, Tid};
use crate::marshal::{
    Decode, Encode, EncodeError, Encoder, Encoding, Fields, Flag, Items, Mismatch, REPLY,
    encode_message,
};
use crate::value::Value;

/// Appends the reply to the call with this id to `out` as one frame.
///
/// # Errors
///
/// The encoding can't hold the result, or it is too long for a frame; `out`
/// then is as it was.
pub fn encode_reply(
    out: &mut Vec<u8>,
    encoding: Encoding,
    id: &dyn Encode,
    result: &dyn Encode,
) -> Result<(), EncodeError> {
    encode_message(out, encoding, id, Flag::Reply, REPLY, result)
}

/// Appends a reply that raises an exception to `out` as one frame.
///
/// # Errors
///
/// The encoding can't hold an argument of the exception; `out` then is as it
/// was.
pub fn encode_error(
    out: &mut Vec<u8>,
    encoding: Encoding,
    id: &dyn Encode,
    exception: &Exception,
) -> Result<(), EncodeError> {
    let reply = exception.to_reply(encoding);
    encode_message(out, encoding, id, Flag::Error, REPLY, &reply)
}

/// Appends the message that only keeps a connection alive to `out`.
///
/// # Errors
///
/// None in fact: each encoding can hold it.
pub fn encode_keep_alive(out: &mut Vec<u8>, encoding: Encoding) -> Result<(), EncodeError> {
    encode_message(out, encoding, &-1_i64, Flag::Reply, REPLY, &())
}

/// `loadBefore`: a revision of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision<'a> {
    /// Its record.
    pub data: Cow<'a, [u8]>,
    /// The transaction that wrote it.
    pub serial: Tid,
    /// The transaction that wrote the next one; none: this is current.
    pub next: Option<Tid>,
}

impl Encode for Revision<'_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.tuple(&[&self.data, &self.serial, &self.next])
    }
}

impl<'a> Decode<'a> for Revision<'a> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        let mut items = Items::of(value, 3, "(data, serial, next serial)")?;
        Ok(Self {
            data: items.next("data")?,
            serial: items.next("serial")?,
            next: items.next("next")?,
        })
    }
}

/// `getInvalidations`: what changed since a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidations {
    /// The last transaction.
    pub last: Tid,
    /// The objects that were changed up to it.
    pub oids: Vec<Oid>,
}

impl Encode for Invalidations {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.tuple(&[&self.last, &self.oids])
    }
}

impl Decode<'_> for Invalidations {
    fn decode(value: Value<'_>) -> Result<Self, Mismatch> {
        let mut items = Items::of(value, 2, "(last tid, oids)")?;
        Ok(Self {
            last: items.next("last")?,
            oids: items.next("oids")?,
        })
    }
}

/// `get_info`: what a storage is and can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageInfo<'a> {
    /// Its sizes.
    pub sizes: Sizes,
    /// Its name, mostly the path of its file.
    pub name: Cow<'a, str>,
    /// Whether transactions can be undone.
    pub supports_undo: bool,
    /// Whether `record_iternext` is there.
    pub supports_record_iternext: bool,
    /// The Python interfaces that it provides, as (module, name): a client
    /// switches its abilities on by these.
    pub interfaces: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl Encode for StorageInfo<'_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.dict(&[
            ("length", &self.sizes.length),
            ("size", &self.sizes.size),
            ("name", &self.name),
            ("supportsUndo", &self.supports_undo),
            ("supports_record_iternext", &self.supports_record_iternext),
            ("interfaces", &Tuple(&self.interfaces)),
        ])
    }
}

/// What is not there counts as it does for Python's client: as nothing. What
/// is not known here is left out.
impl<'a> Decode<'a> for StorageInfo<'a> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        let mut fields = Fields::of(value)?;
        Ok(Self {
            sizes: Sizes {
                length: fields.take::<Option<_>>("length")?.unwrap_or_default(),
                size: fields.take::<Option<_>>("size")?.unwrap_or_default(),
            },
            name: fields.take::<Option<_>>("name")?.unwrap_or_default(),
            supports_undo: fields
                .take::<Option<_>>("supportsUndo")?
                .unwrap_or_default(),
            supports_record_iternext: { fields.take::<Option<_>>("supports_record_iternext")? }
                .unwrap_or_default(),
            interfaces: fields.take::<Option<_>>("interfaces")?.unwrap_or_default(),
        })
    }
}

/// A slice, as a tuple.
struct Tuple<'s, T>(&'s [T]);

impl<T: Encode> Encode for Tuple<'_, T> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        let items: Vec<&dyn Encode> = self.0.iter().map(|item| item as &dyn Encode).collect();
        to.tuple(&items)
    }
}

/// `record_iternext`: the current record of an object, and which comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentRecord<'a> {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote the record.
    pub serial: Tid,
    /// The record.
    pub data: Cow<'a, [u8]>,
    /// The object to ask for next; none: this was the last one.
    pub next: Option<Oid>,
}

impl Encode for CurrentRecord<'_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.tuple(&[&self.oid, &self.serial, &self.data, &self.next])
    }
}

impl<'a> Decode<'a> for CurrentRecord<'a> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        let mut items = Items::of(value, 4, "(oid, serial, data, next oid)")?;
        Ok(Self {
            oid: items.next("oid")?,
            serial: items.next("serial")?,
            data: items.next("data")?,
            next: items.next("next")?,
        })
    }
}

/// `iterator_next`: a transaction of the storage.
#[derive(Clone, Debug, PartialEq)]
pub struct IteratedTransaction<'a> {
    /// Its id.
    pub tid: Tid,
    /// The status byte of the file.
    pub status: u8,
    /// The user.
    pub user: Cow<'a, [u8]>,
    /// The description.
    pub description: Cow<'a, [u8]>,
    /// The extension: a dict; bytes, if the server can't read it.
    pub extension: Value<'a>,
}

impl Encode for IteratedTransaction<'_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        let mut status = [0; 4];
        let status = &*char::from(self.status).encode_utf8(&mut status);
        to.tuple(&[
            &self.tid,
            &status,
            &self.user,
            &self.description,
            &self.extension,
        ])
    }
}

impl<'a> Decode<'a> for IteratedTransaction<'a> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        let expected = "(tid, status, user, description, extension)";
        let mut items = Items::of(value, 5, expected)?;
        Ok(Self {
            tid: items.next("tid")?,
            status: status(items.next("status")?)?,
            user: items.next("user")?,
            description: items.next("description")?,
            extension: items.next("extension")?,
        })
    }
}

/// The byte that stands in the file, from text.
fn status(text: Cow<'_, str>) -> Result<u8, Mismatch> {
    let mut chars = text.chars();
    let byte = chars.next().and_then(|char| u8::try_from(char).ok());
    byte.filter(|_| chars.next().is_none()).ok_or_else(|| {
        Mismatch::new("a status of one character", &Value::str(&text)).within("status")
    })
}

/// `iterator_record_next`: a record of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IteratedRecord<'a> {
    /// The object.
    pub oid: Oid,
    /// The transaction.
    pub tid: Tid,
    /// The data; none: the creation of the object was undone.
    pub data: Option<Cow<'a, [u8]>>,
    /// The transaction whose data it is, if it is not its own.
    pub data_txn: Option<Tid>,
}

impl Encode for IteratedRecord<'_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        to.tuple(&[&self.oid, &self.tid, &self.data, &self.data_txn])
    }
}

impl<'a> Decode<'a> for IteratedRecord<'a> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        let mut items = Items::of(value, 4, "(oid, tid, data, data tid)")?;
        Ok(Self {
            oid: items.next("oid")?,
            tid: items.next("tid")?,
            data: items.next("data")?,
            data_txn: items.next("data_txn")?,
        })
    }
}

/// `vote`: what became of an object, where that is not what was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Voted<'a> {
    /// The server has stored another record, by resolving a conflict or by an
    /// undo.
    Resolved(Oid),
    /// The client is to resolve a conflict, store again, and vote again.
    Conflict(ClientConflict<'a>),
}

/// A conflict that a client is to resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConflict<'a> {
    /// The object.
    pub oid: Oid,
    /// The serial that is committed.
    pub committed: Tid,
    /// The serial that the transaction has read.
    pub read: Tid,
    /// The record that could not be stored.
    pub data: Cow<'a, [u8]>,
}

impl Encode for Voted<'_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        match self {
            Self::Resolved(oid) => oid.encode(to),
            Self::Conflict(conflict) => {
                let serials = (conflict.committed, conflict.read);
                to.dict(&[
                    ("oid", &conflict.oid),
                    ("serials", &serials),
                    ("data", &conflict.data),
                ])
            }
        }
    }
}

impl<'a> Decode<'a> for Voted<'a> {
    fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
        if value.as_oid().is_some() {
            return Oid::decode(value).map(Self::Resolved);
        }
        let Value::Dict(_) = value else {
            return Err(Mismatch::new("an oid of 8 bytes or a dict", &value));
        };
        let mut fields = Fields::of(value)?;
        let (committed, read) = fields.take("serials")?;
        Ok(Self::Conflict(ClientConflict {
            oid: fields.take("oid")?,
            committed,
            read,
            data: fields.take("data")?,
        }))
    }
}
