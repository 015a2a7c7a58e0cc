//! Why a record is none of a BTree.

/// What a record has in place of a class or state of BTrees.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// No class at all.
    #[error("the record names no class")]
    NoClass,
    /// Another class.
    #[error("{0} is not a class of BTrees")]
    UnknownClass(String),
    /// A state that the class does not take.
    #[error("the state is malformed: {0}")]
    State(&'static str),
    /// The state of a tree of more than one bucket.
    #[error("the tree has more than one bucket")]
    NotOneBucket,
}
