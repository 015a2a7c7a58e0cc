//! BTrees in a transaction.

use std::sync::Arc;

use bytes::Bytes;
use zeo_proto::{Oid, Tid};
use zeo_storage::btrees::Class as Known;

use super::error::{Error, Result};
use super::object::Object;
use super::transaction::Transaction;
use crate::btrees::{Length, Nodes, Tree};
use crate::client_storage::Error as StorageError;
use crate::record::{Class, Record, Value};

impl Transaction<'_> {
    /// The BTree, TreeSet, Bucket or Set of this oid.
    ///
    /// ```
    /// # use zeo_client::db::Db;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = zeo_server::serve(zeo_server::AdHoc::in_memory())?;
    /// # let storage = zeo_client::ClientStorage::builder(server.address().parse()?).open()?;
    /// # let db = Db::new(storage);
    /// db.transact(|t| {
    ///     let people = t.new_tree("OOBTree")?;
    ///     people.insert("ann", 34)?;
    ///     people.insert("bob", 27)?;
    ///     t.root()?.mapping()?.insert("people", &people)
    /// })?;
    ///
    /// let mut connection = db.connect();
    /// let t = connection.begin()?;
    /// let people = t.root()?.mapping()?.follow("people")?.tree()?;
    /// assert_eq!(people.get("bob")?, Some(27.into()));
    /// for item in people.range("a".."b")? {
    ///     let (name, age) = item?;
    ///     assert_eq!((name.as_str(), age.as_int()), (Some("ann"), Some(34)));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The object is none of these, or could not be read.
    pub fn tree(&self, oid: Oid) -> Result<Tree<'_>> {
        Ok(Tree::open(self, &self.forest, oid)?)
    }

    /// A new, empty tree of a class of BTrees, by its name: `OOBTree`, `IITreeSet`, `LOBucket`,
    /// `fsBTree`. It is stored, also if nothing refers to it.
    ///
    /// # Errors
    /// There is no such class; the server gives no oid.
    pub fn new_tree(&self, class: &str) -> Result<Tree<'_>> {
        let prefix = class.get(..2).unwrap_or_default();
        let known = match Known::named(&format!("BTrees.{prefix}BTree"), class) {
            Some(Known::Tree(tree)) if !tree.python && tree.name() == class => tree,
            _ => return Err(Error::NoTree(class.to_owned())),
        };
        let object = self.new_record(Tree::empty(known));
        self.tree(object.oid()?)
    }

    /// The `BTrees.Length.Length` of this oid.
    ///
    /// # Errors
    /// The object is none, or could not be read.
    pub fn length(&self, oid: Oid) -> Result<Length<'_>> {
        Ok(Length::open(self, oid)?)
    }

    /// A new length. It is stored, also if nothing refers to it.
    ///
    /// # Errors
    /// The server gives no oid.
    pub fn new_length(&self, number: i64) -> Result<Length<'_>> {
        let object = self.new_record(Length::record(number));
        self.length(object.oid()?)
    }

    /// Puts what was changed in trees among the changes.
    pub(super) fn flush_trees(&self) -> Result<()> {
        Ok(self.forest.borrow_mut().flush(self)?)
    }

    /// The same, if this object is a node that was changed.
    pub(super) fn flush_tree(&self, oid: Oid) -> Result<()> {
        let has_changed = self.forest.borrow().has_changed(oid);
        if has_changed {
            self.flush_trees()
        } else {
            Ok(())
        }
    }
}

impl<'t> Object<'t> {
    /// The object as a tree: a BTree, TreeSet, Bucket or Set.
    ///
    /// # Errors
    /// As of [`Transaction::tree`].
    pub fn tree(&self) -> Result<Tree<'t>> {
        self.transaction.tree(self.oid()?)
    }

    /// The object as a `BTrees.Length.Length`.
    ///
    /// # Errors
    /// As of [`Transaction::length`].
    pub fn length(&self) -> Result<Length<'t>> {
        self.transaction.length(self.oid()?)
    }
}

impl From<&Tree<'_>> for Value {
    /// A reference to it.
    fn from(tree: &Tree<'_>) -> Self {
        Value::Reference(Box::new(tree.reference()))
    }
}

impl From<&Length<'_>> for Value {
    /// A reference to it.
    fn from(length: &Length<'_>) -> Self {
        Value::Reference(Box::new(length.reference()))
    }
}

impl Nodes for Transaction<'_> {
    fn read(&self, oid: Oid) -> Result<Bytes, StorageError> {
        if let Some(changed) = self.changes.borrow().get(oid) {
            let record = changed.record.as_ref();
            let record = record.ok_or_else(|| failed(&Error::BeingChanged { oid }))?;
            let bytes = record.encode();
            return bytes
                .map(Bytes::from)
                .map_err(|why| failed(&Error::Encode { oid, why }));
        }
        let loaded = self.load(oid).map(|(bytes, _)| bytes);
        loaded.map_err(storage_error)
    }

    fn write(&self, oid: Oid, record: Record) -> Result<(), StorageError> {
        let record = Arc::new(record);
        if let Some(changed) = self.changes.borrow_mut().get_mut(oid) {
            changed.record = Some(record);
            return Ok(());
        }
        let (_, serial) = self.load(oid).map_err(storage_error)?;
        self.changes.borrow_mut().register(oid, record, serial);
        Ok(())
    }

    fn allocate(&self) -> Result<Oid, StorageError> {
        let new = self.connection.db.storage.new_oid();
        let oid = new.map_err(|error| storage_error(self.noted(error)))?;
        // What is written there follows.
        let none = Arc::new(Record::new(Class::from_static("", ""), Value::None));
        self.changes.borrow_mut().register(oid, none, Tid::ZERO);
        Ok(oid)
    }

    fn read_current(&self, oid: Oid) -> Result<(), StorageError> {
        let changed = self.changes.borrow().get(oid).map(|changed| changed.serial);
        let serial = match changed {
            Some(serial) => serial,
            None => self.load(oid).map_err(storage_error)?.1,
        };
        if serial != Tid::ZERO {
            self.changes.borrow_mut().read_current(oid, serial);
        }
        Ok(())
    }

    fn prefetch(&self, oids: &[Oid]) {
        Transaction::prefetch(self, oids.iter().copied());
    }
}

fn storage_error(error: Error) -> StorageError {
    match error {
        Error::Storage(error) => error,
        other => failed(&other),
    }
}

fn failed(error: &Error) -> StorageError {
    StorageError::Transaction(error.to_string())
}
