//! The application's own classes: their conflicts are merged by somebody who can import them.

use std::fmt;

use zeo_proto::{Oid, Tid};

use super::{MAX_PLAIN, Revision, Unresolved, max_size, plain};
use crate::record::{compress, is_compressed};
use crate::references::references;

/// Merges what the storage's own rules can't: states of the application's classes.
///
/// It is asked by the thread that prepares a transaction, one object after the other, while the
/// locks of the transaction's objects are held. So its answer has to come within bounded time.
pub trait Resolver {
    /// The merged record.
    ///
    /// # Errors
    ///
    /// [`Unmerged`]: the conflict stays one.
    fn resolve(&self, question: &Question<'_>) -> Result<Vec<u8>, Unmerged>;
}

/// A conflict. The records are whole (class and state) and not compressed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Question<'a> {
    /// The object.
    pub oid: Oid,
    /// The dotted name of the class of the new record, where that can be told.
    pub class: Option<&'a str>,
    /// The serial of `old`. (With undo, that of the transaction to undo.)
    pub read: Tid,
    /// The serial of `committed`.
    pub committed_serial: Tid,
    /// What both changes started from.
    pub old: &'a [u8],
    /// What is in the database.
    pub committed: &'a [u8],
    /// What would be stored.
    pub new: &'a [u8],
}

impl<'a> Question<'a> {
    /// A question about an object of this class; with the serials of the records `old` and
    /// `committed`, and the records `old`, `committed` and `new`.
    pub fn new(
        oid: Oid,
        class: Option<&'a str>,
        (read, committed_serial): (Tid, Tid),
        [old, committed, new]: [&'a [u8]; 3],
    ) -> Self {
        Self {
            oid,
            class,
            read,
            committed_serial,
            old,
            committed,
            new,
        }
    }
}

/// Why a [`Resolver`] has not merged a conflict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmerged {
    /// The class has no way to merge it, or found that these changes can't be merged.
    #[error("{0}")]
    Refused(String),
    /// The resolver itself failed.
    #[error("{0}")]
    Failed(String),
}

/// Who decided on a conflict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecidedBy {
    /// The storage, by the rules of BTrees.
    #[default]
    Storage,
    /// The application's class, through a [`Resolver`].
    Application,
    /// Nobody: the [`Resolver`] failed.
    Nobody,
}

/// The three records of a conflict as they stand in the storage, each possibly compressed.
pub(crate) struct Conflicting<'a> {
    pub oid: Oid,
    pub class: Option<&'a str>,
    /// The serials of `old` and `committed`.
    pub serials: (Tid, Tid),
    pub old: &'a [u8],
    pub committed: &'a [u8],
    pub new: &'a [u8],
}

/// The merged record as [`super::resolve`] makes it, or where that knows too little, the
/// `resolver`; and who decided. Or the reason why there is none.
pub(crate) fn resolve(
    conflict: &Conflicting<'_>,
    compressed: Option<bool>,
    resolver: Option<&dyn Resolver>,
) -> (DecidedBy, Result<Vec<u8>, String>) {
    let Conflicting {
        old,
        committed,
        new,
        ..
    } = *conflict;
    let unresolved = match super::resolve(old, committed, new, compressed) {
        Ok(record) => return (DecidedBy::Storage, Ok(record)),
        Err(unresolved) => unresolved,
    };
    let Some(resolver) = resolver.filter(|_| is_open(&unresolved)) else {
        return (DecidedBy::Storage, Err(unresolved.to_string()));
    };
    match ask(conflict, resolver) {
        Ok(record) => {
            let as_found = || [old, committed, new].into_iter().any(is_compressed);
            let zipped = compressed.unwrap_or_else(as_found);
            let record = if zipped { compress(record) } else { record };
            (DecidedBy::Application, Ok(record))
        }
        Err(Unmerged::Refused(why)) => (DecidedBy::Application, Err(why)),
        Err(Unmerged::Failed(why)) => (DecidedBy::Nobody, Err(why)),
    }
}

/// Whether somebody who knows more classes may find a resolution.
fn is_open(unresolved: &Unresolved) -> bool {
    match unresolved {
        Unresolved::Merge { .. } | Unresolved::Compressed { .. } => false,
        Unresolved::Class(_)
        | Unresolved::NoClass
        | Unresolved::Unreadable { .. }
        | Unresolved::Instance { .. }
        | Unresolved::State { .. }
        | Unresolved::Incomparable(_)
        | Unresolved::TooLarge => true,
    }
}

fn ask(conflict: &Conflicting<'_>, resolver: &dyn Resolver) -> Result<Vec<u8>, Unmerged> {
    let failed = |why: &dyn fmt::Display| Unmerged::Failed(why.to_string());
    let plain = |revision, record| plain(revision, record).map_err(|why| failed(&why));
    let old = plain(Revision::Old, conflict.old)?;
    let committed = plain(Revision::Committed, conflict.committed)?;
    let new = plain(Revision::New, conflict.new)?;
    let size = old.len() + committed.len() + new.len();
    if size as u64 > MAX_PLAIN {
        return Err(failed(&Unresolved::TooLarge));
    }
    let merged = resolver.resolve(&Question::new(
        conflict.oid,
        conflict.class,
        conflict.serials,
        [&old, &committed, &new],
    ))?;
    if merged.len() > max_size(size) {
        return Err(failed(&"the merged record is too large"));
    }
    // What is stored can be read again, by a pack for one.
    match references(&merged) {
        Ok(_) if !is_compressed(&merged) => Ok(merged),
        Ok(_) => Err(failed(&"the merged record is compressed")),
        Err(why) => Err(failed(&format!("the merged record is unreadable: {why}"))),
    }
}
