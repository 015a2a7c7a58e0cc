//! The storages of a configuration: what their sections mean, and how they are opened.

mod open;
mod sections;

pub use open::open;
pub use sections::{FileStorageConfig, StorageConfig, StorageKind, name_the_unnamed, storages};
