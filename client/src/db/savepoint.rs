//! Savepoints: where a transaction can go back to.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use zeo_proto::{Oid, Tid};

use super::changes::Changed;
use super::error::{Error, Result};
use super::transaction::{Transaction, decode};

/// A state of a transaction's changes. It may be gone back to several times.
#[derive(Debug)]
pub struct Savepoint {
    /// Which transaction's it is.
    of: Arc<()>,
    objects: Vec<(Oid, Bytes, Tid, Option<std::path::PathBuf>)>,
    registered: Vec<Oid>,
    given: HashMap<Oid, Oid>,
    read_current: Vec<(Oid, Tid)>,
}

impl Transaction<'_> {
    /// Notes the changes so far. They are written to memory, so that all that can't be stored is
    /// found here.
    ///
    /// # Errors
    /// [`Error::Encode`]; [`Error::NewElsewhere`]; [`Error::BeingChanged`] within the change of an object.
    pub fn savepoint(&self) -> Result<Savepoint> {
        self.flush_trees()?;
        let changes = self.changes.borrow();
        let mut objects = Vec::new();
        for (oid, changed) in changes.iter() {
            let Some(record) = &changed.record else {
                return Err(Error::BeingChanged { oid });
            };
            let bytes = self.encode(oid, record)?;
            objects.push((oid, bytes, changed.serial, changed.blob.clone()));
        }
        Ok(Savepoint {
            of: Arc::clone(&self.identity),
            objects,
            registered: changes.registered().to_vec(),
            given: changes.given().clone(),
            read_current: changes.to_check().to_vec(),
        })
    }

    /// Goes back to a savepoint of this transaction: what was changed since is lost. New objects
    /// that were made since are gone.
    ///
    /// # Errors
    /// [`Error::OtherTransaction`].
    pub fn rollback(&self, savepoint: &Savepoint) -> Result<()> {
        if !Arc::ptr_eq(&savepoint.of, &self.identity) {
            return Err(Error::OtherTransaction);
        }
        let mut objects = HashMap::new();
        for (oid, bytes, serial, blob) in &savepoint.objects {
            let changed = Changed {
                record: Some(Arc::new(decode(*oid, bytes.clone())?)),
                serial: *serial,
                blob: blob.clone(),
            };
            objects.insert(*oid, changed);
        }
        let (registered, read_current) = (&savepoint.registered, &savepoint.read_current);
        self.forest.borrow_mut().clear();
        let mut changes = self.changes.borrow_mut();
        let given = savepoint.given.clone();
        changes.restore(objects, registered.clone(), given, read_current.clone());
        Ok(())
    }
}
