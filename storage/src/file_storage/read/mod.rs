//! Reading: one generation of the file with its index, and what is asked of
//! it.

pub(crate) mod generation;
pub(crate) mod history;
pub(crate) mod iterator;
pub(crate) mod load;
pub(crate) mod undo_log;
