//! A transaction: what it sees, and what it changes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use zeo_proto::{Oid, Tid};
use zeo_storage::storage::TransactionMeta;

use super::changes::Changes;
use super::database::Connection;
use super::error::{Error, Result};
use crate::btrees::Forest;
use crate::client_storage::{Conflict, Error as StorageError};
use crate::record::Record;

/// A transaction: a view of the database as it was when it began, and the changes made to it.
///
/// Nothing is sent before [`Transaction::commit`]; a transaction that is dropped has changed
/// nothing. Objects are had by reference and by oid; an [`Object`](super::Object) is a handle, and all handles of
/// one object are the same object.
pub struct Transaction<'c> {
    pub(super) connection: &'c Connection,
    /// It sees what was committed before this.
    pub(super) before: Tid,
    pub(super) changes: RefCell<Changes>,
    /// The nodes of trees, and their changes, as long as they are not among `changes`.
    pub(super) forest: RefCell<Forest>,
    pub(super) meta: RefCell<TransactionMeta>,
    /// Whether something failed that may succeed in another transaction, tried at once.
    retryable: Cell<bool>,
    /// What its savepoints have a clone of.
    pub(super) identity: Arc<()>,
}

impl Connection {
    /// Begins a transaction, which sees the database as it is now, whatever others commit
    /// meanwhile.
    ///
    /// # Errors
    /// Only of a storage with `server_sync`: those of
    /// [`ClientStorage::sync`](crate::ClientStorage::sync).
    pub fn begin(&mut self) -> Result<Transaction<'_>> {
        self.db.storage.sync()?;
        let before = self.advance();
        Ok(Transaction::new(self, before))
    }
}

impl<'c> Transaction<'c> {
    fn new(connection: &'c Connection, before: Tid) -> Self {
        Self {
            connection,
            before,
            changes: RefCell::default(),
            forest: RefCell::default(),
            meta: RefCell::default(),
            retryable: Cell::new(false),
            identity: Arc::default(),
        }
    }

    /// The objects that will be read soon: they are asked for at once, and not waited for.
    pub fn prefetch(&self, oids: impl IntoIterator<Item = Oid>) {
        let mut cache = self.connection.cache.borrow_mut();
        let missing = oids.into_iter().filter(|&oid| cache.get(oid).is_none());
        let missing: Vec<Oid> = missing.collect();
        if !missing.is_empty() {
            let storage = &self.connection.db.storage;
            storage.prefetch(&missing, self.before);
        }
    }

    /// It sees all that was committed before this tid.
    pub fn before(&self) -> Tid {
        self.before
    }

    /// Whether there is something to be stored.
    pub fn is_changed(&self) -> bool {
        !self.changes.borrow().is_empty() || self.forest.borrow().is_changed()
    }

    /// Who makes the changes, for the history (Zope has a path before it: `/acl_users jane`).
    pub fn set_user(&self, user: &str) {
        self.meta.borrow_mut().user = user.into();
    }

    /// What the changes are, for the history; each call adds a line.
    pub fn note(&self, text: &str) {
        let mut meta = self.meta.borrow_mut();
        if !meta.description.is_empty() {
            meta.description.push(b'\n');
        }
        meta.description.extend(text.bytes());
    }

    /// Takes the changes back. (So does dropping it.)
    pub fn abort(self) {}

    /// Whether something has failed that may succeed in another transaction.
    pub(super) fn failed_retryably(&self) -> bool {
        self.retryable.get()
    }

    /// The same error, noted.
    pub(super) fn noted<E: Into<Error>>(&self, error: E) -> Error {
        let error = error.into();
        if error.is_tried_again() {
            self.retryable.set(true);
        }
        error
    }

