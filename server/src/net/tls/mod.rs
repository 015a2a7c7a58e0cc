//! TLS as the server offers it: certificates, who may come in, and reading all that again.
//!
//! A client must show a certificate that `authenticate` trusts; the rules are those of ZEO 6.2 on
//! Python 3.13 ([`context`]).

mod config;
mod context;
mod files;
mod password;
mod pem;
mod server;
mod watch;

pub use config::{Authorities, SslConfig};
pub use context::{Loaded, TlsError};
pub use password::{PasswordSource, Secret};
pub use server::ServerTls;
pub use watch::Watch;
