//! The calls of a client.

use std::borrow::Cow;

use crate::ids::{Oid, Tid};
use crate::value::Value;

/// One call of a client, its arguments checked.
///
/// Not `#[non_exhaustive]`: protocol 5 has these calls and no others, and a
/// server that forgets one is to be told so by the compiler.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields are the arguments in the signature above each"
)]
pub enum Call<'a> {
    /// `register(storage, read_only)`: choose a storage; answers the last tid.
    Register {
        storage: Cow<'a, str>,
        read_only: bool,
    },
    /// `get_info()`.
    GetInfo,
    /// `lastTransaction()`.
    LastTransaction,
    /// `getInvalidations(tid)`: what changed since.
    GetInvalidations { since: Tid },
    /// `loadBefore(oid, tid)`.
    LoadBefore { oid: Oid, before: Tid },
    /// `loadSerial(oid, serial)`.
    LoadSerial { oid: Oid, serial: Tid },
    /// `getTid(oid)`.
    GetTid { oid: Oid },
    /// `history(oid, size=1)`.
    History { oid: Oid, size: usize },
    /// `record_iternext(next=None)`.
    RecordIternext { from: Option<Oid> },
    /// `undoLog(first, last)`; a negative `last` is a count.
    UndoLog { first: i64, last: i64 },
    /// `undoInfo(first, last, specification)`.
    UndoInfo {
        first: i64,
        last: i64,
        specification: Value<'a>,
    },
    /// `iterator_start(start, stop)`; answers an iterator's id.
    IteratorStart {
        start: Option<Tid>,
        stop: Option<Tid>,
    },
    /// `iterator_next(id)`.
    IteratorNext { id: u64 },
    /// `iterator_record_start(id, tid)`.
    IteratorRecordStart { id: u64, tid: Tid },
    /// `iterator_record_next(id)`.
    IteratorRecordNext { id: u64 },
    /// `iterator_gc(ids)`.
    IteratorGc { ids: Vec<u64> },
    /// `new_oid()`.
    NewOid,
    /// `new_oids(n=100)`.
    NewOids { count: i64 },
    /// `pack(time, wait=True)`; seconds since 1970.
    Pack { time: f64, wait: bool },
    /// `server_status()`.
    ServerStatus,
    /// `set_client_label(label)`.
    SetClientLabel { label: Cow<'a, str> },
    /// `ping()`.
    Ping,
    /// `tpc_begin(id, user, description, extension, tid=None, status=" ")`.
    TpcBegin(Box<TpcBegin<'a>>),
    /// `storea(oid, serial, data, id)`.
    Store {
        oid: Oid,
        serial: Tid,
        data: Cow<'a, [u8]>,
        id: Value<'a>,
    },
    /// `restorea(oid, serial, data, prev_txn, id)`.
    Restore {
        oid: Oid,
        serial: Tid,
        data: Option<Cow<'a, [u8]>>,
        prev_tid: Option<Tid>,
        id: Value<'a>,
    },
    /// `deleteObject(oid, serial, id)`.
    DeleteObject {
        oid: Oid,
        serial: Tid,
        id: Value<'a>,
    },
    /// `checkCurrentSerialInTransaction(oid, serial, id)`.
    CheckSerial {
        oid: Oid,
        serial: Tid,
        id: Value<'a>,
    },
    /// `undoa(transaction_id, id)`: the id of the undo log's entry.
    Undo {
        undo_id: Cow<'a, [u8]>,
        id: Value<'a>,
    },
    /// `vote(id)`.
    Vote { id: Value<'a> },
    /// `tpc_finish(id)`.
    TpcFinish { id: Value<'a> },
    /// `tpc_abort(id)`.
    TpcAbort { id: Value<'a> },
    /// `storeBlobStart()`: a blob follows, in chunks.
    StoreBlobStart,
    /// `storeBlobChunk(chunk)`.
    StoreBlobChunk { chunk: Cow<'a, [u8]> },
    /// `storeBlobEnd(oid, serial, data, id)`: whose blob it was.
    StoreBlobEnd {
        oid: Oid,
        serial: Tid,
        data: Cow<'a, [u8]>,
        id: Value<'a>,
    },
    /// `storeBlobShared(oid, serial, data, filename, id)`: a file in the
    /// directory of the object, which client and server share.
    StoreBlobShared {
        oid: Oid,
        serial: Tid,
        data: Cow<'a, [u8]>,
        name: Cow<'a, str>,
        id: Value<'a>,
    },
    /// `sendBlob(oid, serial)`: answered after its chunks.
    SendBlob { oid: Oid, serial: Tid },
}

/// The arguments of `tpc_begin`.
#[derive(Clone, Debug, PartialEq)]
pub struct TpcBegin<'a> {
    /// The client's own id of the transaction: any value.
    pub id: Value<'a>,
    /// User name (text counts as UTF-8).
    pub user: Cow<'a, [u8]>,
    /// Description (text counts as UTF-8).
    pub description: Cow<'a, [u8]>,
    /// The extension: a dict, or its pickle as bytes.
    pub extension: Value<'a>,
    /// The tid to commit under.
    pub tid: Option<Tid>,
    /// The status byte.
    pub status: u8,
}

/// A call that can't be made.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No such method: Python's server closes the connection.
    #[error("invalid method {0:?}")]
    Unknown(String),
    /// A look-up by a value that is no oid (`POSKeyError`).
    #[error("{0:.80?} is not the oid of an object")]
    NoObject(Box<Value<'static>>),
    /// Wrong number or type of arguments (`builtins.TypeError`).
    #[error("{method}(): {what}")]
    Arguments {
        /// The method.
        method: &'static str,
        /// What was expected.
        what: String,
    },
}