    /// An object as this transaction sees it.
    pub(super) fn read(&self, oid: Oid) -> Result<Arc<Record>> {
        self.flush_tree(oid)?;
        if let Some(changed) = self.changes.borrow().get(oid) {
            let record = changed.record.clone();
            return record.ok_or(Error::BeingChanged { oid });
        }
        let bytes = match self.connection.cache.borrow_mut().get(oid) {
            Some(entry) => match &entry.record {
                Some(record) => return Ok(Arc::clone(record)),
                None => Some(entry.bytes.clone()),
            },
            None => None,
        };
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => self.load(oid)?.0,
        };
        let record = Arc::new(decode(oid, bytes)?);
        if let Some(entry) = self.connection.cache.borrow_mut().get(oid) {
            entry.record = Some(Arc::clone(&record));
        }
        Ok(record)
    }

    /// The bytes of an object in the database, and its serial.
    pub(super) fn load(&self, oid: Oid) -> Result<(Bytes, Tid)> {
        if let Some(entry) = self.connection.cache.borrow_mut().get(oid) {
            return Ok((entry.bytes.clone(), entry.serial));
        }
        let storage = &self.connection.db.storage;
        let loaded = storage.load_before(oid, self.before);
        let Some(revision) = loaded.map_err(|error| self.noted(error))? else {
            let conflict = Conflict {
                message: "the object is younger than the transaction, or what it would see was packed away"
                    .to_owned(),
                oid: Some(oid),
                class: None,
                serials: None,
                reason: None,
            };
            return Err(self.noted(StorageError::ReadConflict(Box::new(conflict))));
        };
        let (buffer, start) = revision.data.into_buffer();
        let mut bytes = Bytes::from(buffer);
        bytes = bytes.split_off(start.min(bytes.len()));
        let mut cache = self.connection.cache.borrow_mut();
        cache.insert(oid, bytes.clone(), revision.serial, revision.next.is_some());
        Ok((bytes, revision.serial))
    }

    /// Changes an object. A change that fails may have changed it in part.
    pub(super) fn edit<R>(
        &self,
        oid: Oid,
        change: impl FnOnce(&mut Record) -> Result<R>,
    ) -> Result<R> {
        self.flush_tree(oid)?;
        if self.changes.borrow().get(oid).is_none() {
            let (bytes, serial) = self.load(oid)?;
            // Decoded anew: who has read it keeps what he read, also of values in several places.
            let record = Arc::new(decode(oid, bytes)?);
            self.changes.borrow_mut().register(oid, record, serial);
        }
        let mut taken = Taken::of(self, oid)?;
        change(Arc::make_mut(&mut taken.record))
    }

    pub(super) fn encode(&self, oid: Oid, record: &Record) -> Result<Bytes> {
        let mut is_stale = false;
        let encoded = record.encode_with(&mut |to| {
            is_stale |= self.changes.borrow().is_elsewhere(to);
            to
        });
        if is_stale {
            return Err(Error::NewElsewhere { oid });
        }
        encoded
            .map(Bytes::from)
            .map_err(|why| Error::Encode { oid, why })
    }
}

/// A record that is out of the changes to be changed. It goes back also when that panics.
struct Taken<'t> {
    transaction: &'t Transaction<'t>,
    oid: Oid,
    record: Arc<Record>,
}

impl<'t> Taken<'t> {
    fn of(transaction: &'t Transaction<'t>, oid: Oid) -> Result<Self> {
        let mut changes = transaction.changes.borrow_mut();
        let taken = changes.get_mut(oid).and_then(|object| object.record.take());
        let record = taken.ok_or(Error::BeingChanged { oid })?;
        Ok(Self {
            transaction,
            oid,
            record,
        })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut changes = self.transaction.changes.borrow_mut();
        if let Some(object) = changes.get_mut(self.oid) {
            object.record = Some(Arc::clone(&self.record));
        }
    }
}

pub(super) fn decode(oid: Oid, bytes: Bytes) -> Result<Record> {
    Record::decode(bytes).map_err(|why| Error::Decode { oid, why })
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("before", &self.before)
            .field("is_changed", &self.is_changed())
            .finish_non_exhaustive()
    }
}
