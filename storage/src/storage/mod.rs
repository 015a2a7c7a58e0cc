//! The interface between a storage and whoever drives it (the server, or a
//! batch program).
//!
//! Reading takes `&self` from any thread and never waits for a commit.
//! A commit has three steps, each in its place:
//!
//! 1. [`Storage::prepare`] in the thread of the session, with the locks of
//!    the transaction's objects granted: checks serials, resolves conflicts,
//!    lays out the records, reserves room on the disk.
//! 2. [`Storage::append`] in the log writer, alone: writes transactions in
//!    the order of their tids and syncs once. They are durable, not visible.
//! 3. [`Storage::publish`] in the coordinator, alone and in the same order:
//!    makes one visible to readers. Memory only, can't fail.
//!
//! Dropping a [`Prepared`] aborts it.

use std::path::PathBuf;
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use crate::blob::{BlobDirectory, BlobFile};
use crate::error::Conflict;
pub use crate::file_storage::commit::laid_out::Prepared;
use crate::{Error, Result};

/// One revision of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its record: class pickle and state pickle.
    pub data: Data,
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

/// What a transaction says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionMeta {
    /// User name, as bytes; at most 65,535.
    pub user: Vec<u8>,
    /// Description, as bytes; at most 65,535.
    pub description: Vec<u8>,
    /// The extension as the pickle that stands in the file (a dict; empty
    /// when there is none); at most 65,535 bytes.
    pub extension: Vec<u8>,
    /// The tid to commit under, when the client gives one (copying from
    /// another storage); it must be later than the last transaction.
    pub tid: Option<Tid>,
    /// The status byte for the file: `b' '`, or `b'p'`/`b'u'` when copying.
    pub status: u8,
}

/// One step of a transaction, in the order the client gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Write a new revision on top of `serial` (zero: the object is new).
    Store {
        /// The object.
        oid: Oid,
        /// The serial that the new revision was made from.
        serial: Tid,
        /// The record.
        data: Vec<u8>,
    },
    /// Fail unless the object is still at `serial`.
    Check {
        /// The object.
        oid: Oid,
        /// The serial that was read.
        serial: Tid,
    },
    /// Write a revision that says that the object is gone.
    Delete {
        /// The object.
        oid: Oid,
        /// The serial that is to be current.
        serial: Tid,
    },
    /// Write a revision as it was in another storage, unchecked.
    Restore {
        /// The object.
        oid: Oid,
        /// The serial of this revision (the transaction's own tid).
        serial: Tid,
        /// The record; `None`: the creation of the object was undone.
        data: Option<Vec<u8>>,
        /// A transaction that may already hold the same data, so that a
        /// back-pointer suffices: a hint.
        prev_tid: Option<Tid>,
    },
    /// The file of a blob whose record was stored or restored just before.
    Blob {
        /// The object.
        oid: Oid,
        /// The serial of a restored revision; `None`: the transaction's tid.
        serial: Option<Tid>,
        /// The file, which is moved to where committed ones are.
        file: Arc<BlobFile>,
    },
    /// Undo a whole transaction.
    Undo {
        /// The transaction.
        tid: Tid,
    },
}

/// The outcome of [`Storage::prepare`].
#[derive(Debug)]
pub enum Vote {
    /// Ready: what follows can only fail if the disk breaks.
    Ready(Prepared),
    /// Conflicts, one an object, that the caller asked to have reported
    /// instead of failing at the first one.
    Conflicts(Vec<Conflict>),
}

/// What to do with conflicting stores that the storage can't resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Resolve where the class is known, else fail with the conflict.
    Resolve,
    /// The same, with the resulting records compressed or not. Otherwise they
    /// are if any was that they were made of.
    ResolveAs {
        /// As by `zc.zlibstorage`, or plain.
        compressed: bool,
    },
    /// Resolve nothing; gather all conflicts for the client
    /// (`client-conflict-resolution`). A later store of the same object that
    /// succeeds takes its conflict back.
    Report,
}

