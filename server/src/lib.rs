//! The ZEO server: configuration, threads, and the calls of its clients.
//! `THREADS.md` tells who does what, and in which order.
//!
//! `runzeo` is [`Options::parse`] and [`run`]. A server can also be started inside of another
//! program:
//!
//! ```
//! use std::io::Read;
//! use std::net::TcpStream;
//! use std::sync::Arc;
//!
//! use slog::{Discard, Logger, o};
//! use zeo_server::{Acceptors, Address, NamedStorage, Server, Settings};
//! use zeo_storage::MappingStorage;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let storage: NamedStorage = ("1".to_owned(), Arc::new(MappingStorage::new("example")?));
//! let log = Logger::root(Discard, o!());
//! let server = Server::start(Settings::default(), vec![storage], log)?;
//! // Port 0 stands for one that is free.
//! let address = Address::Tcp {
//!     host: Some("127.0.0.1".to_owned()),
//!     port: Some(0),
//! };
//! let acceptors = Acceptors::start(&address, &server, None)?;
//!
//! // The server speaks first: a frame with the version of its protocol.
//! let mut client = TcpStream::connect(acceptors.addresses())?;
//! let mut greeting = [0; 6];
//! client.read_exact(&mut greeting)?;
//! assert_eq!(&greeting, b"\0\0\0\x02Z5");
//!
//! drop(acceptors);
//! server.stop();
//! # Ok(())
//! # }
//! ```

mod clients;
mod commit;
mod config;
mod conflict_resolver;
mod errors;
mod eventlog;
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
