//! `<zeo>`: how to serve.

use std::path::PathBuf;
use std::time::Duration;

use zeo_storage::zconfig::datatypes::{self, Address};
use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section};

use super::ssl;
use crate::net::tls::SslConfig;
use crate::settings::{DEFAULT_QUEUE_SIZE, DEFAULT_TRANSACTION_TIMEOUT};

/// The keys of the section.
const KEYS: [&str; 8] = [
    "address",
    "read-only",
    "invalidation-queue-size",
    "invalidation-age",
    "transaction-timeout",
    "pid-filename",
    "client-conflict-resolution",
    "msgpack",
];

/// The parameters of a server, except its storages.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ZeoConfig {
    /// Where to listen.
    pub address: Address,
    /// Whether all writes are refused.
    pub read_only: bool,
    /// How many transactions the invalidation queue holds.
    pub invalidation_queue_size: usize,
    /// How old a client's cache may be to be verified by reading the end of the storage; `None`:
    /// never.
    pub invalidation_age: Option<Duration>,
    /// How long a transaction may hold its locks. Zero: no limit.
    pub transaction_timeout: Duration,
    /// The file to write the process's id to, as configured.
    pub pid_filename: Option<PathBuf>,
    /// Whether conflicts are left to the client.
    pub client_conflict_resolution: bool,
    /// Whether to speak msgpack; the environment says, if `None`.
    pub msgpack: Option<bool>,
    /// TLS; `None`: clients are not encrypted.
    pub ssl: Option<SslConfig>,
}

impl ZeoConfig {
    /// The configuration of a server at `address`, with defaults for everything else.
    pub fn new(address: Address) -> ZeoConfig {
        ZeoConfig {
            address,
            read_only: false,
            invalidation_queue_size: DEFAULT_QUEUE_SIZE,
            invalidation_age: None,
            transaction_timeout: DEFAULT_TRANSACTION_TIMEOUT,
            pid_filename: None,
            client_conflict_resolution: false,
            msgpack: None,
            ssl: None,
        }
    }

    pub(super) fn from_section(section: &Section) -> Result<ZeoConfig, ConfigError> {
        let reader = Reader::new(section, &KEYS)?;
        let address = reader.required("address", listen_address)?;
        let mut zeo = ZeoConfig::new(address);
        if let Some(read_only) = reader.optional("read-only", datatypes::boolean)? {
            zeo.read_only = read_only;
        }
        if let Some(size) = reader.optional("invalidation-queue-size", queue_size)? {
            zeo.invalidation_queue_size = size;
        }
        zeo.invalidation_age = reader.optional("invalidation-age", seconds)?;
        let timeout = reader.optional("transaction-timeout", |text| {
            datatypes::integer(text).map(|n| Duration::from_secs(n.try_into().unwrap_or(0)))
        })?;
        if let Some(timeout) = timeout {
            zeo.transaction_timeout = timeout;
        }
        zeo.pid_filename = reader.optional("pid-filename", datatypes::existing_dirpath)?;
        let resolution = reader.optional("client-conflict-resolution", datatypes::boolean)?;
        zeo.client_conflict_resolution = resolution.unwrap_or(false);
        zeo.msgpack = reader.optional("msgpack", datatypes::boolean)?;
        let mut ssl = None;
        for inner in &section.sections {
            match inner.kind.as_str() {
                "ssl" => reader::only("ssl", &mut ssl, inner)?,
                _ => return Err(reader::unknown_section(inner, "<zeo>", vec!["<ssl>"])),
            }
        }
        zeo.ssl = ssl.map(ssl::from_section).transpose()?;
        Ok(zeo)
    }
}

/// Where to listen. Without a port, Python's server listens at any that is free, where nobody looks
/// for it; and what has neither port nor slash is the path of a Unix socket, as a rule.
///
/// # Errors
/// Not an address, or a port is missing.
pub fn listen_address(text: &str) -> Result<Address, String> {
    let address = datatypes::socket_binding_address(text)?;
    if let Address::Tcp { port: None, .. } = address {
        return Err(format!(
            "{text:?} has no port; expected PORT, HOST:PORT, [IPV6]:PORT or a path with a slash, \
             such as ./zeo.sock (port 0 is any that is free)"
        ));
    }
    Ok(address)
}

/// A number of seconds, with or without a fraction. Negative numbers count as zero, too large ones
/// as the longest duration.
///
/// # Errors
/// Not a number.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number = datatypes::float(text)?;
    if number.is_nan() {
        return Err(format!("{text:?} is not a number of seconds"));
    }
    Ok(Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(Duration::MAX))
}

fn queue_size(text: &str) -> Result<usize, String> {
    Ok(datatypes::integer(text)?
        .max(0)
        .try_into()
        .unwrap_or(usize::MAX))
}
