//! The storages of a configuration: what their sections mean, and how they are opened.

mod kind;
mod open;
mod openers;
mod sections;
#[cfg(test)]
mod tests;

pub use kind::{FileStorageConfig, Opener, Other, StorageConfig, StorageKind};
pub use open::open;
pub use openers::{Openers, ReadSection};
pub use sections::{name_the_unnamed, storages};
