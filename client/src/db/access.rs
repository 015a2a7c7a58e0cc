//! How a transaction gives objects.

use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::changes::Changes;
use super::error::{Error, Result};
use super::object::Object;
use super::transaction::Transaction;
use crate::client_storage::Error as StorageError;
use crate::record::{Class, Dict, Record, Reference, Value};

/// The class of ZODB's root object, and of most mappings.
pub(super) const MAPPING: Class = Class::from_static("persistent.mapping", "PersistentMapping");

impl Transaction<'_> {
    /// The root object, a `PersistentMapping`. In an empty database there is a new one, which is
    /// stored when it is changed.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn root(&self) -> Result<Object<'_>> {
        match self.get(Oid::ZERO) {
            Err(Error::Storage(StorageError::NoObject { .. })) => {
                let empty = Dict::from([("data", Dict::new())]);
                let bytes = self.encode(Oid::ZERO, &Record::new(MAPPING, empty))?;
                let mut cache = self.connection.cache.borrow_mut();
                cache.insert(Oid::ZERO, bytes, Tid::ZERO, true);
                Ok(Object::new(self, Oid::ZERO, Some(MAPPING)))
            }
            root => root,
        }
    }

    /// The object of this oid.
    ///
    /// # Errors
    /// `NoObject` if there is none; `ReadConflict` if it is younger, or what this transaction would see of it was
    /// packed away; [`Error::Decode`].
    pub fn get(&self, oid: Oid) -> Result<Object<'_>> {
        let record = self.read(oid)?;
        let class = record.class().filter(|_| record.args.is_none());
        Ok(Object::new(self, oid, class.cloned()))
    }

    /// The object that a reference leads to. It is loaded when it is used.
    ///
    /// # Errors
    /// [`Error::OtherDatabase`]; what [`get`](Self::get) fails with, if the reference has no class.
    pub fn follow(&self, reference: &Reference) -> Result<Object<'_>> {
        if let Some(database) = &reference.database {
            return Err(Error::OtherDatabase {
                oid: reference.oid,
                database: database.to_string(),
            });
        }
        match &reference.class {
            Some(class) => Ok(Object::new(self, reference.oid, Some(class.clone()))),
            None => self.get(reference.oid),
        }
    }

    /// A new object. It is stored if an object that is stored refers to it.
    pub fn new_object(&self, class: Class, state: impl Into<Value>) -> Object<'_> {
        self.new_record(Record::new(class, state))
    }

    /// A new object, of any class.
    pub fn new_record(&self, record: Record) -> Object<'_> {
        let class = record.class().filter(|_| record.args.is_none()).cloned();
        let mut changes = self.changes.borrow_mut();
        let oid = Changes::next_new();
        changes.put(oid, Arc::new(record), Tid::ZERO);
        Object::new(self, oid, class)
    }
}
