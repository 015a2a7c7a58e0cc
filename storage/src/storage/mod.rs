//! The interface between a storage and the program that drives it (the server, or a
//! batch program).
//!
//! An implementation of [`Storage`] needs nothing but what this module exports.
//! A storage that wraps another one should be a [`Layer`].
//!
//! # Which thread calls what
//!
//! | call | thread | may wait for |
//! |---|---|---|
//! | reading, [`Storage::new_oid`] | any, many at once | a read |
//! | [`Storage::prepare`] | the session's, or a helper of its own | reads, temporary files |
//! | [`Storage::append`], [`Outside::poll`] | the log writer, one call at a time | the disk, a database |
//! | [`Storage::publish`], [`Outside::publish_change`], [`Storage::last_invalidations`] | the coordinator, one call at a time | nothing |
//! | [`Storage::pack`] | a helper, one pack at a time | all it needs; never holds up reads, commits only briefly |
//! | [`Storage::save_index`] | main | the disk |
//! | [`Storage::close`] | main, when all others have ended | the disk |
//!
//! (Opening a storage, before the server starts, is not part of this interface;
//! [`Storage::last_invalidations`] is called once then.) A batch program
//! does all of it in one thread.
//!
//! # A commit
//!
//! It has three steps:
//!
//! 1. [`Storage::prepare`] with the locks of the transaction's objects
//!    granted: checks serials, resolves conflicts, lays out the records,
//!    reserves room on the disk.
//! 2. [`Storage::append`]: makes transactions durable in the order of their
//!    tids, with one sync for all that wait. They are not visible.
//! 3. [`Storage::publish`] in the same order: makes one visible to readers.
//!
//! Dropping a [`Prepared`] aborts the transaction. After it was given to `append`, it can't be
//! aborted any more, unless `append` fails.
//!
//! # Where tids come from
//!
//! The coordinator assigns the tids of a storage that only this server changes: the time of
//! day, but later than the last tid, or the tid that the client insists on
//! ([`TransactionMeta::tid`]). A storage that others change too
//! ([`Storage::outside`]) assigns them itself, in `append`, since the coordinator does
//! not know what others commit at the same moment. How their changes arrive,
//! and in which order everything is published, is explained at [`outside`].
//!
//! # What readers see
//!
//! Only what is published: [`Storage::last_tid`] is the
//! last published transaction, of this server or others, and a read that begins after
//! a publication sees it. Clients depend on that: whatever they are told
//! later comes as an invalidation with a later tid. A storage that can't hold
//! back what others have committed and this server has not published yet (a
//! database that only has current revisions) may show it, but never call it
//! its last transaction.

mod bulk;
mod layer;
mod open_data;
pub mod outside;
mod pack_progress;
mod revision;
mod transaction;
mod users;

use std::path::PathBuf;

use zeo_proto::{Oid, Tid};

use crate::blob::BlobDirectory;
use crate::{Error, Result};

pub use self::bulk::Bulk;
pub use self::layer::Layer;
pub use self::open_data::{OpenData, Unread};
pub use self::outside::{Outside, OutsideChange, Wake};
pub use self::pack_progress::{PackProgress, Unit};
pub use self::revision::{
    CurrentRecord, Data, DataRecord, HistoryEntry, Invalidation, RecordIter, Revision,
    TransactionIter, TransactionRecord, UndoEntry,
};
pub use self::transaction::{
    Appended, Commit, Merged, OnConflict, Op, Prepared, TransactionMeta, Vote,
};
pub use self::users::{DatabaseServer, DatabaseUsers};

/// What a storage can do beyond what every storage does, for `get_info` and
/// for the server, which does not ask for what is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Transactions can be undone: [`Op::Undo`], [`Storage::undo_log`].
    pub undo: bool,
    /// [`Storage::record_iternext`].
    pub record_iternext: bool,
    /// Transactions can be written as they were elsewhere: [`Op::Restore`].
    pub restore: bool,
    /// Objects can be deleted by a garbage collector outside:
    /// [`Op::Delete`].
    pub delete: bool,
    /// It transforms the records of another storage.
    pub transforms: bool,
}

