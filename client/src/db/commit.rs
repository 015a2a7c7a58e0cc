//! What a transaction sends when it commits.
//!
//! As ZODB does it: the changed objects in the order in which they were first changed, and behind
//! each the new ones that it leads to, the last found first; new oids in the order in which the
//! references are written. Then the checks of what was read, but not of what is stored.

use std::collections::HashSet;

use bytes::Bytes;
use zeo_proto::{Oid, Tid};
use zeo_storage::log::Level;

use super::changes::Changed;
use super::error::{Error, Result};
use super::transaction::Transaction;
use crate::client_storage::{Error as StorageError, Tpc};

impl Transaction<'_> {
    /// Commits: stores what was changed, and gives the tid. `None`: nothing was changed, and the
    /// server was not asked.
    ///
    /// # Errors
    /// `Conflict` and `ReadConflict` if others have changed the same objects meanwhile: make the
    /// transaction again, or let [`Db::transact`](super::Db::transact) do it. `OutcomeUnknown` if the
    /// connection is lost during the last step. [`Error::Encode`]. In all cases the changes are
    /// gone.
    pub fn commit(self) -> Result<Option<Tid>> {
        self.send()
    }

    /// Commits, and leaves the transaction to be asked why that failed.
    pub(super) fn send(&self) -> Result<Option<Tid>> {
        self.flush_trees()?;
        if !self.is_changed() {
            return Ok(None);
        }
        let storage = &self.connection.db.storage;
        let meta = self.meta.borrow().clone();
        let begun = storage.begin_marked(meta);
        let mut tpc = begun.map_err(|error| self.noted(error))?;
        let mut stored = Vec::new();
        self.store(&mut tpc, &mut stored)?;
        let voted = tpc.vote();
        let resolved = voted.map_err(|error| self.refused(error))?;
        let finished = tpc.finish();
        let tid = finished.map_err(|error| self.noted(error))?;
        let mut cache = self.connection.cache.borrow_mut();
        for (oid, bytes) in stored {
            cache.insert(oid, bytes, tid, false);
        }
        for oid in resolved {
            cache.remove(oid);
        }
        Ok(Some(tid))
    }

    /// Sends all changes, and keeps what was sent.
    fn store(&self, tpc: &mut Tpc<'_>, stored: &mut Vec<(Oid, Bytes)>) -> Result<()> {
        let registered = self.changes.borrow().registered().to_vec();
        let mut sent = HashSet::new();
        for oid in registered {
            let mut waiting = vec![oid];
            while let Some(oid) = waiting.pop() {
                if sent.insert(oid) {
                    let bytes = self.store_one(tpc, oid, &mut waiting)?;
                    stored.push((oid, bytes));
                }
            }
        }
        for &(oid, serial) in self.changes.borrow().to_check() {
            if !sent.contains(&oid) {
                let checked = tpc.check_current(oid, serial);
                checked.map_err(|error| self.noted(error))?;
            }
        }
        Ok(())
    }

    /// Sends an object. The new ones that it refers to get their oids, and wait to be sent.
    fn store_one(&self, tpc: &mut Tpc<'_>, oid: Oid, waiting: &mut Vec<Oid>) -> Result<Bytes> {
        let changed = self.changes.borrow().get(oid).cloned();
        let Some(Changed {
            record: Some(record),
            serial,
            blob,
        }) = changed
        else {
            return Err(Error::BeingChanged { oid });
        };
        let mut failed = None;
        let mut is_stale = false;
        let encoded = record.encode_with(&mut |oid| {
            let oid = self.changes.borrow().actual(oid);
            if !self.changes.borrow().is_new(oid) {
                is_stale |= self.changes.borrow().is_elsewhere(oid);
                return oid;
            }
            match self.connection.db.storage.new_oid() {
                Ok(new) => {
                    self.changes.borrow_mut().give(oid, new);
                    waiting.push(new);
                    new
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    oid
                }
            }
        });
        if let Some(error) = failed {
            return Err(self.noted(error));
        }
        if is_stale {
            return Err(Error::NewElsewhere { oid });
        }
        let data = encoded.map_err(|why| Error::Encode { oid, why })?;
        if data.len() >= self.connection.db.sizes.large_record {
            self.warn_of_large(oid, &record.class_name(), data.len());
        }
        let bytes = Bytes::copy_from_slice(&data);
        let sent = match blob {
            Some(file) => tpc.store_blob(oid, serial, data, &file),
            None => tpc.store(oid, serial, data),
        };
        sent.map_err(|error| self.noted(error))?;
        Ok(bytes)
    }

    /// As ZODB does. The transaction goes on.
    fn warn_of_large(&self, oid: Oid, class: &str, bytes: usize) {
        let text = format!(
            "object {oid} of class {class} has a record of {bytes} bytes, which every change stores \
             and every load reads as a whole: keep large data in blobs, or make large-record-size larger"
        );
        self.connection.db.storage.log(Level::Warning, &text);
    }

    /// Why the vote has failed. What stood in the way must be loaded again.
    fn refused(&self, error: StorageError) -> Error {
        if let StorageError::Conflict(conflict) | StorageError::ReadConflict(conflict) = &error
            && let Some(oid) = conflict.oid
        {
            self.connection.cache.borrow_mut().remove(oid);
        }
        self.noted(error)
    }
}
