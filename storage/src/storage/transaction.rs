//! A transaction on its way into a storage.

use std::any::Any;
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::outside::OutsideChange;
use crate::blob::BlobFile;
use crate::conflict::{DecidedBy, Resolver};
use crate::error::Conflict;
use crate::{Error, Result};

/// What a transaction says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionMeta {
    /// User name, as bytes; at most 65,535.
    pub user: Vec<u8>,
    /// Description, as bytes; at most 65,535.
    pub description: Vec<u8>,
    /// The extension as the pickle that stands in the file (a dict; empty
    /// when there is none); at most 65,535 bytes.
    pub extension: Vec<u8>,
    /// The tid to commit under, when the client gives one (copying from
    /// another storage); it must be later than the last transaction.
    pub tid: Option<Tid>,
    /// The status byte for the file: `b' '`, or `b'p'` when copying.
    pub status: u8,
}

/// One step of a transaction, in the order the client gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Write a new revision on top of `serial` (zero: the object is new).
    Store {
        /// The object.
        oid: Oid,
        /// The serial that the new revision was made from.
        serial: Tid,
        /// The record.
        data: Vec<u8>,
    },
    /// Fail unless the object is still at `serial`.
    Check {
        /// The object.
        oid: Oid,
        /// The serial that was read.
        serial: Tid,
    },
    /// Write a revision that says that the object is gone.
    Delete {
        /// The object.
        oid: Oid,
        /// The serial that is to be current.
        serial: Tid,
    },
    /// Write a revision as it was in another storage, unchecked.
    Restore {
        /// The object.
        oid: Oid,
        /// The serial of this revision (the transaction's own tid).
        serial: Tid,
        /// The record; `None`: the creation of the object was undone.
        data: Option<Vec<u8>>,
        /// A transaction that may already hold the same data, so that a
        /// back-pointer suffices: a hint. A FileStorage takes no such pointer
        /// while it is packed, and fails.
        prev_tid: Option<Tid>,
    },
    /// The file of a blob whose record was stored or restored just before.
    Blob {
        /// The object.
        oid: Oid,
        /// The serial of a restored revision; `None`: the transaction's tid.
        serial: Option<Tid>,
        /// The file, which is moved to where committed ones are.
        file: Arc<BlobFile>,
    },
    /// Undo a whole transaction. A FileStorage refuses that while it is packed.
    Undo {
        /// The transaction.
        tid: Tid,
    },
}

/// The outcome of [`Storage::prepare`](super::Storage::prepare).
#[derive(Debug)]
pub enum Vote {
    /// Ready: what follows can only fail if the disk breaks.
    Ready(Prepared),
    /// Conflicts, one an object, that the caller asked to have reported
    /// instead of failing at the first one.
    Conflicts(Vec<Conflict>),
}

/// What to do with conflicting stores.
#[derive(Clone, Copy)]
pub enum OnConflict<'a> {
    /// Resolve where the class is known, else fail with the conflict.
    Resolve,
    /// As `Resolve`, but with more knowledge.
    ResolveWith {
        /// Who knows the application's classes.
        resolver: Option<&'a dyn Resolver>,
        /// Whether merged records are compressed as by `zc.zlibstorage`; `None`: if any of the
        /// records that they are made of is.
        compressed: Option<bool>,
    },
    /// Resolve nothing; gather all conflicts for the client
    /// (`client-conflict-resolution`). A later store of the same object that
    /// succeeds takes its conflict back.
    Report,
}

impl<'a> OnConflict<'a> {
    /// Whether resulting records are to be compressed, if that is settled.
    pub(crate) fn compressed(self) -> Option<bool> {
        match self {
            OnConflict::ResolveWith { compressed, .. } => compressed,
            OnConflict::Resolve | OnConflict::Report => None,
        }
    }

