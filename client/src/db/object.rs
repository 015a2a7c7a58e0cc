//! A handle of an object.

use std::fmt;
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::error::{Error, Result};
use super::transaction::Transaction;
use crate::record::{Class, Record, Reference, Value};

/// An object of the database, in a transaction. It is loaded when it is first used.
///
/// This is a handle: a clone is the same object.
#[derive(Clone)]
pub struct Object<'t> {
    pub(super) transaction: &'t Transaction<'t>,
    pub(super) oid: Oid,
    /// The class, as it stands in references: not of those that have `__getnewargs__`.
    class: Option<Class>,
}

impl<'t> Object<'t> {
    pub(super) fn new(transaction: &'t Transaction<'t>, oid: Oid, class: Option<Class>) -> Self {
        Self {
            transaction,
            oid,
            class,
        }
    }

    /// The oid. A new object gets one now, and is stored even if nothing refers to it (as by
    /// Python's `Connection.add`).
    ///
    /// # Errors
    /// The server gives none.
    pub fn oid(&self) -> Result<Oid> {
        let oid = self.transaction.changes.borrow().actual(self.oid);
        if !self.transaction.changes.borrow().is_new(oid) {
            return Ok(oid);
        }
        let storage = &self.transaction.connection.db.storage;
        let new = storage.new_oid();
        let new = new.map_err(|error| self.transaction.noted(error))?;
        let mut changes = self.transaction.changes.borrow_mut();
        changes.give(oid, new);
        changes.register_given(new);
        Ok(new)
    }

    /// The dotted name of the class.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn class_name(&self) -> Result<String> {
        match &self.class {
            Some(class) => Ok(class.to_string()),
            None => Ok(self.record()?.class_name()),
        }
    }

    /// Whether it is of the class of this dotted name.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn is_a(&self, class: &str) -> Result<bool> {
        Ok(self.class_name()? == class)
    }

    /// The record, as it is now: later changes are not seen there.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn record(&self) -> Result<Arc<Record>> {
        self.transaction.read(self.oid)
    }

    /// The transaction that has written the object; zero for a new one.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn serial(&self) -> Result<Tid> {
        if let Some(changed) = self.transaction.changes.borrow().get(self.oid) {
            return Ok(changed.serial);
        }
        Ok(self.transaction.load(self.oid)?.1)
    }

    /// An attribute.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn get(&self, name: &str) -> Result<Option<Value>> {
        Ok(self.record()?.get(name).cloned())
    }

    /// The object that an attribute refers to.
    ///
    /// # Errors
    /// [`Error::Kind`] if it has no such attribute, or that is no reference; and as of
    /// [`Transaction::follow`].
    pub fn follow(&self, name: &str) -> Result<Object<'t>> {
        let value = self.get(name)?;
        match value.as_ref().and_then(Value::as_reference) {
            Some(reference) => self.transaction.follow(reference),
            None => match value {
                None => Err(self.is_not(format!("has no attribute {name:?}"))),
                Some(value) => {
                    let kind = value.look().kind();
                    Err(self.is_not(format!("has {kind} as {name:?}, not a reference")))
                }
            },
        }
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// [`Error::Kind`] if its state has no attributes; and as of [`Transaction::get`].
    pub fn set(&self, name: &str, value: impl Into<Value>) -> Result<()> {
        if self.edit(|record| record.set(name, value))? {
            Ok(())
        } else {
            Err(self.is_not("has no attributes".to_owned()))
        }
    }

    /// Takes an attribute out.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn remove(&self, name: &str) -> Result<Option<Value>> {
        self.edit(|record| record.remove(name))
    }

    /// Changes the object. It is stored by the commit, whatever was changed.
    ///
    /// # Errors
    /// As of [`Transaction::get`]; [`Error::BeingChanged`] within another change of it.
    pub fn edit<R>(&self, change: impl FnOnce(&mut Record) -> R) -> Result<R> {
        self.transaction.edit(self.oid, |record| Ok(change(record)))
    }

    /// Stores the object as it is: Python's `_p_changed = True`.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn touch(&self) -> Result<()> {
        self.edit(|_| ())
    }

    /// Whether the transaction has changed it, or made it.
    pub fn is_changed(&self) -> bool {
        self.transaction.changes.borrow().get(self.oid).is_some()
    }

    /// The transaction is committed only if nobody has changed this object meanwhile: for objects
    /// that are only read, on which the changes depend (Python's `Connection.readCurrent`).
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn read_current(&self) -> Result<()> {
        let serial = self.serial()?;
        if serial > Tid::ZERO {
            let mut changes = self.transaction.changes.borrow_mut();
            changes.read_current(self.oid, serial);
        }
        Ok(())
    }

    /// A reference to it, for the state of another object.
    pub fn reference(&self) -> Reference {
        Reference::new(self.oid, self.class.clone())
    }

    pub(super) fn is_not(&self, what: String) -> Error {
        Error::Kind {
            oid: self.oid,
            class: self.class_name().unwrap_or_else(|_| "?".to_owned()),
            what,
        }
    }
}

/// The same object of the same transaction.
impl PartialEq for Object<'_> {
    fn eq(&self, other: &Self) -> bool {
        let changes = self.transaction.changes.borrow();
        std::ptr::eq(self.transaction, other.transaction)
            && changes.actual(self.oid) == changes.actual(other.oid)
    }
}

impl From<&Object<'_>> for Value {
    /// A reference to it.
    fn from(object: &Object<'_>) -> Self {
        object.reference().into()
    }
}

impl From<Object<'_>> for Value {
    /// A reference to it.
    fn from(object: Object<'_>) -> Self {
        object.reference().into()
    }
}

impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({}", self.oid)?;
        if let Some(class) = &self.class {
            write!(f, ", {class}")?;
        }
        f.write_str(")")
    }
}
