//! A server inside of another program: for tests, and to try something out.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use slog::{Discard, Logger, o};
use zeo_storage::Storage;
use zeo_storage::config::{FileStorageConfig, StorageConfig, StorageKind};
use zeo_storage::zconfig::datatypes::Address;

use crate::config::open::{NamedStorage, OpenError, open_all};
use crate::net::acceptor::Acceptors;
use crate::net::tls::{ServerTls, SslConfig, TlsError};
use crate::server::{Server, StartError};
use crate::settings::Settings;

/// The name that clients ask for by default.
const STORAGE: &str = "1";

/// What to serve, and where: by default, an empty storage in memory, without blobs, on a free port
/// of 127.0.0.1, without TLS, and without a log.
#[must_use]
pub struct AdHoc {
    path: Option<PathBuf>,
    blob_dir: Option<PathBuf>,
    storages: Vec<NamedStorage>,
    address: Address,
    ssl: Option<SslConfig>,
    settings: Settings,
    log: Logger,
}

impl Default for AdHoc {
    fn default() -> Self {
        Self {
            path: None,
            blob_dir: None,
            storages: Vec::new(),
            address: local(0),
            ssl: None,
            settings: Settings::default(),
            log: Logger::root(Discard, o!()),
        }
    }
}

fn local(port: u16) -> Address {
    Address::Tcp {
        host: Some("127.0.0.1".to_owned()),
        port: Some(port),
    }
}

impl AdHoc {
    /// The same as the default.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Serves this `Data.fs`, which is made if it is not there, as storage "1".
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = Some(path.into());
        Self {
            path,
            ..Self::default()
        }
    }

    /// Keeps blobs in this directory, which is made if it is not there. Default: none, and blobs
    /// are refused.
    pub fn blob_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.blob_dir = Some(directory.into());
        self
    }

    /// Serves a storage that is open under this name, too. It is closed with the server.
    ///
    /// If one is called "1", it takes the place of the storage in memory.
    pub fn storage(mut self, name: impl Into<String>, storage: Arc<dyn Storage>) -> Self {
        self.storages.push((name.into(), storage));
        self
    }

    /// The port of 127.0.0.1 to listen at. Default: 0, which stands for one that is free.
    pub fn port(self, port: u16) -> Self {
        self.address(local(port))
    }

    /// The address to listen at, a Unix socket perhaps. Default: a free port of 127.0.0.1.
    pub fn address(mut self, address: Address) -> Self {
        self.address = address;
        self
    }

    /// Serves by TLS, with this certificate, to clients that it trusts. Default: none.
    pub fn tls(mut self, ssl: SslConfig) -> Self {
        self.ssl = Some(ssl);
        self
    }

    /// How clients are treated. Default: as by a `zeo.conf` that says nothing of it.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Where the server's messages go. Default: nowhere.
    pub fn log(mut self, log: Logger) -> Self {
        self.log = log;
        self
    }

    /// The storage that is to be opened, if there is one.
    fn config(&self) -> Option<StorageConfig> {
        let kind = match (&self.path, &self.blob_dir) {
            (Some(path), blob_dir) => {
                let mut file = FileStorageConfig::new(path.clone());
                file.blob_dir.clone_from(blob_dir);
                StorageKind::FileStorage(file)
            }
            (None, _) if self.storages.iter().any(|(name, _)| name == STORAGE) => return None,
            (None, blob_dir) => {
                let memory = StorageKind::MappingStorage {
                    name: "Mapping Storage".to_owned(),
                };
                match blob_dir.clone() {
                    None => memory,
                    Some(blob_dir) => StorageKind::BlobStorage {
                        blob_dir,
                        base: Box::new(memory),
                    },
                }
            }
        };
        Some(StorageConfig::new(STORAGE.to_owned(), kind))
    }
}

/// Starts a server in this process, in threads of its own. It stops when the handle is dropped.
///
/// The equivalent of Python's `ZEO.server()`.
///
/// ```
/// let server = zeo_server::serve(zeo_server::AdHoc::in_memory())?;
/// // Such as "127.0.0.1:40321", which clients are given.
/// println!("{}", server.address());
/// server.stop();
/// # Ok::<(), zeo_server::ServeError>(())
/// ```
///
/// # Errors
/// [`ServeError`]: the storage, the certificate or the address can't be had; then all that was
/// opened is closed again.
pub fn serve(adhoc: AdHoc) -> Result<AdHocServer, ServeError> {
    let configs: Vec<StorageConfig> = adhoc.config().into_iter().collect();
    let tls = adhoc.ssl.as_ref().map(ServerTls::load).transpose()?;
    let mut storages = open_all(&configs, &adhoc.log)?;
    storages.extend(adhoc.storages);
    let server = Server::start(adhoc.settings, storages, adhoc.log)?;
    let tls = tls.map(|(tls, _)| Arc::new(tls));
    match Acceptors::start(&adhoc.address, &server, tls) {
        Ok(acceptors) => Ok(AdHocServer {
            address: acceptors.shown_addresses().join(","),
            acceptors: Some(acceptors),
            server,
        }),
        Err(why) => {
            server.stop();
            let address = adhoc.address;
            Err(ServeError::Listen { address, why })
        }
    }
}

/// A running server, which stops when this is dropped.
#[must_use = "the server stops when this is dropped"]
pub struct AdHocServer {
    address: String,
    acceptors: Option<Acceptors>,
    server: Arc<Server>,
}

impl AdHocServer {
    /// Where it listens, as clients are given it: `HOST:PORT`, `[HOST]:PORT` or the path of a Unix
    /// socket.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The server itself.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Stops it, as dropping does: clients that have voted may finish for
    /// [`Settings::stop_timeout`], all are disconnected, and the storages are closed.
    pub fn stop(self) {}
}

impl Drop for AdHocServer {
    fn drop(&mut self) {
        // First, so that no more clients come.
        drop(self.acceptors.take());
        self.server.stop();
    }
}

impl fmt::Debug for AdHocServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AdHocServer").field(&self.address).finish()
    }
}

/// Why a server can't be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The storage can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The certificate or whom it trusts can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server has no threads, or a storage can't be read.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The address can't be listened at.
    #[error("can't listen at {address}: {why}")]
    Listen {
        /// The address.
        address: Address,
        /// Why not.
        why: io::Error,
    },
}

#[cfg(test)]
mod tests;
