//! What is done to a file that no storage serves: checking, indexing,
//! reading past damage, and copying what is readable.

pub mod blobs;
pub mod check;
pub(crate) mod data_file;
mod holes;
pub mod index;
pub mod reading;
pub mod refs;
pub mod replacement;
pub mod resync;
pub mod salvage;
pub mod transaction_reader;
