//! TLS as a client of ZEO has it: whom it trusts, and who it is.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use zeo_proto::stream;

use crate::address::Address;
use crate::reason::reason;

/// Who vouches for the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authorities {
    /// The authorities that the system trusts.
    #[default]
    System,
    /// A PEM file with any number of certificates: of authorities, or the server's own. If it has
    /// revocation lists, they are checked.
    File(PathBuf),
    /// A directory, as `openssl rehash` makes it.
    Directory(PathBuf),
}

impl Authorities {
    /// As ZEO has them under one name: a directory, `DYNAMIC` for those of the system, or a file.
    pub fn named(path: &Path) -> Self {
        if path.is_dir() {
            Self::Directory(path.to_owned())
        } else if path.as_os_str() == "DYNAMIC" {
            Self::System
        } else {
            Self::File(path.to_owned())
        }
    }
}

/// The settings of TLS.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsSettings {
    /// Who vouches for the server. Default: the system's authorities.
    pub authorities: Authorities,
    /// A PEM file with the client's certificate, and behind it those that lead to its authority.
    /// Default: none.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the certificate's key. Default: the file of the certificate.
    pub key: Option<PathBuf>,
    /// The name that must be in the server's certificate. Default: the host of its address.
    pub server_name: Option<String>,
    /// Whether the name is compared at all. Default: true.
    pub check_host_name: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            authorities: Authorities::System,
            certificate: None,
            key: None,
            server_name: None,
            check_host_name: true,
        }
    }
}

/// TLS, ready for any number of connections: the files have been read.
///
/// Servers of ZEO demand a certificate of the client, which is all that they know it by:
///
/// ```no_run
/// use zeo_client::{Authorities, ClientStorage, Tls, TlsSettings};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut settings = TlsSettings::default();
/// settings.authorities = Authorities::File("/etc/zeo/server.pem".into());
/// settings.certificate = Some("/etc/zeo/job.pem".into());
/// settings.key = Some("/etc/zeo/job.key".into());
/// let tls = Tls::new(&settings, None)?;
/// let storage = ClientStorage::builder("db.example.org:8100".parse()?).tls(tls).open()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    context: SslContext,
    server_name: Option<String>,
    check_host_name: bool,
}

/// Why there is no TLS: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct TlsError {
    what: String,
    why: String,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .field("check_host_name", &self.check_host_name)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. `password` is for the key, if that is encrypted; nobody is asked for one.
    ///
    /// # Errors
    /// A file can't be read, is not what it should be, or the key and the certificate don't belong
    /// together.
    pub fn new(settings: &TlsSettings, password: Option<&[u8]>) -> Result<Self, TlsError> {
        let opening = |why| refused("TLS", why);
        let mut builder = SslContext::builder(SslMethod::tls_client()).map_err(opening)?;
        let version = Some(SslVersion::TLS1_2);
        builder.set_min_proto_version(version).map_err(opening)?;
        builder.set_verify(SslVerifyMode::PEER);
        stream::prepare(&mut builder);
        // As Python's client from 3.13 on: its checks are strict.
        let mut flags = X509VerifyFlags::X509_STRICT
            | X509VerifyFlags::TRUSTED_FIRST
            | X509VerifyFlags::PARTIAL_CHAIN;
        if trust(&mut builder, &settings.authorities)? {
            flags |= X509VerifyFlags::CRL_CHECK;
        }
        builder
            .verify_param_mut()
            .set_flags(flags)
            .map_err(opening)?;
        if let Some(certificate) = &settings.certificate {
            let key = settings.key.as_ref().unwrap_or(certificate);
            identify(&mut builder, certificate, key, password)?;
        }
        Ok(Self {
            context: builder.build(),
            server_name: settings.server_name.clone(),
            check_host_name: settings.check_host_name,
        })
    }

    /// TLS for one connection to this server.
    pub(crate) fn session(&self, address: &Address) -> Result<Ssl, TlsError> {
        let host = match address {
            Address::Tcp { host, .. } => Some(host),
            Address::Unix(_) => None,
        };
        let name = self.server_name.as_ref().or(host);
        let Some(name) = name else {
            return Err(TlsError {
                what: "TLS over a Unix socket".to_owned(),
                why: "give the name in the server's certificate".to_owned(),
            });
        };
        self.prepared(name).map_err(|why| refused("TLS", why))
    }

    fn prepared(&self, name: &str) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_connect_state();
        let ip = name.parse::<IpAddr>();
        if ip.is_err() {
            ssl.set_hostname(name)?;
        }
        if self.check_host_name {
            let checks = ssl.param_mut();
            checks.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match ip {
                Ok(ip) => checks.set_ip(ip)?,
                Err(_) => checks.set_host(name)?,
            }
        }
        Ok(ssl)
    }
}

