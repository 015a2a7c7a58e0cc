//! The storage in one append-only file, format `FS30`: see `FORMAT.md`.

mod append;
mod body;
pub mod check;
mod core;
mod data_file;
mod followed;
pub mod format;
pub mod forwards;
pub(crate) mod generation;
pub(crate) mod history;
mod holes;
pub mod index;
mod index_file;
mod index_pickle;
pub mod indexing;
pub(crate) mod iterator;
mod load;
mod lock_file;
mod open;
mod pack;
pub(crate) mod pending;
mod prepare;
pub mod prepared;
mod recovery;
pub(crate) mod restore;
pub mod resync;
pub mod salvage;
mod sanity;
mod scan;
pub(crate) mod seal;
mod snapshot;
mod space;
mod torn;
pub(crate) mod undo;
pub(crate) mod undo_log;
pub mod walk;
pub mod whole;
pub mod window;

pub use self::core::FileStorage;
pub use self::data_file::DataFile;
pub use self::open::Options;
pub(crate) use self::pack::pack_stop;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
