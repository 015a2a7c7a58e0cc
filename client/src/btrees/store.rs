//! What trees need of a transaction.

use bytes::Bytes;
use zeo_proto::Oid;

use crate::Error;
use crate::record::Record;

/// Where the records of nodes are, and where they go: a transaction.
pub trait Nodes {
    /// The record of an object, as this transaction sees it.
    ///
    /// # Errors
    /// It could not be read, or there is none.
    fn read(&self, oid: Oid) -> Result<Bytes, Error>;

    /// Takes the new record of an object, to be stored by the transaction.
    ///
    /// # Errors
    /// The transaction takes no more changes.
    fn write(&self, oid: Oid, record: Record) -> Result<(), Error>;

    /// An oid for a new object.
    ///
    /// # Errors
    /// None could be had.
    fn allocate(&self) -> Result<Oid, Error>;

    /// The transaction is to be committed only if this object has not been changed meanwhile,
    /// also if it does not change it itself. Without meaning for one that the transaction made.
    ///
    /// # Errors
    /// The object's serial could not be had.
    fn read_current(&self, oid: Oid) -> Result<(), Error>;

    /// These objects will be read soon.
    fn prefetch(&self, oids: &[Oid]);
}
