//! How the process comes to its address, and where it tells it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use slog::{Logger, error, warn};
use zeo_storage::zconfig::datatypes::Address;

use crate::monitor;
use crate::net::acceptor::Acceptors;
use crate::net::sockets::{Sockets, are_the_same, is_in_use};
use crate::net::tls::ServerTls;
use crate::process::address_file::AddressFile;
use crate::process::options::Options;
use crate::server::Server;

/// Why the server does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody listens at the address already.
    #[error("address {0} already in use")]
    InUse(Address),
    /// The monitor is to listen at the server's address.
    #[error("the server and its monitor can't both listen at {0}: give --monitor another address")]
    Monitor(Address),
    /// There is no directory for the socket.
    #[error("can't listen at {}: there is no directory {}", .0.display(), .1.display())]
    NoDirectory(PathBuf, PathBuf),
    /// The socket can't be given to the owner that is configured.
    #[error("--socket-owner: {0}")]
    SocketOwner(String),
    /// The address can't be told.
    #[error("can't write the address file {}: {source}", .path.display())]
    AddressFile {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The address can't be listened at.
    #[error("can't listen at {address}: {source}")]
    Address {
        /// The address.
        address: Address,
        /// The cause.
        source: io::Error,
    },
}

impl ListenError {
    /// Whether starting again does not help until somebody changes something.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::InUse(_) | Self::Monitor(_) | Self::NoDirectory(..) | Self::SocketOwner(_)
        )
    }

    fn address(address: &Address, source: io::Error) -> Self {
        let address = address.clone();
        Self::Address { address, source }
    }
}

/// Finds mistakes before any file is made.
///
/// # Errors
/// A directory is missing, the monitor has the same address, or the socket's owner is not possible.
pub fn check(options: &Options) -> Result<(), ListenError> {
    if let Address::Unix(path) = &options.config.zeo.address
        && let Some(directory) = missing_directory(path)
    {
        return Err(ListenError::NoDirectory(path.clone(), directory));
    }
    let address = &options.config.zeo.address;
    let mut monitors = options.monitoring.addresses.iter().map(monitor::with_host);
    if let Some(shared) = monitors.find(|monitor| are_the_same(address, monitor)) {
        return Err(ListenError::Monitor(shared));
    }
    if let Some(path) = &options.listen.address_file
        && missing_directory(path).is_some()
    {
        let (path, source) = (path.clone(), io::ErrorKind::NotFound.into());
        return Err(ListenError::AddressFile { path, source });
    }
    let rights = &options.listen.rights;
    rights.check().map_err(ListenError::SocketOwner)
}

fn missing_directory(path: &Path) -> Option<PathBuf> {
    let directory = path.parent()?;
    let missing = !directory.as_os_str().is_empty() && !directory.is_dir();
    missing.then(|| directory.to_owned())
}

/// What to listen with: what the service manager has handed over, else the configured address.
///
/// # Errors
/// The address is in use or can't be had.
pub fn sockets(options: &Options, log: &Logger) -> Result<Sockets, ListenError> {
    let (address, rights) = (&options.config.zeo.address, &options.listen.rights);
    let failed = |source| ListenError::address(address, source);
    if let Some(given) = Sockets::inherited().map_err(failed)? {
        if let Some(other) = given.other_than(address).map_err(failed)? {
            warn!(
                log,
                "the service manager has handed over a socket for {other}, which is used in place \
                 of the address {address}"
            );
        }
        return Ok(given);
    }
    if is_in_use(address) {
        return Err(ListenError::InUse(address.clone()));
    }
    if matches!(address, Address::Tcp { .. }) && !rights.is_default() {
        warn!(
            log,
            "--socket-mode and --socket-owner are for a Unix socket; {address} is none"
        );
    }
    Sockets::bind(address, rights).map_err(failed)
}

/// A server that listens.
pub struct Listening {
    /// The server.
    pub server: Arc<Server>,
    acceptors: Acceptors,
    address_file: Option<AddressFile>,
}

impl Listening {
    /// Listens with these sockets, by TLS if that is given, and tells where.
    ///
    /// # Errors
    /// The address can't be had, or not be told. The server goes on.
    pub fn start(
        options: &Options,
        sockets: Sockets,
        server: &Arc<Server>,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<Self, ListenError> {
        let address = &options.config.zeo.address;
        let acceptors = Acceptors::over(sockets, server, tls);
        let acceptors = acceptors.map_err(|source| ListenError::address(address, source))?;
        let tell = |path: &PathBuf| {
            let written = AddressFile::write(path, acceptors.shown_addresses());
            written.map_err(|source| {
                let path = path.clone();
                ListenError::AddressFile { path, source }
            })
        };
        let address_file = options.listen.address_file.as_ref().map(tell).transpose()?;
        acceptors.announce(server.log());
        Ok(Self {
            server: Arc::clone(server),
            acceptors,
            address_file,
        })
    }

    /// Takes no more clients. The server goes on.
    pub fn close(self) -> Arc<Server> {
        drop(self.acceptors);
        if let Some(Err(why)) = self.address_file.map(AddressFile::remove) {
            error!(
                self.server.log(),
                "the address file could not be removed: {why}"
            );
        }
        self.server
    }
}
