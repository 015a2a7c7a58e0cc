//! The context for new connections, and its replacement.

use std::sync::{Mutex, PoisonError, RwLock};

use openssl::ssl::SslContext;

use super::config::SslConfig;
use super::context::{self, Loaded, TlsError};
use super::files::Files;

/// The server's side of TLS: the context for new connections, which can be replaced by one that
/// is read anew from the same files.
#[derive(Debug)]
pub struct ServerTls {
    config: SslConfig,
    current: RwLock<SslContext>,
    /// The files when they were last read, or tried.
    read: Mutex<Files>,
}

impl ServerTls {
    /// Reads certificate, key and authorities.
    ///
    /// # Errors
    /// [`TlsError`]: the file that can't be used, and why.
    pub fn load(config: &SslConfig) -> Result<(ServerTls, Loaded), TlsError> {
        let read = Mutex::new(Files::of(config));
        let (context, loaded) = context::build(config)?;
        let tls = ServerTls {
            config: config.clone(),
            current: RwLock::new(context),
            read,
        };
        Ok((tls, loaded))
    }

    /// The context for a new connection.
    pub fn context(&self) -> SslContext {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads all files again, for connections that come from now on. Those that there are keep
    /// what they have. Sessions can't be resumed across it: each context has ticket keys of its
    /// own, so that a client whose certificate is no longer trusted does not come in by an old
    /// ticket.
    ///
    /// # Errors
    /// [`TlsError`]: then the context stays as it is.
    pub fn reload(&self) -> Result<Loaded, TlsError> {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Files::of(&self.config);
        let (context, loaded) = context::build(&self.config)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = context;
        Ok(loaded)
    }

    /// What is read.
    pub(super) fn config(&self) -> &SslConfig {
        &self.config
    }

    /// Whether the files were others when they were read.
    pub(super) fn is_outdated(&self, now: &Files) -> bool {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) != *now
    }
}
