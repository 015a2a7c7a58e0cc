//! The storage in one append-only file, format `FS21`: see `FORMAT.md`.

pub(crate) mod conflict;
pub mod format;
pub(crate) mod generation;
pub(crate) mod history;
pub mod index;
pub(crate) mod iterator;
pub(crate) mod pending;
pub mod prepared;
pub(crate) mod restore;
pub(crate) mod undo;
pub(crate) mod undo_log;
pub(crate) mod walk;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod testing;
