//! Objects in transactions.
//!
//! ```
//! use zeo_client::db::{Db, Error};
//! use zeo_client::record::{Class, Dict, Value};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zeo_server::serve(zeo_server::AdHoc::in_memory())?;
//! # let storage = zeo_client::ClientStorage::builder(server.address().parse()?).open()?;
//! let db = Db::new(storage);
//!
//! // Committed at the end, and made again if another client was faster.
//! db.transact(|t| {
//!     let home = t.new_object(Class::new("app", "Page"), Dict::from([("title", "Home")]));
//!     let root = t.root()?.mapping()?;
//!     root.insert("home", &home)
//! })?;
//!
//! let mut connection = db.connect();
//! let t = connection.begin()?;
//! let home = t.root()?.mapping()?.follow("home")?;
//! assert_eq!(home.get("title")?, Some(Value::from("Home")));
//! home.set("visits", 1)?;
//! t.commit()?;
//! # Ok(())
//! # }
//! ```
//!
//! | | |
//! |---|---|
//! | [`Db`] | a storage with objects in it; shared by all threads |
//! | [`Connection`] | its transactions follow each other, and share the objects in memory |
//! | [`Transaction`] | one view of the database, and changes to it; it borrows its connection |
//! | [`Object`] | a handle of an object; it borrows its transaction |
//!
//! So an object can't be used behind the end of its transaction: take what you need out of it
//! ([`Value`](crate::record::Value)s borrow nothing), or its oid.

mod access;
mod blobs;
mod changes;
mod collections;
mod commit;
mod database;
mod error;
mod object;
mod object_cache;
mod pending;
mod retry;
mod savepoint;
mod transaction;
mod trees;

pub use collections::{List, Mapping};
pub(crate) use database::Sizes;
pub use database::{Connection, Db};
pub use error::Error;
pub use object::Object;
pub(crate) use object_cache::CacheSize;
pub use retry::Retry;
pub use savepoint::Savepoint;
pub use transaction::Transaction;