impl OnConflict {
    /// Whether resulting records are to be compressed, if that is settled.
    pub(crate) fn compressed(self) -> Option<bool> {
        match self {
            OnConflict::ResolveAs { compressed } => Some(compressed),
            OnConflict::Resolve | OnConflict::Report => None,
        }
    }
}

/// A transaction on its way into the file.
#[derive(Debug)]
pub struct Commit {
    /// Its tid, given out by the coordinator, later than all before it.
    pub tid: Tid,
    /// What [`Storage::prepare`] made.
    pub prepared: Prepared,
}

/// What a storage can do, as `get_info` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// `supportsUndo`.
    pub undo: bool,
    /// `supports_record_iternext`.
    pub record_iternext: bool,
    /// The Python interfaces, as (module, name), most specific first.
    pub interfaces: Vec<(&'static str, &'static str)>,
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

/// The error of a storage without blobs.
pub(crate) fn no_blobs() -> Error {
    Error::Unsupported("Blobs are not supported".to_owned())
}

/// A ZODB storage. See the module for who calls what, and where.
pub trait Storage: Send + Sync {
    /// The name, for logs and `get_info` (FileStorage: the path as given).
    fn name(&self) -> String;
    /// How many objects there are.
    fn len(&self) -> u64;
    /// True when there is no object.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The size in bytes.
    fn size(&self) -> u64;
    /// The last visible transaction; zero when there is none.
    fn last_tid(&self) -> Tid;
    /// True when the storage takes no commits.
    fn is_read_only(&self) -> bool;
    /// Why the storage stopped writing, if it did.
    fn latched(&self) -> Option<String>;
    /// What the storage can do.
    fn capabilities(&self) -> Capabilities;

    /// The revision that was current just before `before`; `None` when the
    /// object is younger. Fails with `NoObject` for an object that is
    /// unknown, or gone in that revision.
    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>>;
    /// The record that transaction `serial` wrote for `oid`.
    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data>;
    /// The current serial.
    fn get_tid(&self, oid: Oid) -> Result<Tid>;
    /// The newest `size` revisions, newest first.
    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>>;
    /// Transactions that can be undone, newest first: those from `first` to
    /// before `last` of the ones that `filter` lets through. `filter` may
    /// also stop the walk by an error.
    fn undo_log(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
    ) -> Result<Vec<UndoEntry>>;
    /// The current record of the first object at or after `from`.
    fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord>;
    /// Transactions with `start <= tid <= stop`.
    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter>;
    /// The last `count` transactions with their oids, oldest first; `None`
    /// when the storage does not keep that.
    fn last_invalidations(&self, count: usize) -> Result<Option<Vec<Invalidation>>>;

    /// An oid never used or given out before.
    fn new_oid(&self) -> Result<Oid>;
    /// Step 1 of a commit; see the module.
    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote>;
    /// Step 2. On an error nothing of the batch is in the file. If the storage
    /// is not latched then, the file of a blob could not be given its name, and
    /// each transaction of the batch may be tried again.
    fn append(&self, batch: &mut [Commit]) -> Result<()>;
    /// Step 3, for each of the batch in order.
    fn publish(&self, commit: &Commit);

    /// Where the files of blobs are kept, for uploads; `None`: there are no
    /// blobs.
    fn blobs(&self) -> Option<&BlobDirectory> {
        None
    }
    /// The file of a committed blob. Fails with `NoBlob` when there is none.
    fn load_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        let _ = (oid, serial);
        Err(no_blobs())
    }

    /// Removes revisions that were not current any more at `time` (seconds
    /// since 1970), and with `gc` objects that could not be reached then;
    /// without a word on it, the storage's own setting counts. Loads and
    /// commits go on meanwhile. Succeeds without doing anything when there is
    /// nothing to remove.
    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()>;
    /// How far the pack is that runs now, for people.
    fn packing(&self) -> Option<String> {
        None
    }

    /// Saves what makes the next start quick (the index), from any thread.
    fn save_index(&self) -> Result<()>;
    /// Ends the use of the storage: saves the index, releases the lock file.
    /// Nothing may be in flight.
    fn close(&self) -> Result<()>;
}
