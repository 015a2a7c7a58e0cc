//! What a storage holds, as it is read: revisions, histories, transactions.

use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::TransactionMeta;
use crate::Result;

/// One revision of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision<D = Data> {
    /// Its record: class pickle and state pickle.
    pub data: D,
    /// The transaction that wrote it.
    pub serial: Tid,
    /// The transaction that wrote the next one; `None` when it is current.
    pub next: Option<Tid>,
}

/// The bytes of a record, inside the buffer they were read into (so that a
/// header read along with them costs no copy).
#[derive(Clone, Default)]
pub struct Data {
    buffer: Vec<u8>,
    start: usize,
}

impl Data {
    /// The bytes of `buffer` from `start` on (all gone when past its end).
    pub fn new(buffer: Vec<u8>, start: usize) -> Self {
        let start = start.min(buffer.len());
        Self { buffer, start }
    }
}

impl Data {
    /// The buffer, and where in it the bytes begin.
    pub fn into_buffer(self) -> (Vec<u8>, usize) {
        (self.buffer, self.start)
    }
}

impl From<Vec<u8>> for Data {
    fn from(buffer: Vec<u8>) -> Self {
        Self { buffer, start: 0 }
    }
}

impl std::ops::Deref for Data {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Data {}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// One entry of `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The transaction.
    pub tid: Tid,
    /// Length of the record in this revision; 0 for a back-pointer.
    pub size: u64,
    /// Its user, description and extension (tid and status are not used).
    pub meta: TransactionMeta,
    /// Whether the extension's items are shown among the entry's own, or
    /// apart as `extension`, with a `serial` besides.
    pub is_flat: bool,
}

/// One entry of `undoLog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoEntry {
    /// The transaction.
    pub tid: Tid,
    /// Its length in the file.
    pub size: u64,
    /// Its user, description and extension.
    pub meta: TransactionMeta,
}

/// One answer of `record_iternext`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentRecord {
    /// The object.
    pub oid: Oid,
    /// Its current serial.
    pub serial: Tid,
    /// Its current record.
    pub data: Data,
    /// The next object in the order of oids, to go on from.
    pub next: Option<Oid>,
}

/// A transaction with the oids of its records.
pub type Invalidation = (Tid, Vec<Oid>);

/// A transaction met by an iterator.
#[derive(Clone)]
pub struct TransactionRecord {
    /// Its tid and status are always set here.
    pub tid: Tid,
    /// The status byte in the file.
    pub status: u8,
    /// User, description, extension.
    pub meta: TransactionMeta,
    /// Starts an iteration over its records, as often as wanted.
    pub records: Arc<dyn Fn() -> RecordIter + Send + Sync>,
}

/// A record met by an iterator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRecord {
    /// The object.
    pub oid: Oid,
    /// The transaction.
    pub tid: Tid,
    /// The record; `None` when the object is gone with this transaction.
    pub data: Option<Data>,
    /// The transaction that a back-pointer leads to (one step), if the
    /// record is a back-pointer: Python's `data_txn`.
    pub data_txn: Option<Tid>,
}

/// Transactions in the order of the file, up to the last one that was
/// visible when the iterator was made.
pub type TransactionIter = Box<dyn Iterator<Item = Result<TransactionRecord>> + Send>;
/// The records of one transaction.
pub type RecordIter = Box<dyn Iterator<Item = Result<DataRecord>> + Send>;
