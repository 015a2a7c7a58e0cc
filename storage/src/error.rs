//! What can go wrong in a storage, in the terms of ZODB's exceptions.

use std::io;
use std::path::PathBuf;

use zeo_proto::{Oid, Tid};

/// The result of a storage operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed storage operation. The server maps each kind to the Python
/// exception that clients expect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such object, or no revision that answers (`POSKeyError`).
    #[error("there is no object {0}, or it has no such revision")]
    NoObject(Oid),
    /// A blob whose file is missing (`POSKeyError`).
    #[error("No blob file at {}", .path.display())]
    NoBlob {
        /// The object.
        oid: Oid,
        /// Where its file was looked for.
        path: PathBuf,
    },
    /// A store met a revision that the transaction did not see
    /// (`ConflictError`).
    #[error(
        "object {} was changed by transaction {}, while this one read {}",
        .0.oid, .0.committed, .0.read
    )]
    Conflict(Box<Conflict>),
    /// `checkCurrentSerialInTransaction` met another revision
    /// (`ReadConflictError`).
    #[error("object {oid} was expected at {read} and is at {committed}")]
    ReadConflict {
        /// The object.
        oid: Oid,
        /// Its committed serial.
        committed: Tid,
        /// The serial that the transaction read.
        read: Tid,
    },
    /// The storage takes no writes (`ReadOnlyError`).
    #[error("the storage is read-only")]
    ReadOnly,
    /// A transaction that can't be undone (`UndoError`, or
    /// `MultipleUndoErrors` when there are objects with reasons).
    #[error("{reason}")]
    Undo {
        /// Why, for people.
        reason: String,
        /// The object that stands in the way, if one does.
        oid: Option<Oid>,
        /// Every object that could not be undone, with its reason; empty
        /// for a failure that is not about objects.
        failures: Vec<(Oid, String)>,
        /// Those of the objects that were changed since, and could not be
        /// merged: the data is what undo would have brought back.
        conflicts: Vec<Conflict>,
    },
    /// A call in the wrong state (`StorageTransactionError`).
    #[error("{0}")]
    Transaction(String),
    /// An argument that the storage can't take (`builtins.ValueError`).
    #[error("{0}")]
    Value(String),
    /// The quota of the storage is used up (`FileStorageQuotaError`).
    #[error("the storage quota of {quota} bytes has been exceeded")]
    Quota {
        /// The configured size, in bytes.
        quota: u64,
    },
    /// A pack that can't begin (`FileStorageError`).
    #[error("{0}")]
    Pack(String),
    /// Something the storage does not do (`ZODB.POSException.Unsupported`).
    #[error("{0}")]
    Unsupported(String),
    /// The file holds what it must not (`CorruptedError`).
    #[error("{} is damaged at position {position}: {what}", .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes.
        position: u64,
        /// What is wrong there.
        what: String,
    },
    /// A record that begins as a compressed one and is none, or holds too
    /// much (`zlib.error`).
    #[error("the record of object {oid} in transaction {serial} can't be decompressed: {source}")]
    Compressed {
        /// The object.
        oid: Oid,
        /// The transaction that wrote it, or of a record that is to be
        /// stored, the one that it was made from.
        serial: Tid,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A pack met a reference to an object that does not exist (`KeyError`).
    #[error(
        "{} can't be packed: there is no object {oid}{}",
        .file.display(),
        .from.map(|from| format!(", to which the record at {from} refers")).unwrap_or_default()
    )]
    Dangling {
        /// The file.
        file: PathBuf,
        /// The object that does not exist, at the pack time.
        oid: Oid,
        /// The position of a record that refers to it; `None` for the root.
        from: Option<u64>,
    },
    /// The disk failed or is full.
    #[error("{doing} {}: {source}", .file.display())]
    Io {
        /// What was being done, as "reading" or "writing".
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An earlier write failed, so nothing is written any more.
    #[error("the storage stopped writing after an error: {0}")]
    Latched(String),
}

/// One object in conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The object.
    pub oid: Oid,
    /// The serial that is committed.
    pub committed: Tid,
    /// The serial that the transaction started from.
    pub read: Tid,
    /// The record that could not be stored (empty for a deletion).
    pub data: Vec<u8>,
    /// Why it was not resolved, for logs; `None` if that was not tried.
    pub reason: Option<String>,
}

impl Error {
    /// The same error, which names the object that could not be read if it is
    /// about the file.
    pub(crate) fn of_object(self, oid: Oid) -> Self {
        match self {
            Self::Corrupt {
                file,
                position,
                what,
            } => Self::Corrupt {
                file,
                position,
                what: format!("{what} (reading object {oid})"),
            },
            Self::Io {
                doing,
                file,
                source,
            } => Self::Io {
                doing,
                file,
                source: io::Error::new(source.kind(), format!("{source} (object {oid})")),
            },
            other => other,
        }
    }

    /// True when the transaction, not the storage, is at fault, and doing it
    /// again may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Conflict(_) | Error::ReadConflict { .. })
    }
}
