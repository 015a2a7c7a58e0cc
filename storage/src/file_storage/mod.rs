//! The storage in one append-only file, format `FS21`: see `FORMAT.md`.

pub mod format;
pub(crate) mod generation;
pub mod index;
pub mod prepared;
