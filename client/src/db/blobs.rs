//! Blobs: objects of the class `ZODB.blob.Blob`, whose data is a file.

use std::fs::File;
use std::path::PathBuf;

use super::error::{Error, Result};
use super::object::Object;
use super::transaction::Transaction;
use crate::record::{Class, Value};

const BLOB: Class = Class::from_static("ZODB.blob", "Blob");

impl Transaction<'_> {
    /// A new blob with the content of a file, which is moved away when the transaction commits. It
    /// is stored if an object that is stored refers to it.
    ///
    /// Whether the commit succeeds or not, the file is gone then; so make it within the work that
    /// [`Db::transact`](super::Db::transact) may do again. In a transaction that ends before, as by
    /// an error or a lost connection, it stays: make it in a directory that is removed at the end.
    pub fn new_blob(&self, file: impl Into<PathBuf>) -> Object<'_> {
        let blob = self.new_object(BLOB, Value::None);
        if let Some(changed) = self.changes.borrow_mut().get_mut(blob.oid) {
            changed.blob = Some(file.into());
        }
        blob
    }
}

impl Object<'_> {
    /// Opens the file of a blob, for reading.
    ///
    /// # Errors
    /// [`Error::Kind`] if it is no blob; as of
    /// [`ClientStorage::open_blob`](crate::ClientStorage::open_blob).
    pub fn open_blob(&self) -> Result<File> {
        self.must_be_a_blob()?;
        let changed = self.transaction.changes.borrow().get(self.oid).cloned();
        if let Some(path) = changed.and_then(|changed| changed.blob) {
            return File::open(&path).map_err(|why| Error::File { path, why });
        }
        let serial = self.serial()?;
        let storage = &self.transaction.connection.db.storage;
        let opened = storage.open_blob(self.oid()?, serial);
        opened.map_err(|error| self.transaction.noted(error))
    }

    /// Gives a blob the content of a file, as [`Transaction::new_blob`] does.
    ///
    /// # Errors
    /// [`Error::Kind`] if it is no blob; and as of [`Transaction::get`].
    pub fn set_blob(&self, file: impl Into<PathBuf>) -> Result<()> {
        self.must_be_a_blob()?;
        self.touch()?;
        if let Some(changed) = self.transaction.changes.borrow_mut().get_mut(self.oid) {
            changed.blob = Some(file.into());
        }
        Ok(())
    }

    fn must_be_a_blob(&self) -> Result<()> {
        match self.record()?.class() {
            Some(class) if *class == BLOB => Ok(()),
            _ => Err(self.is_not("is no blob".to_owned())),
        }
    }
}
