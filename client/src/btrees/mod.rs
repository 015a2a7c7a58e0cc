//! BTrees: sorted containers of Python's package BTrees, in records of their own.
//!
//! Trees of every kind are read and changed as BTrees 6.5 does it, so that the same operations
//! leave the same records: nodes split at the same sizes (`storage/src/btrees/class.rs`), a tree
//! of one bucket is within one record, buckets that become empty are unlinked. Python goes on
//! with them, and its `BTrees.check` finds nothing.
//!
//! | file | has |
//! |---|---|
//! | `tree`, `range`, `length` | what programs use |
//! | `store` | what a transaction gives: records, oids, read checks |
//! | `forest`, `handle` | the nodes in memory, and how changes are written |
//! | `descent`, `insert`, `remove`, `walk` | the algorithms |
//! | `state`, `quick`, `node` | records of nodes |
//! | `key`, `plain` | keys and their order |
//!
//! Bad states (keys out of order, nodes of another class, rings) are errors that name the node;
//! an operation that meets one changes nothing.

mod descent;
mod error;
mod forest;
mod handle;
mod insert;
mod key;
mod length;
mod node;
mod plain;
mod quick;
mod range;
mod remove;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use error::{Error, Result};
pub use forest::Forest;
pub use length::Length;
pub use range::{Items, Keys, Values};
pub use store::Nodes;
pub use tree::Tree;
