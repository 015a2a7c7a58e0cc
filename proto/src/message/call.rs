//! The calls of a client.

use std::borrow::Cow;

use crate::exception::Exception;
use crate::ids::{Oid, Tid};
use crate::value::Value;

/// One call of a client, its arguments checked.
///
/// Not `#[non_exhaustive]`: protocol 5 has these calls and no others, and a
/// server that forgets one is to be told so by the compiler.
#[derive(Clone, Debug, PartialEq)]
pub enum Call<'a> {
    /// `register(storage, read_only)`: choose a storage; answers the last tid.
    Register {
        /// The name of the storage.
        storage: Cow<'a, str>,
        /// Whether the client never writes.
        read_only: bool,
    },
    /// `get_info()`.
    GetInfo,
    /// `lastTransaction()`.
    LastTransaction,
    /// `getInvalidations(tid)`: what changed since.
    GetInvalidations {
        /// The last transaction that the client knows.
        since: Tid,
    },
    /// `loadBefore(oid, tid)`.
    LoadBefore {
        /// The object.
        oid: Oid,
        /// The tid before which the revision was current.
        before: Tid,
    },
    /// `loadSerial(oid, serial)`.
    LoadSerial {
        /// The object.
        oid: Oid,
        /// The transaction that wrote the revision.
        serial: Tid,
    },
    /// `getTid(oid)`.
    GetTid {
        /// The object.
        oid: Oid,
    },
    /// `history(oid, size=1)`.
    History {
        /// The object.
        oid: Oid,
        /// How many revisions, at most.
        size: usize,
    },
    /// `record_iternext(next=None)`.
    RecordIternext {
        /// Where to begin; none: at the first object.
        from: Option<Oid>,
    },
    /// `undoLog(first, last)`; a negative `last` is a count.
    UndoLog {
        /// The number of the first entry, from 0.
        first: i64,
        /// The number behind the last entry; below zero, how many.
        last: i64,
    },
    /// `undoInfo(first, last, specification)`.
    UndoInfo {
        /// The number of the first entry, from 0.
        first: i64,
        /// The number behind the last entry; below zero, how many.
        last: i64,
        /// `None`, or a dict of what the entries must have.
        specification: Value<'a>,
    },
    /// `iterator_start(start, stop)`; answers an iterator's id.
    IteratorStart {
        /// The first tid; none: from the beginning.
        start: Option<Tid>,
        /// The last tid; none: to the end.
        stop: Option<Tid>,
    },
    /// `iterator_next(id)`.
    IteratorNext {
        /// The iterator.
        id: u64,
    },
    /// `iterator_record_start(id, tid)`.
    IteratorRecordStart {
        /// The iterator.
        id: u64,
        /// The transaction that the iterator has given last.
        tid: Tid,
    },
    /// `iterator_record_next(id)`.
    IteratorRecordNext {
        /// The iterator.
        id: u64,
    },
    /// `iterator_gc(ids)`.
    IteratorGc {
        /// The iterators.
        ids: Vec<u64>,
    },
    /// `new_oid()`.
    NewOid,
    /// `new_oids(n=100)`.
    NewOids {
        /// How many, at most 100.
        count: i64,
    },
    /// `pack(time, wait=True)`; seconds since 1970.
    Pack {
        /// What is older, in seconds since 1970.
        time: f64,
        /// Whether the reply waits for the end.
        wait: bool,
    },
    /// `server_status()`.
    ServerStatus,
    /// `set_client_label(label)`.
    SetClientLabel {
        /// Any text.
        label: Cow<'a, str>,
    },
    /// `ping()`.
    Ping,
    /// `tpc_begin(id, user, description, extension, tid=None, status=" ")`.
    TpcBegin(Box<TpcBegin<'a>>),
    /// `storea(oid, serial, data, id)`.
    Store {
        /// The object.
        oid: Oid,
        /// The revision that it was made from; zero for a new object.
        serial: Tid,
        /// The record.
        data: Cow<'a, [u8]>,
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `restorea(oid, serial, data, prev_txn, id)`.
    Restore {
        /// The object.
        oid: Oid,
        /// The transaction that wrote it.
        serial: Tid,
        /// The record; none: the creation of the object was undone.
        data: Option<Cow<'a, [u8]>>,
        /// A transaction that may hold the same record.
        prev_tid: Option<Tid>,
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `deleteObject(oid, serial, id)`.
    DeleteObject {
        /// The object.
        oid: Oid,
        /// The revision that is deleted.
        serial: Tid,
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `checkCurrentSerialInTransaction(oid, serial, id)`.
    CheckSerial {
        /// The object.
        oid: Oid,
        /// The revision that must be current.
        serial: Tid,
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `undoa(transaction_id, id)`: the id of the undo log's entry.
    Undo {
        /// The id that the undo log has for a transaction.
        undo_id: Cow<'a, [u8]>,
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `vote(id)`.
    Vote {
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `tpc_finish(id)`.
    TpcFinish {
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `tpc_abort(id)`.
    TpcAbort {
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `storeBlobStart()`: a blob follows, in chunks.
    StoreBlobStart,
    /// `storeBlobChunk(chunk)`.
    StoreBlobChunk {
        /// The next bytes.
        chunk: Cow<'a, [u8]>,
    },
    /// `storeBlobEnd(oid, serial, data, id)`: whose blob it was.
    StoreBlobEnd {
        /// The object.
        oid: Oid,
        /// The revision that it was made from; zero for a new object.
        serial: Tid,
        /// The record.
        data: Cow<'a, [u8]>,
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `storeBlobShared(oid, serial, data, filename, id)`: a file in the
    /// directory of the object, which client and server share.
    StoreBlobShared {
        /// The object.
        oid: Oid,
        /// The revision that it was made from; zero for a new object.
        serial: Tid,
        /// The record.
        data: Cow<'a, [u8]>,
        /// The name of the file.
        name: Cow<'a, str>,
        /// The client's id of the transaction.
        id: Value<'a>,
    },
    /// `sendBlob(oid, serial)`: answered after its chunks.
    SendBlob {
        /// The object.
        oid: Oid,
        /// The transaction that wrote the revision.
        serial: Tid,
    },
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
    /// A step of a commit with wrong arguments. Python's server looks at them
    /// at the vote.
    #[error("{}", .0.why)]
    Step(Box<WrongStep>),
    /// Wrong number or type of arguments (`builtins.TypeError`).
    #[error("{method}(): {what}")]
    Arguments {
        /// The method.
        method: &'static str,
        /// What was expected.
        what: String,
    },
}

/// A step of a commit that can't be made. Its call has no reply, as a rule: then
/// the vote is to raise what is wrong.
#[derive(Debug, PartialEq)]
pub struct WrongStep {
    /// The transaction that it names.
    pub id: Value<'static>,
    /// What the call does at once all the same.
    pub effect: Effect,
    /// What the vote raises.
    pub why: Exception,
}

/// What a step does to the session, whatever its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// `tpc_begin` begins the transaction.
    Begins,
    /// It counts as an object stored, deleted or restored.
    Stores,
    /// `storeBlobEnd` takes the blob that was sent.
    EndsBlob,
}