/// The error of a storage without blobs.
pub(crate) fn no_blobs() -> Error {
    Error::Unsupported("Blobs are not supported".to_owned())
}

/// A ZODB storage. See the module for who calls what, and where.
///
/// Beside the errors named, any call may fail with `Io` or `Corrupt` when the
/// disk or what stands on it is damaged, and with `Unavailable` when the
/// storage keeps its data in a place that can't be reached now.
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
    /// How much memory its index takes, in bytes; `None` when that is not
    /// known.
    fn index_memory(&self) -> Option<u64> {
        None
    }
    /// The last published transaction; zero when there is none. Never goes
    /// back.
    fn last_tid(&self) -> Tid;
    /// True when the storage takes no commits.
    fn is_read_only(&self) -> bool;
    /// Why the storage stopped writing, if it did.
    fn latched(&self) -> Option<String>;
    /// What the storage can do. Always the same.
    fn capabilities(&self) -> Capabilities;

    /// The revision that was current just before `before`; `None` when the
    /// object is younger.
    ///
    /// # Errors
    ///
    /// `NoObject` for an object that is unknown, or gone in that revision.
    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>>;
    /// The record that transaction `serial` wrote for `oid`.
    ///
    /// # Errors
    ///
    /// `NoObject` when it wrote none.
    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data>;
    /// As [`Self::load_before`], but a large record may be left where it is stored, for who passes it
    /// on in pieces.
    ///
    /// # Errors
    ///
    /// Those of [`Self::load_before`].
    fn open_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision<OpenData>>> {
        Ok(self.load_before(oid, before)?.map(Revision::from))
    }
    /// As [`Self::open_before`], where that is one question to another machine over a connection that
    /// is open. `None` if there is more to be waited for, or nothing is found: then
    /// [`Self::open_before`] is to be asked.
    fn open_before_soon(&self, oid: Oid, before: Tid) -> Option<Revision<OpenData>> {
        let _ = (oid, before);
        None
    }
    /// As [`Self::load_serial`], in the same way.
    ///
    /// # Errors
    ///
    /// Those of [`Self::load_serial`].
    fn open_serial(&self, oid: Oid, serial: Tid) -> Result<OpenData> {
        self.load_serial(oid, serial).map(OpenData::Read)
    }
    /// The current serial.
    ///
    /// # Errors
    ///
    /// `NoObject` for an object that is unknown or gone.
    fn get_tid(&self, oid: Oid) -> Result<Tid>;
    /// The newest `size` revisions, newest first, also of an object that is
    /// gone.
    ///
    /// # Errors
    ///
    /// `NoObject` for an unknown object.
    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>>;
    /// Transactions that can be undone, newest first: those from `first` to
    /// before `last` of the ones that `filter` lets through.
    ///
    /// # Errors
    ///
    /// That of `filter`, which ends the walk.
    fn undo_log(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
    ) -> Result<Vec<UndoEntry>>;
    /// The current record of the first object at or after `from`.
    ///
    /// # Errors
    ///
    /// `Value` behind the last object; `NoObject` when the object is gone;
    /// `Unsupported`, see [`Capabilities::record_iternext`].
    fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord>;
    /// Transactions with `start <= tid <= stop`, none later than
    /// [`Self::last_tid`] at the time of the call.
    ///
    /// # Errors
    ///
    /// The storage can't be read; the iterator's items fail with the same errors.
    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter>;
    /// The last `count` published transactions with their oids, oldest first;
    /// `None` when the storage does not keep that.
    ///
    /// # Errors
    ///
    /// The storage can't be read; it is not served then.
    fn last_invalidations(&self, count: usize) -> Result<Option<Vec<Invalidation>>>;
    /// Whether the storage never had a transaction with this tid, as far as it goes back now: it has
    /// none, and no pack can have removed it. Who has seen one has seen what was lost, as by the
    /// restoration of a backup. False where that can't be told.
    ///
    /// # Errors
    ///
    /// The storage can't be read.
    fn lacks(&self, tid: Tid) -> Result<bool> {
        let _ = tid;
        Ok(false)
    }

    /// An oid never used or given out before, by anybody.
    ///
    /// # Errors
    ///
    /// `ReadOnly`; `Value` when all have been given out.
    fn new_oid(&self) -> Result<Oid>;
    /// Step 1 of a commit. The locks of all objects that `ops` touch are held
    /// from before this call until the transaction is published or dropped,
    /// against the other clients of this server; a storage that others change
    /// sees to them itself, here or in [`Self::append`]. `ops` may be slow
    /// (from a file) and is consumed.
    ///
    /// # Errors
    ///
    /// That of an item of `ops`. `ReadOnly` and `Latched`. `Conflict`,
    /// `ReadConflict`, `Undo`: the transaction may be tried again from its
    /// beginning. `Value`, `Unsupported`, `NoObject`, `Quota`,
    /// `Compressed`: this transaction can't be committed. `Transaction`
    /// for a storage that is closed. In all cases nothing of it is left.
    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote>;
    /// Step 2: makes the transactions durable, in this order, or refuses
    /// single ones.
    ///
    /// For a storage that gives the tids itself, [`Commit::tid`] means nothing
    /// when this is called (the server leaves it zero, also if the client
    /// insists on one); it sets the tids of those that it does not refuse, in
    /// any order. Others may commit between
    /// those of one batch: what they have changed comes along in
    /// [`Appended::outside`], see [`outside`].
    ///
    /// # Errors
    ///
    /// No transaction of the batch is in the storage, and no tid is used up.
    /// `Latched` is among the reasons, and any other error when
    /// [`Self::latched`] tells of it from now on. If it does not, each
    /// transaction may be tried again alone (the file of a blob could not be
    /// given its name, say). Only `Unsettled` means that nobody knows whether
    /// they are in it: their clients are closed without an answer, and if it
    /// turns out later that one is in the storage, it is reported as
    /// [`OutsideChange::Transaction`].
    fn append(&self, batch: &mut [Commit]) -> Result<Appended>;
    /// Step 3, for each of the batch that was not refused, in order. Memory
    /// only, can't fail.
    fn publish(&self, commit: &Commit);
    /// The source of changes by others; `None` when nobody else changes the
    /// storage. Always the same.
    fn outside(&self) -> Option<&dyn Outside> {
        None
    }

    /// For a copy from another storage: what writes more quickly than a commit of each transaction;
    /// `None` if nothing does. Before the storage is served.
    ///
    /// # Errors
    ///
    /// `ReadOnly`; `Unavailable` if somebody else packs, undoes or copies.
    fn bulk(&self) -> Result<Option<Box<dyn Bulk + '_>>> {
        Ok(None)
    }

    /// Where the files of blobs are kept, for uploads; `None`: there are no
    /// blobs. Always the same.
    fn blobs(&self) -> Option<&BlobDirectory> {
        None
    }
    /// The file of a committed blob.
    ///
    /// # Errors
    ///
    /// `NoBlob` when there is none; `Unsupported` without blobs.
    fn load_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        let _ = (oid, serial);
        Err(no_blobs())
    }

    /// Removes revisions that were not current any more at `time` (seconds
    /// since 1970), and with `gc` objects that could not be reached then;
    /// with `None`, the storage's own setting decides. Loads and
    /// commits go on meanwhile. Succeeds without doing anything when there is
    /// nothing to remove.
    ///
    /// # Errors
    ///
    /// `Pack` when it can't begin, `Value` for an impossible time, `ReadOnly`,
    /// `Unsupported`; `Dangling` and others when it can't go on. The data are
    /// as before then.
    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()>;
    /// The progress of the pack that is running, if any.
    fn packing(&self) -> Option<PackProgress> {
        None
    }
    /// Ends the pack that is running as soon as possible: it fails with
    /// `Cancelled`, and the data are as before. False when none is running,
    /// or it can't be ended.
    fn cancel_pack(&self) -> bool {
        false
    }

    /// Saves what makes the next start quick (the index), from any thread.
    ///
    /// # Errors
    ///
    /// The index can't be written. The data are not affected.
    fn save_index(&self) -> Result<()>;
    /// Ends the use of the storage: saves the index, releases the lock file.
    /// Nothing may be in flight.
    ///
    /// # Errors
    ///
    /// Something can't be written. The storage is closed all the same.
    fn close(&self) -> Result<()>;
}
