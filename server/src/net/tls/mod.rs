//! TLS as the server offers it: certificates, who may come in, and reading all that again.
//!
//! A client must show a certificate that `authenticate` trusts; the rules are those of ZEO 6.2 on
//! Python 3.13 ([`context`]).

mod config;
mod context;
mod password;
mod pem;

use std::sync::{PoisonError, RwLock};

use openssl::ssl::SslContext;

pub use config::{Authorities, SslConfig};
pub use context::TlsError;
pub use password::{PasswordSource, Secret};

/// The server's side of TLS: the context for new connections, which can be replaced by one that
/// is read anew from the same files.
#[derive(Debug)]
pub struct ServerTls {
    config: SslConfig,
    current: RwLock<SslContext>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Certificate and authorities in one line, for the log.
    pub summary: String,
    /// What works and is probably a mistake.
    pub warnings: Vec<String>,
}

impl ServerTls {
    /// Reads certificate, key and authorities.
    ///
    /// # Errors
    /// [`TlsError`]: the file that can't be used, and why.
    pub fn load(config: &SslConfig) -> Result<(ServerTls, Loaded), TlsError> {
        let (context, loaded) = context::build(config)?;
        let tls = ServerTls {
            config: config.clone(),
            current: RwLock::new(context),
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
        let (context, loaded) = context::build(&self.config)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = context;
        Ok(loaded)
    }
}
