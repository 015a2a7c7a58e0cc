//! The ZEO server: configuration, threads, and the calls of its clients.
//! `THREADS.md` tells who does what, and in which order.
//!
//! `runzeo` is [`Options::parse`] and [`run`]. A server can also be started inside of another
//! program, for tests or to try something out, as by Python's `ZEO.server()`:
//!
//! ```
//! use zeo_client::{Address, Connection, Options};
//! use zeo_proto::Tid;
//! use zeo_server::{AdHoc, serve};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! // In memory, on a free port of 127.0.0.1. With a file and blobs:
//! let server = serve(AdHoc::in_memory())?;
//! # drop(server);
//! # let (path, blobs) = (directory.path().join("Data.fs"), directory.path().join("blobs"));
//! let server = serve(AdHoc::file(path).blob_dir(blobs))?;
//!
//! let address: Address = server.address().parse()?;
//! let mut client = Connection::open(&address, &Options::default())?;
//! assert_eq!(client.register("1", false)?, Some(Tid::ZERO), "there are no transactions yet");
//!
//! server.stop(); // As dropping it does.
//! # Ok(())
//! # }
//! ```
//!
//! [`AdHoc`] tells what can be chosen: TLS, the port, a log, [`Settings`], other storages. A program
//! that listens at several addresses, or at none, begins with [`Server::start`].

mod adhoc;
mod clients;
mod commit;
mod config;
mod conflict_resolver;
mod errors;
mod eventlog;
mod helpers;
mod messages;
mod monitor;
mod net;
mod places;
mod process;
mod server;
mod session;
mod settings;
#[cfg(test)]
mod simulation;
mod status;
mod storages;
pub mod tools;
mod usage;

pub use adhoc::{AdHoc, AdHocServer, ServeError, serve};
pub use config::open::{NamedStorage, OpenError};
pub use config::{Config, ZeoConfig, storages as configured_storages};
pub use conflict_resolver::{ConflictResolver, ResolverError};
pub use eventlog::{
    DateFormat, EmailConfig, EventLogConfig, EventLogError, HandlerConfig, HttpConfig, HttpMethod,
    LogFormat, LogTarget, Rotation, SyslogAddress, SyslogConfig, Template, Unit, When,
};
pub use monitor::MonitorError;
pub use net::acceptor::Acceptors;
pub use net::tls::{Authorities, Loaded, PasswordSource, Secret, ServerTls, SslConfig, TlsError};
pub use process::check::check;
pub use process::listen::ListenError;
pub use process::manual;
pub use process::options::{
    LimitOptions, ListenOptions, Monitoring, Options, OptionsError, ResolverOptions,
};
pub use process::run::{RunError, run};
pub use server::{Server, StartError};
pub use settings::Settings;
pub use zeo_storage::zconfig::datatypes::Address;
