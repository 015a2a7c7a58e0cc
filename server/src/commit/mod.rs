//! The way of a commit: locks, tids, the end of the file, publication, invalidations.

pub mod clock;
pub mod coordinator;
pub mod invalidations;
pub mod lock_table;
pub mod log_writer;
