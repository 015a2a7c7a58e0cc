//! What can go wrong with objects.

use std::io;
use std::path::PathBuf;

use zeo_proto::Oid;

use crate::client_storage::{Disconnected, Error as StorageError};
use crate::record::{DecodeError, EncodeError};

/// A failed operation on objects.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage's: conflicts, objects that are not there, lost connections.
    #[error(transparent)]
    Storage(#[from] crate::Error),
    /// An object's record can't be read.
    #[error("object {oid}: {why}")]
    Decode {
        /// The object.
        oid: Oid,
        /// What is wrong with it.
        why: DecodeError,
    },
    /// An object's record can't be written.
    #[error("object {oid}: {why}")]
    Encode {
        /// The object.
        oid: Oid,
        /// What is wrong with it.
        why: EncodeError,
    },
    /// An object is not what it is used as.
    #[error("object {oid} of class {class} {what}")]
    Kind {
        /// The object.
        oid: Oid,
        /// Its class.
        class: String,
        /// What it is not: `has no attribute "title"`.
        what: String,
    },
    /// A reference leads into another database.
    #[error("object {oid} is in the database {database:?}")]
    OtherDatabase {
        /// The object.
        oid: Oid,
        /// The name of its database.
        database: String,
    },
    /// An operation on a tree has failed.
    #[error(transparent)]
    Tree(#[from] crate::btrees::Error),
    /// A name of a class that BTrees does not have.
    #[error("BTrees has no class {0:?}: give its name, as OOBTree or IITreeSet")]
    NoTree(String),
    /// An object is used within [`edit`](super::Object::edit) of it.
    #[error("object {oid} is being changed: use the record that the change got")]
    BeingChanged {
        /// The object.
        oid: Oid,
    },
    /// The file that a blob shall have can't be opened.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// An object refers to one that was new in another transaction, or was made since the savepoint
    /// that was gone back to.
    #[error(
        "object {oid} refers to an object that was new in another transaction, or was taken back by \
         a rollback: follow a reference to it, get it by its oid, or make it anew"
    )]
    NewElsewhere {
        /// The object that refers to it.
        oid: Oid,
    },
    /// A savepoint is one of another transaction.
    #[error("the savepoint is one of another transaction")]
    OtherTransaction,
}

impl Error {
    /// Whether the whole transaction may be tried again: after a conflict, or a lost connection.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_retryable(),
            Self::Tree(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether a transaction that has failed with this is made again. Not if there was no
    /// connection for as long as the settings say.
    pub(super) fn is_tried_again(&self) -> bool {
        let timed_out = matches!(
            self,
            Self::Storage(StorageError::Disconnected {
                why: Disconnected::TimedOut { .. },
                ..
            })
        );
        self.is_retryable() && !timed_out
    }
}

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;
