//! A blocking client of ZEO servers, Python's (ZEO 5 and later) and this project's: for programs in
//! Rust that work on a live ZODB, beside the Python application and without Python.
//!
//! # A first program
//!
//! ```toml
//! [dependencies]
//! zeo-client = { path = "../rzeo/client" }
//! ```
//!
//! To build it, the headers of OpenSSL must be installed (on Debian, libssl-dev and pkg-config), or
//! the feature `vendored-openssl` builds OpenSSL, too, which needs perl and make.
//!
//! A server to try it with: `runzeo -a 127.0.0.1:8100 -f Data.fs`, of Python or of this project. Then
//! this is the whole program:
//!
//! ```
//! use zeo_client::record::{Class, Dict};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let address = "127.0.0.1:8100";
//! #   let server = zeo_server::serve(zeo_server::AdHoc::in_memory())?;
//! #   let address = server.address();
//!     let db = zeo_client::connect(address)?;
//!
//!     // A transaction: committed at the end, and made again if another client was faster.
//!     db.transact(|t| {
//!         let root = t.root()?.mapping()?;
//!         let visits = root.get("visits")?.and_then(|value| value.as_int()).unwrap_or(0);
//!         root.insert("visits", visits + 1)?;
//!         // An object of a class of the application, which need not be here.
//!         let page = t.new_object(Class::new("app", "Page"), Dict::from([("title", "Home")]));
//!         root.insert("home", &page)
//!     })?;
//!
//!     // One view of the database, whatever others commit meanwhile.
//!     let mut connection = db.connect();
//!     let t = connection.begin()?;
//!     let root = t.root()?.mapping()?;
//!     let home = root.follow("home")?;
//!     println!("visit {:?} of {:?}", root.get("visits")?, home.get("title")?);
//! #   assert_eq!(root.get("visits")?, Some(1.into()));
//!     Ok(())
//! }
//! ```
//!
//! # With the application's configuration
//!
//! [`config`] reads what the Python application is configured with: `zope.conf`, a file or text of
//! ZODB, or a `zeo://` URI.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use zeo_client::config::Config;
//!
//! let db = Config::file("/srv/plone/etc/zope.conf").read()?.open()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Settings
//!
//! [`ClientStorage::builder`] sets them one by one, and [`Settings`] has them as fields. The names
//! are those of ZEO.
//!
//! | setting | unit | default |
//! |---|---|---|
//! | `addresses` | host and port, or a path; any number | required |
//! | `storage` | name | `1` |
//! | `cache_size` | bytes | 20 MiB |
//! | `cache` | path of a file that is kept | a temporary file |
//! | `wait_timeout` | how long a call waits for a connection | 30 seconds |
//! | `wait` | whether opening waits for a connection | true |
//! | `read_only` | | false |
//! | `read_only_fallback` | whether a read-only server will do for a while | false |
//! | `server_sync` | whether `sync` asks the server | false |
//! | `blob_dir` | path of a directory | none: no blobs |
//! | `shared_blob_dir` | whether it is that of the server | false |
//! | `blob_cache_size` | bytes | no limit |
//! | `blob_cache_size_check` | percent of it, below 100 | 10 |
//! | `client_label` | text for the server's log | none |
//! | `tls` | [`Tls`], of [`TlsSettings`] | none |
//! | `disconnect_poll` | first pause between attempts to connect | 1 second |
//! | `max_disconnect_poll` | longest pause | 10 seconds |
//! | `connect_timeout` | one attempt to connect | 10 seconds |
//! | `call_timeout` | one call | for ever |
//! | `resolver` | merges changes of two transactions to the program's own classes | none |
//! | `log` | what is called with messages | none |
//!
//! # Threads, losses, errors
//!
//! Any number of threads share a [`ClientStorage`] and a [`db::Db`]; each thread has its own
//! [`db::Connection`]. A call that finds no connection waits for one, up to `wait_timeout`; one that
//! is under way when the connection is lost fails with [`Error::Disconnected`]. The storage connects
//! again by itself. [`Error::is_retryable`] says whether the same may succeed later, and
//! [`Db::transact`](db::Db::transact) tries again by itself.
//!
//! Printed with `{}`, an error is a sentence that says what failed and why. A `main` that returns it, as
//! above, prints it with `{:?}`, which is for programmers.
//!
//! # Layers
//!
//! | | |
//! |---|---|
//! | [`db`] | objects in transactions: connections, references, savepoints |
//! | [`record`] | what is in an object: values, classes, references, as JSON and with serde |
//! | [`btrees`] | trees of Python's package BTrees |
//! | [`ClientStorage`] | records and blobs: load, store, undo, history, iteration, pack |
//! | [`cache`], [`blob_cache`] | the files that are kept on this machine, shared with Python's clients |
//! | [`config`] | the configuration of a Python application |
//! | [`Connection`] | one connection to one server, used by one thread; keeps nothing |
//!
//! What stands in their types and is not here is in [`zeo_proto`] (messages, exceptions) and
//! [`zeo_storage`] (revisions, transactions), which are re-exported: a program needs no other crate.
//! The programs in `client/examples` count objects by class, change an attribute of all objects of a
//! class, export and import trees, and copy a database.
//!
//! For tests, `zeo_server::serve` starts a server inside of the program.

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
mod lock;
mod probe;
mod quick;
mod reason;
pub mod record;
pub mod served;
mod tls;

pub use address::{Address, ToAddress};
pub use client_storage::{
    Attempt, Builder, ClientStorage, Conflict, CurrentRecords, Disconnected, Error,
    IteratedTransaction, Listener, Records, Refusal, Settings, Subscription, Tpc, Transactions,
    Unfinished,
};
pub use connection::{Connection, Notice, Options};
pub use connection_error::{ConnectionError, DialError, MessageError, Raised};
pub use probe::{Probe, probe};
pub use quick::connect;
pub use tls::{Authorities, Tls, TlsError, TlsSettings};
pub use zeo_proto;
pub use zeo_proto::{Oid, Tid};
pub use zeo_storage;
pub use zeo_storage::conflict::{Question, Resolver, Unmerged};