/// Sets who vouches for the server; true if there are revocation lists.
fn trust(builder: &mut SslContextBuilder, authorities: &Authorities) -> Result<bool, TlsError> {
    match authorities {
        Authorities::System => {
            let found = builder.set_default_verify_paths();
            found.map_err(|why| refused("the system's authorities", why))?;
            if ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os) == [None, None] {
                add_system_places(builder);
            }
            Ok(false)
        }
        Authorities::File(path) => {
            let what = || format!("authorities {}", path.display());
            let text = read(path, &what())?;
            let loaded = builder.load_verify_locations(Some(path), None);
            loaded.map_err(|why| refused(what(), why))?;
            Ok(contains(&text, b"-----BEGIN X509 CRL-----"))
        }
        Authorities::Directory(path) => {
            let what = || format!("authorities {}", path.display());
            let listed = fs::read_dir(path).map(drop);
            listed.map_err(|why| failed(what(), &why))?;
            let loaded = builder.load_verify_locations(None, Some(path));
            loaded.map_err(|why| refused(what(), why))?;
            Ok(false)
        }
    }
}

/// Adds the places where Linux distributions keep their authorities: an OpenSSL that was built with
/// this program looks for them where it would itself be installed.
fn add_system_places(builder: &mut SslContextBuilder) {
    let found = openssl_probe::probe();
    for directory in &found.cert_dir {
        // One that holds nothing vouches for nobody.
        let _ = builder.load_verify_locations(None, Some(directory));
    }
    if let Some(file) = &found.cert_file {
        let _ = builder.load_verify_locations(Some(file), None);
    }
}

/// Sets the client's certificate and key.
fn identify(
    builder: &mut SslContextBuilder,
    certificate: &Path,
    key: &Path,
    password: Option<&[u8]>,
) -> Result<(), TlsError> {
    let what = format!("certificate {}", certificate.display());
    read(certificate, &what)?;
    let set = builder.set_certificate_chain_file(certificate);
    set.map_err(|why| refused(what, why))?;
    let what = format!("key {}", key.display());
    let text = read(key, &what)?;
    if !contains(&text, b"PRIVATE KEY-----") {
        let why = "there is no private key in this file".to_owned();
        return Err(TlsError { what, why });
    }
    let is_encrypted = contains(&text, b"ENCRYPTED");
    if is_encrypted && password.is_none() {
        let why = "the key is encrypted, and no password is given".to_owned();
        return Err(TlsError { what, why });
    }
    // Also without a password: then OpenSSL does not ask for one.
    let key = PKey::private_key_from_pem_passphrase(&text, password.unwrap_or_default())
        .map_err(|why| refused(&what, why))?;
    let fits = builder
        .set_private_key(&key)
        .and_then(|()| builder.check_private_key());
    fits.map_err(|why| refused(what, why))
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|why| failed(what, &why))
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|part| part == words)
}

fn failed(what: impl Into<String>, why: &std::io::Error) -> TlsError {
    TlsError {
        what: what.into(),
        why: reason(why),
    }
}

/// What OpenSSL says, in the words of its first error.
fn refused(what: impl Into<String>, why: ErrorStack) -> TlsError {
    let first = why.errors().first().and_then(|error| error.reason());
    TlsError {
        what: what.into(),
        why: first.map_or_else(|| why.to_string(), str::to_owned),
    }
}
