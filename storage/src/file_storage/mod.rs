//! The storage in one append-only file, format `FS30`: see `FORMAT.md`.
//!
//! Rooms, each of which knows those before it: [`mod@format`] (the bytes),
//! [`index`] (where each object's record stands), `read`, `commit`, the
//! storage itself, `pack`, `open`, and [`tools`].

pub mod commit;
mod files;
pub mod format;
pub mod index;
mod open;
mod options;
mod pack;
pub(crate) mod read;
mod storage;
pub mod tools;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use self::format::room::ROOM_MAX_BYTES;
pub use self::options::Options;
pub use self::storage::FileStorage;
pub use self::tools::data_file::{DataFile, is_in_use};
