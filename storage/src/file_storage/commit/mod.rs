//! Committing: a transaction is prepared (checked and laid out), appended to
//! the file, and published.

pub(crate) mod append;
mod body;
pub(crate) mod laid_out;
pub(crate) mod pending;
mod prepare;
pub(crate) mod restore;
pub(crate) mod room;
pub(crate) mod space;
pub(crate) mod undo;
pub(crate) mod writer;
