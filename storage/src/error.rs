//! What can go wrong in a storage, in the terms of ZODB's exceptions.

use std::io;
use std::path::{Path, PathBuf};

use zeo_proto::{Exception, Oid, Tid};

use crate::conflict::DecidedBy;

/// The result of a storage operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed storage operation. [`exceptions`](crate::exceptions) maps each kind
/// to the exception of Python's storages, and back.
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
        /// The transaction that should have written it.
        serial: Tid,
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
    #[error("object {oid} was read at {read}, but its current revision is {committed}")]
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
    /// What a FileStorage refuses: a user name, description or extension that
    /// is too long for the file, a pack that can't begin (`FileStorageError`).
    #[error("{0}")]
    FileStorage(String),
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
    /// What a server has raised that is none of these, as it is.
    #[error("{0}")]
    Raised(Box<Exception>),
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
    /// An [`Observer`](crate::observer::Observer) wanted the work to stop.
    #[error("cancelled")]
    Cancelled,
    /// Packs have put other files in the place of one that was read, each time
    /// that it was tried.
    #[error("packs replaced the file again and again while it was being read")]
    Replaced {
        /// The name that they have.
        file: PathBuf,
    },
    /// A file that is to be replaced is that of a storage that is open.
    #[error("{} is in use: stop its server first", .file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// What the storage keeps its data in can't be reached now, and may be
    /// later (`ReadConflictError`, since clients try such a transaction again, and
    /// would not after the server's `ClientDisconnected`).
    #[error("{0}")]
    Unavailable(String),
    /// It is not known whether the transaction is committed. Nobody is told:
    /// its client is closed.
    #[error("it is not known whether the transaction is committed: {0}")]
    Unsettled(String),
    /// A database that the storage keeps its data in refuses something (`StorageSystemError`).
    #[error("{0}")]
    Database(String),
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
    /// The record that could not be stored (empty for a deletion, and where another server has found
    /// the conflict).
    pub data: Vec<u8>,
    /// The dotted name of its class, as that server tells it; `None`: the record tells it.
    pub class: Option<String>,
    /// Why it was not resolved, for logs; `None` if that was not tried.
    pub reason: Option<String>,
    /// Who found that it can't be resolved.
    pub decided_by: DecidedBy,
}

impl Conflict {
    /// A conflict that nobody has tried to resolve, over the record `data`.
    pub fn untried(oid: Oid, (committed, read): (Tid, Tid), data: Vec<u8>) -> Self {
        Self {
            oid,
            committed,
            read,
            data,
            class: None,
            reason: None,
            decided_by: DecidedBy::Storage,
        }
    }
}

/// What the system says of a read of a FileStorage's file that failed, and
/// where that was.
#[derive(Debug, thiserror::Error)]
#[error("{source}, at {position}{}", .oid.map(|oid| format!(" (object {oid})")).unwrap_or_default())]
pub(crate) struct ReadFailed {
    source: io::Error,
    position: u64,
    /// The object that could not be read.
    oid: Option<Oid>,
}

impl ReadFailed {
    /// The failure of a read at a position, as an error of its kind.
    pub fn at(position: u64, source: io::Error) -> io::Error {
        let (kind, oid) = (source.kind(), None);
        io::Error::new(
            kind,
            Self {
                source,
                position,
                oid,
            },
        )
    }

    /// The same, or another failure, of reading an object.
    fn of_object(error: io::Error, oid: Oid) -> io::Error {
        let kind = error.kind();
        match error.downcast::<Self>() {
            Ok(failed) => io::Error::new(
                kind,
                Self {
                    oid: Some(oid),
                    ..failed
                },
            ),
            Err(error) => io::Error::new(kind, format!("{error} (object {oid})")),
        }
    }
}

impl Error {
    /// The error about an operation on `path` that failed; `doing` says which,
    /// as "reading" or "writing".
    pub fn io(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let file = path.to_owned();
        move |source| Self::Io {
            doing,
            file: file.clone(),
            source,
        }
    }

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
                source: ReadFailed::of_object(source, oid),
            },
            other => other,
        }
    }

    /// True when the file of a FileStorage is damaged, or the disk can't read
    /// all of it.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Io { source, .. } => source.get_ref().is_some_and(|why| why.is::<ReadFailed>()),
            _ => false,
        }
    }

    /// True when the transaction, not the storage, is at fault, and doing it
    /// again may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Conflict(_) | Error::ReadConflict { .. })
    }
}
