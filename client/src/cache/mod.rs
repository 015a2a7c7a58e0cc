//! The cache on disk: the ZEC3 file of Python's `ZEO.cache`, which both clients write and read.
//!
//! A file holds revisions of objects, current ones and ones that another has followed, and the
//! last transaction that it knows of. It answers what was true up to that transaction. Of each
//! record about 15 bytes are kept in memory, and a hit is one look-up and one positioned read; up
//! to 16 MiB of records that are used again and again are kept in memory as a whole. Opening keeps
//! the heads of the records only.
//!
//! ```
//! use zeo_client::cache::Cache;
//! use zeo_proto::{Oid, Tid};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("app.zec");
//! let mut cache = Cache::open(Some(&path), 20 << 20, zeo_storage::log::silent())?;
//! cache.store(Oid::new(1), Tid::new(10), None, b"a record");
//! cache.set_last_tid(Tid::new(12))?;
//! let (data, serial) = cache.load(Oid::new(1)).ok_or("not cached")?;
//! assert_eq!((&*data, serial), (&b"a record"[..], Tid::new(10)));
//!
//! // Transaction 13 has written the next revision.
//! cache.invalidate(Oid::new(1), Some(Tid::new(13)));
//! assert!(cache.load(Oid::new(1)).is_none());
//! let then = cache.load_before(Oid::new(1), Tid::new(13)).ok_or("not cached")?;
//! assert_eq!((then.serial, then.next), (Tid::new(10), Some(Tid::new(13))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When the file fails
//!
//! No call fails for the file's sake, but for opening it: a cache may always not have what is
//! asked for. After an error, or when another has changed the file, it is begun anew; if that
//! fails, too, nothing is cached until it works again, which is tried each minute. Once an error has
//! come, nothing is written behind what is in the file, so that the next process finds the file of
//! a moment in the past. That is not so after a power failure: what the system has written of it
//! then is in no order, as with Python's client, and the file should be removed.

mod behind;
mod client_cache;
mod error;
mod files;
mod format;
mod index;
mod open;
mod place;
mod read;
mod recent;
mod recover;
mod ring;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod trace;
mod window;

pub use client_cache::Cache;
pub use error::CacheError;
pub use stats::{Held, Stats};
