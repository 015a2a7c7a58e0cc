//! ZODB storages: the file format of Python's FileStorage, on disk and in
//! memory, behind the [`Storage`] trait that the server drives.

#[cfg(feature = "backup")]
pub mod backup;
pub mod blob;
mod btrees;
pub mod config;
pub mod conflict;
pub mod copy;
pub mod demo_storage;
mod disk;
pub mod error;
pub mod exceptions;
pub mod file_storage;
pub mod log;
pub mod mapping_storage;
pub mod observer;
mod python;
pub mod record;
pub mod references;
pub mod storage;
#[cfg(test)]
mod testing;
pub mod zconfig;
pub mod zlib_storage;

pub use self::disk::file_id::FileId;
pub use self::disk::{backend, paths};
pub use demo_storage::DemoStorage;
pub use error::{Error, Result};
pub use file_storage::FileStorage;
pub use mapping_storage::MappingStorage;
pub use storage::Storage;
pub use zlib_storage::ZlibStorage;
