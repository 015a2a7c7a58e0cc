//! Why a conflict stays one.

use zeo_proto::pickle;

use crate::{btrees, python};

/// Which of the three records is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// What both changes started from.
    Old,
    /// What is in the database.
    Committed,
    /// What would be stored.
    New,
}

/// Why there is no resolution. For logs; clients see a `ConflictError`.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// A class whose merge rules are not known here.
    #[error(
        "the class {0} is the application's, which this server does not run; if it has _p_resolveConflict, --conflict-resolver lets the server use it, or \
         client-conflict-resolution lets clients use it"
    )]
    Class(String),
    /// The record does not tell its class in a way that Python takes.
    #[error("the new record names no class")]
    NoClass,
    /// A record that is no two pickles.
    #[error("the {revision} record is unreadable: {source}")]
    Unreadable {
        /// Which record.
        revision: Revision,
        /// Where and why.
        source: pickle::Error,
    },
    /// A record that begins as a compressed one and is none.
    #[error("the {revision} record can't be decompressed: {source}")]
    Compressed {
        /// Which record.
        revision: Revision,
        /// Why.
        source: std::io::Error,
    },
    /// The state holds an instance of a class (or the class itself) that
    /// could only be loaded by importing it.
    #[error(
        "the {revision} state holds a value of class {class}, which this server does not know; \
         --conflict-resolver lets the server import it, client-conflict-resolution lets clients \
         merge it"
    )]
    Instance {
        /// Which record.
        revision: Revision,
        /// The dotted name.
        class: String,
    },
    /// A state that the class does not take, or that Python can't load.
    #[error("the {revision} state is malformed: {what}")]
    State {
        /// Which record.
        revision: Revision,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Keys or values whose comparison raises in Python.
    #[error("keys or values can't be compared: {0}")]
    Incomparable(&'static str),
    /// The changes are at odds with each other.
    #[error("{} (reason {}, at items {positions:?}){}", .reason.meaning(), *.reason as u8, because(*.raised))]
    Merge {
        /// The rule that was broken.
        reason: Reason,
        /// The item that each side (old, committed, new) was at, counted
        /// from 1; -1 where there is none.
        positions: [i32; 3],
        /// Why values could not be compared, so that they counted as changed.
        raised: Option<&'static str>,
    },
    /// Comparing or writing takes more than the records' size allows for.
    #[error("the records are too large to merge")]
    TooLarge,
}

/// The rules of BTrees' merge, by the numbers of its `BTreesConflictError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The bucket that follows is another one.
    NextChanged = 0,
    /// Both changed the same value.
    ValueChangedByBoth = 1,
    /// New deleted an item whose value committed changed.
    NewDeletedChanged = 2,
    /// Committed deleted an item whose value new changed.
    CommittedDeletedChanged = 3,
    /// Both inserted the same key, or deleted one and inserted the same.
    SameInserted = 4,
    /// Both deleted the same key.
    SameDeleted = 5,
    /// Both inserted the same key at the end.
    SameAppended = 6,
    /// New deleted the end, where committed deleted or changed an item.
    EndDeletedByNew = 7,
    /// Committed deleted the end, where new deleted or changed an item.
    EndDeletedByCommitted = 8,
    /// Both deleted the end.
    EndDeletedByBoth = 9,
    /// Nothing is left.
    NothingLeft = 10,
    /// A tree of more than one bucket.
    NotOneBucket = 11,
    /// One side deleted everything.
    Emptied = 12,
    /// The first item was deleted.
    FirstDeleted = 13,
}

impl Reason {
    fn meaning(self) -> &'static str {
        match self {
            Reason::NextChanged => "the bucket was split, or its next bucket changed",
            Reason::ValueChangedByBoth => "both changed the same value",
            Reason::NewDeletedChanged => {
                "this transaction deleted an item that the committed one changed"
            }
            Reason::CommittedDeletedChanged => {
                "this transaction changed an item that the committed one deleted"
            }
            Reason::SameInserted => "both inserted the same key",
            Reason::SameDeleted => "both deleted the same key",
            Reason::SameAppended => "both inserted the same key at the end",
            Reason::EndDeletedByNew => {
                "this transaction deleted the end, and the committed one changed it"
            }
            Reason::EndDeletedByCommitted => {
                "this transaction changed the end, and the committed one deleted it"
            }
            Reason::EndDeletedByBoth => "both deleted the end",
            Reason::NothingLeft => "nothing would be left",
            Reason::NotOneBucket => "the tree has more than one bucket",
            Reason::Emptied => "one side deleted everything",
            Reason::FirstDeleted => "the first item was deleted",
        }
    }
}

fn because(raised: Option<&str>) -> String {
    raised.map_or(String::new(), |what| {
        format!("; values that can't be compared count as changed: {what}")
    })
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Revision::Old => "old",
            Revision::Committed => "committed",
            Revision::New => "new",
        })
    }
}

impl From<python::Error> for Unresolved {
    fn from(error: python::Error) -> Self {
        match error {
            python::Error::Incomparable(what) => Unresolved::Incomparable(what),
            python::Error::TooMuch => Unresolved::TooLarge,
        }
    }
}

impl Unresolved {
    /// What is wrong with a revision's class or state.
    pub(super) fn of(revision: Revision, error: btrees::Error) -> Self {
        match error {
            btrees::Error::NoClass => Unresolved::NoClass,
            btrees::Error::UnknownClass(name) => Unresolved::Class(name),
            btrees::Error::State(what) => Unresolved::State { revision, what },
            btrees::Error::NotOneBucket => Unresolved::broken(Reason::NotOneBucket),
        }
    }

    /// A rule that is broken at no item in particular.
    pub(super) fn broken(reason: Reason) -> Self {
        Unresolved::Merge {
            reason,
            positions: [-1; 3],
            raised: None,
        }
    }
}