    /// Who knows the application's classes, if somebody does.
    pub(crate) fn resolver(self) -> Option<&'a dyn Resolver> {
        match self {
            OnConflict::ResolveWith { resolver, .. } => resolver,
            OnConflict::Resolve | OnConflict::Report => None,
        }
    }

    /// True when nothing is to be resolved.
    pub(crate) fn is_report(self) -> bool {
        matches!(self, OnConflict::Report)
    }

    /// The same, with the compression of merged records settled, unless it is already.
    pub(crate) fn with_compression(self, wanted: bool) -> OnConflict<'a> {
        match self {
            OnConflict::Report => OnConflict::Report,
            settled => OnConflict::ResolveWith {
                resolver: settled.resolver(),
                compressed: settled.compressed().or(Some(wanted)),
            },
        }
    }
}

/// A conflict that was resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The dotted name of the object's class, where that can be told.
    pub class: Option<String>,
    /// Who merged it.
    pub by: DecidedBy,
}

/// A transaction whose vote has succeeded: what [`Storage::prepare`] made of
/// it. Dropping it aborts it.
///
/// Any storage can make one: what it needs itself at [`Storage::append`] and
/// [`Storage::publish`] it gives to [`Prepared::new`], as a type of its own.
/// What an abort has to give back (locks, room, files) is given back by that
/// type's `Drop`, in the thread of the session or in the log writer.
///
/// [`Storage::prepare`]: super::Storage::prepare
/// [`Storage::append`]: super::Storage::append
/// [`Storage::publish`]: super::Storage::publish
#[derive(Debug)]
pub struct Prepared {
    /// The objects that the transaction changes, each once, for
    /// invalidations.
    pub oids: Vec<Oid>,
    /// Objects that were undone, and then those whose conflicts were
    /// resolved: what `vote` answers.
    pub resolved: Vec<Oid>,
    /// The conflicts that were resolved, also by undo.
    pub merged: Vec<Merged>,
    work: Box<dyn Any + Send>,
}

impl Prepared {
    /// A transaction that changes these objects without any conflict, and
    /// what its storage needs to append and publish it.
    pub fn new(oids: Vec<Oid>, work: impl Any + Send) -> Self {
        Self {
            oids,
            resolved: Vec::new(),
            merged: Vec::new(),
            work: Box::new(work),
        }
    }

    /// What the storage has given to [`Prepared::new`].
    ///
    /// # Errors
    ///
    /// `Transaction` when that was of another type: another storage has
    /// prepared this transaction.
    pub fn work<W: Any>(&self) -> Result<&W> {
        self.work.downcast_ref().ok_or_else(foreign)
    }

    /// The same, to be changed.
    ///
    /// # Errors
    ///
    /// As [`Self::work`].
    pub fn work_mut<W: Any>(&mut self) -> Result<&mut W> {
        self.work.downcast_mut().ok_or_else(foreign)
    }
}

fn foreign() -> Error {
    Error::Transaction("the transaction was prepared by another storage".to_owned())
}

/// A transaction on its way into the storage.
#[derive(Debug)]
pub struct Commit {
    /// Its tid, later than all before it: given out by the coordinator, or
    /// set by [`Storage::append`](super::Storage::append) if the storage
    /// gives the tids.
    pub tid: Tid,
    /// What [`Storage::prepare`](super::Storage::prepare) made.
    pub prepared: Prepared,
}

/// What [`Storage::append`](super::Storage::append) has to tell, beside the
/// tids. Mostly nothing.
#[derive(Debug, Default)]
pub struct Appended {
    /// Transactions of the batch that the storage refuses, by their place in
    /// it, with the reason; rising. Nothing of them is in the storage. Only a
    /// storage that others change finds out so late: a
    /// [`Conflict`](Error::Conflict) means that somebody else was faster. With
    /// [`Unsettled`](Error::Unsettled), nobody knows whether this one is in
    /// the storage, and its client is closed without an answer.
    pub refused: Vec<(usize, Error)>,
    /// What was changed elsewhere and not reported before, in the order of
    /// tids: everything up to the last transaction of the batch, whatever
    /// made the storage refuse one, and as much more as is known.
    pub outside: Vec<OutsideChange>,
}
