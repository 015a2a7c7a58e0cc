//! ZODB storages: the file format of Python's FileStorage, on disk and in
//! memory, behind the [`Storage`] trait that the server drives.
//!
//! | to | see |
//! |---|---|
//! | serve or read a `Data.fs` | [`FileStorage`], [`file_storage::Options`] |
//! | keep data in PostgreSQL | `postgres`, with the feature of that name |
//! | keep data in memory, over a base, compressed | [`MappingStorage`], [`DemoStorage`], [`ZlibStorage`] |
//! | write a storage of your own | [`storage`] |
//! | open what a configuration names | [`config`] |
//! | check, index, salvage a file; copy; back up | [`file_storage::tools`], [`copy`], [`backup`] |
//! | read records: classes, references, BTrees, conflicts | [`record`], [`references`], [`btrees`], [`conflict`] |
//!
//! ```
//! use zeo_proto::Tid;
//! use zeo_storage::storage::{Commit, OnConflict, Op, TransactionMeta, Vote};
//! use zeo_storage::{MappingStorage, Storage};
//!
//! let storage = MappingStorage::new("example")?;
//! let (oid, record) = (storage.new_oid()?, b"\x80\x03capp\nThing\n.\x80\x03N.".to_vec());
//!
//! // Vote: checked against what is committed, and laid out.
//! let store = Op::Store { oid, serial: Tid::ZERO, data: record.clone() };
//! let meta = TransactionMeta { user: b"jane".to_vec(), status: b' ', ..Default::default() };
//! let vote = storage.prepare(&meta, &mut [Ok(store)].into_iter(), OnConflict::Resolve)?;
//! let Vote::Ready(prepared) = vote else { panic!("a conflict over a new object") };
//!
//! // Finish: durable, then visible.
//! let mut batch = [Commit { tid: Tid::new(1), prepared }];
//! storage.append(&mut batch)?;
//! storage.publish(&batch[0]);
//! assert_eq!(*storage.load_serial(oid, Tid::new(1))?, *record);
//! # Ok::<(), zeo_storage::Error>(())
//! ```

#[cfg(feature = "backup")]
pub mod backup;
pub mod blob;
pub mod btrees;
pub mod config;
pub mod conflict;
pub mod copy;
mod demo_storage;
mod disk;
pub mod error;
pub mod exceptions;
pub mod file_storage;
pub mod log;
mod mapping_storage;
pub mod observer;
mod packing;
#[cfg(feature = "postgres")]
pub mod postgres;
mod python;
pub mod record;
pub mod references;
pub mod storage;
#[cfg(test)]
mod testing;
pub mod zconfig;
mod zlib_storage;

pub use self::disk::file_id::FileId;
pub use self::disk::lock_file::LockFile;
pub use self::disk::{backend, paths};
pub use demo_storage::DemoStorage;
pub use error::{Error, Result};
pub use file_storage::FileStorage;
pub use mapping_storage::MappingStorage;
pub use storage::Storage;
pub use zlib_storage::{Transform, ZlibStorage};
