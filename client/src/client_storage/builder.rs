//! Settings, one after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeo_storage::conflict::Resolver;
use zeo_storage::log::Log;

use super::error::Error;
use super::settings::Settings;
use super::storage::ClientStorage;
use crate::address::Address;
use crate::tls::Tls;

/// Builds a [`ClientStorage`]: see [`Settings`] for what each setting means, and its default.
///
/// ```no_run
/// use std::time::Duration;
///
/// use zeo_client::ClientStorage;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let storage = ClientStorage::builder("db1:8100".parse()?)
///     .address("db2:8100".parse()?)
///     .read_only_fallback(true)
///     .cache("/var/cache/app/main.zec", 200 << 20)
///     .wait_timeout(Duration::from_secs(10))
///     .client_label("night job")
///     .open()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Builder(Settings);

impl ClientStorage {
    /// Begins with the default settings, for a server at this address.
    pub fn builder(address: Address) -> Builder {
        Builder(Settings::new(vec![address]))
    }
}

impl Builder {
    /// One more server.
    #[must_use]
    pub fn address(mut self, address: Address) -> Self {
        self.0.addresses.push(address);
        self
    }

    /// The name of the storage on the server.
    #[must_use]
    pub fn storage(mut self, name: impl Into<String>) -> Self {
        self.0.storage = name.into();
        self
    }

    /// The size of the cache, in bytes.
    #[must_use]
    pub fn cache_size(mut self, bytes: u64) -> Self {
        self.0.cache_size = bytes;
        self
    }

    /// A cache that is kept in this file, and its size in bytes.
    #[must_use]
    pub fn cache(mut self, path: impl Into<PathBuf>, bytes: u64) -> Self {
        self.0.cache = Some(path.into());
        self.0.cache_size = bytes;
        self
    }

    /// How long a call waits for a connection.
    #[must_use]
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.0.wait_timeout = limit;
        self
    }

    /// Whether opening waits for a connection.
    #[must_use]
    pub fn wait(mut self, wait: bool) -> Self {
        self.0.wait = wait;
        self
    }

    /// Whether this client makes no changes.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.0.read_only = read_only;
        self
    }

    /// Whether a read-only server will do while there is no other.
    #[must_use]
    pub fn read_only_fallback(mut self, fallback: bool) -> Self {
        self.0.read_only_fallback = fallback;
        self
    }

    /// Whether [`ClientStorage::sync`] asks the server.
    #[must_use]
    pub fn server_sync(mut self, sync: bool) -> Self {
        self.0.server_sync = sync;
        self
    }

    /// The directory of blob files.
    #[must_use]
    pub fn blob_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.blob_dir = Some(path.into());
        self
    }

    /// Whether the blob directory is the server's own.
    #[must_use]
    pub fn shared_blob_dir(mut self, shared: bool) -> Self {
        self.0.shared_blob_dir = shared;
        self
    }

    /// The size of the blob directory, in bytes.
    #[must_use]
    pub fn blob_cache_size(mut self, bytes: u64) -> Self {
        self.0.blob_cache_size = Some(bytes);
        self
    }

    /// After how many percent of its size in new files the blob directory is checked.
    #[must_use]
    pub fn blob_cache_size_check(mut self, percent: u32) -> Self {
        self.0.blob_cache_size_check = percent;
        self
    }

    /// What the server's log and monitor call this client.
    #[must_use]
    pub fn client_label(mut self, label: impl Into<String>) -> Self {
        self.0.client_label = Some(label.into());
        self
    }

    /// TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.0.tls = Some(tls);
        self
    }

    /// The first and the longest pause between attempts to connect.
    #[must_use]
    pub fn disconnect_poll(mut self, first: Duration, longest: Duration) -> Self {
        self.0.disconnect_poll = first;
        self.0.max_disconnect_poll = longest;
        self
    }

    /// How long one attempt to connect may take.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.0.connect_timeout = limit;
        self
    }

    /// How long a call may wait for its reply, before the connection is given up.
    #[must_use]
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.0.call_timeout = Some(limit);
        self
    }

    /// Merges changes to objects of the program's own classes.
    #[must_use]
    pub fn resolver(mut self, resolver: Arc<dyn Resolver + Send + Sync>) -> Self {
        self.0.resolver = Some(resolver);
        self
    }

    /// Where messages go.
    #[must_use]
    pub fn log(mut self, log: Log) -> Self {
        self.0.log = log;
        self
    }

    /// The settings so far.
    pub fn settings(self) -> Settings {
        self.0
    }

    /// Opens the storage.
    ///
    /// # Errors
    ///
    /// As of [`ClientStorage::open`].
    pub fn open(self) -> Result<ClientStorage, Error> {
        ClientStorage::open(self.0)
    }
}
