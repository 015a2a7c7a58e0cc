//! What can go wrong with a tree.

use zeo_proto::Oid;

/// Why an operation on a tree was not done. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object is of another class.
    #[error("object {oid} is no BTree, TreeSet, Bucket or Set of BTrees, but of class {class}")]
    NotATree {
        /// The object.
        oid: Oid,
        /// Its class, by its dotted name.
        class: String,
    },
    /// The class is of the implementation in Python (`OOBTreePy`), which is not supported.
    #[error(
        "object {oid} is of class {class}: trees of the implementation in Python are not supported"
    )]
    InPython {
        /// The object.
        oid: Oid,
        /// Its class, by its dotted name.
        class: String,
    },
    /// A node holds what BTrees never write. `BTrees.check` may tell more of it.
    #[error("node {oid} of the tree is damaged: {what}; look at it with BTrees.check in Python")]
    Damaged {
        /// The node.
        oid: Oid,
        /// What is wrong.
        what: String,
    },
    /// A key that this tree can't hold.
    #[error("{given} can't be a key of {class}: {why}")]
    Key {
        /// The class of the tree.
        class: String,
        /// The key.
        given: String,
        /// What its keys are.
        why: String,
    },
    /// A value that this tree can't hold.
    #[error("{given} can't be a value of {class}: {why}")]
    Value {
        /// The class of the tree.
        class: String,
        /// The value.
        given: String,
        /// What its values are.
        why: String,
    },
    /// The key can't be compared with those in the tree, as text with numbers.
    #[error("{given} can't be compared with the keys of the tree (node {oid}): {why}")]
    NoOrder {
        /// The node that holds the other key.
        oid: Oid,
        /// The key.
        given: String,
        /// Why not.
        why: String,
    },
    /// A set has no values, and other trees have one for each key.
    #[error("{class} has keys without values")]
    NoValues {
        /// The class of the tree.
        class: String,
    },
    /// See [`Error::NoValues`].
    #[error("{class} has a value for each key")]
    NeedsValues {
        /// The class of the tree.
        class: String,
    },
    /// Keys were inserted or deleted while the tree was iterated, or a savepoint was made of such
    /// changes.
    #[error("tree {oid} was changed while it was iterated: collect the keys first")]
    Changed {
        /// The tree.
        oid: Oid,
    },
    /// A record could not be read or written.
    #[error(transparent)]
    Storage(#[from] crate::Error),
}

impl Error {
    /// Whether the transaction may succeed when it is tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Storage(error) if error.is_retryable())
    }
}

/// The answer of an operation on a tree.
pub type Result<T, E = Error> = std::result::Result<T, E>;
