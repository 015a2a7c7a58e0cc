//! What `<ssl>` says.

use std::path::PathBuf;

use zeo_storage::zconfig::Place;

use super::password::PasswordSource;

/// A server's certificate, and whom it lets in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SslConfig {
    /// PEM: the server's certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// PEM: the certificate's key; in the file of the certificate if `None`.
    pub key: Option<PathBuf>,
    /// Who vouches for clients.
    pub authenticate: Authorities,
    /// The key's password. The configuration file can't give it.
    pub password: PasswordSource,
    /// The section, for messages.
    pub place: Option<Place>,
}

/// The certificates that are trusted: those of clients themselves, or of who signed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// PEM; revocation lists in it are heeded.
    File(PathBuf),
    /// Files named after their subjects (`HASH.0`), looked up at each handshake.
    Directory(PathBuf),
    /// Those of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    System,
}

impl SslConfig {
    /// This certificate, with the key in the same file and no password.
    pub fn new(certificate: PathBuf, authenticate: Authorities) -> SslConfig {
        SslConfig {
            certificate,
            key: None,
            authenticate,
            password: PasswordSource::None,
            place: None,
        }
    }
}
