//! A blocking client of ZEO servers, Python's (ZEO 5 and later) and this project's.
//!
//! [`ClientStorage`] is a storage on a server, for any number of threads; it connects again after a
//! loss, and keeps what it has loaded in a cache.
//!
//! [`Connection`] is the lowest layer: one connection to one server, used by one thread. It keeps
//! nothing from one call to the next: no cache, no transaction, no other attempt after a loss.
//!
//! ```
//! use zeo_client::{Address, Connection, Options, Raised};
//! use zeo_proto::message::{Call, Revision};
//! use zeo_proto::{Oid, Tid};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zeo_server::serve(zeo_server::AdHoc::in_memory())?;
//! # let text = server.address();
//! // Such as "localhost:8100" or "/run/zeo.sock".
//! let address: Address = text.parse()?;
//! let mut connection = Connection::open(&address, &Options::default())?;
//! let read_only = true;
//! let last_tid = connection.register("1", read_only)?;
//! assert_eq!(last_tid, Some(Tid::ZERO), "there are no transactions yet");
//!
//! // The root object as it is now. What else the server tells meanwhile goes to the closure.
//! let call = Call::LoadBefore { oid: Oid::ZERO, before: Tid::MAX };
//! let root = connection.call_with(&call, &mut |_| {}, |reply| {
//!     let revision: Option<Revision<'_>> = reply.result("loadBefore")?;
//!     Ok(revision.map(|revision| revision.data.into_owned()))
//! });
//! assert_eq!(root.unwrap_err().raised(), Some(Raised::NoObject), "not even a root");
//! # Ok(())
//! # }
//! ```

mod address;
pub mod blob_cache;
pub mod btrees;
pub mod cache;
mod cancel;
mod client_storage;
pub mod config;
mod connection;
mod connection_error;
pub mod db;
mod dial;
mod probe;
mod reason;
pub mod record;
mod tls;

pub use address::Address;
pub use client_storage::{
    Attempt, Builder, ClientStorage, Conflict, Disconnected, Error, IteratedTransaction, Listener,
    Records, Refusal, Settings, Subscription, Tpc, Transactions, Unfinished,
};
pub use connection::{Connection, Notice, Options};
pub use connection_error::{ConnectionError, DialError, MessageError, Raised};
pub use probe::{Probe, probe};
pub use tls::{Authorities, Tls, TlsError, TlsSettings};
pub use zeo_storage::conflict::{Question, Resolver, Unmerged};
