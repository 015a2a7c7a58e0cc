//! The settings of a storage.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeo_storage::conflict::Resolver;
use zeo_storage::log::{self, Log};

use crate::address::Address;
use crate::tls::Tls;

/// The settings of a [`ClientStorage`](crate::ClientStorage), by the names of ZEO's.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The servers. All are tried; the first one that answers is used.
    pub addresses: Vec<Address>,
    /// The name of the storage on the server. Default: `1`.
    pub storage: String,
    /// The size of the cache, in bytes. Default: 20 MiB.
    pub cache_size: u64,
    /// The file of the cache, which is kept; see `client/CLIENT.md`. Default: none, a temporary file.
    pub cache: Option<PathBuf>,
    /// How long a call waits for a connection when there is none. Default: 30 seconds.
    pub wait_timeout: Duration,
    /// Whether opening waits for a connection, up to `wait_timeout`. Default: true.
    pub wait: bool,
    /// Whether this client makes no changes. Default: false.
    pub read_only: bool,
    /// Whether a read-only server will do while there is no other; then the others go on being tried,
    /// and replace it. Default: false.
    pub read_only_fallback: bool,
    /// Whether [`sync`](crate::ClientStorage::sync) asks the server, so that whatever was committed
    /// before is seen afterwards. Default: false.
    pub server_sync: bool,
    /// The directory of blob files. Default: none, no blobs.
    pub blob_dir: Option<PathBuf>,
    /// Whether that is the server's own blob directory. Default: false.
    pub shared_blob_dir: bool,
    /// The size of the blob directory, in bytes, to which it is cut down now and then. Default:
    /// none, no limit.
    pub blob_cache_size: Option<u64>,
    /// After how many percent of `blob_cache_size` in new files its size is checked. Default: 10.
    pub blob_cache_size_check: u32,
    /// What the server's log and monitor call this client. Default: none.
    pub client_label: Option<String>,
    /// TLS. Default: none.
    pub tls: Option<Tls>,
    /// The first pause between attempts to connect; each further one is longer, up to
    /// `max_disconnect_poll`. All vary by chance, between a half and the whole. Default: 1 second.
    pub disconnect_poll: Duration,
    /// The longest pause between attempts to connect. Default: 10 seconds.
    pub max_disconnect_poll: Duration,
    /// How long one attempt to connect may take, registering and the verification of the cache
    /// included. Default: 10 seconds.
    pub connect_timeout: Duration,
    /// How long a call may wait for its reply, before the connection is given up. Default: none, for
    /// ever, as in ZEO: a commit or a pack may take its time.
    pub call_timeout: Option<Duration>,
    /// Merges the changes of two transactions to an object of the program's own classes, if the
    /// server leaves it to its clients (`client-conflict-resolution`). BTrees and Length are merged
    /// without it. Default: none.
    pub resolver: Option<Arc<dyn Resolver + Send + Sync>>,
    /// Where messages go. Default: nowhere.
    pub log: Log,
}

impl Settings {
    /// The default settings, for these servers.
    pub fn new(addresses: Vec<Address>) -> Self {
        Self {
            addresses,
            storage: "1".to_owned(),
            cache_size: 20 << 20,
            cache: None,
            wait_timeout: Duration::from_secs(30),
            wait: true,
            read_only: false,
            read_only_fallback: false,
            server_sync: false,
            blob_dir: None,
            shared_blob_dir: false,
            blob_cache_size: None,
            blob_cache_size_check: 10,
            client_label: None,
            tls: None,
            disconnect_poll: Duration::from_secs(1),
            max_disconnect_poll: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            call_timeout: None,
            resolver: None,
            log: log::silent(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("addresses", &self.addresses)
            .field("storage", &self.storage)
            .field("cache", &self.cache)
            .field("cache_size", &self.cache_size)
            .field("read_only", &self.read_only)
            .field("read_only_fallback", &self.read_only_fallback)
            .field("wait", &self.wait)
            .field("wait_timeout", &self.wait_timeout)
            .field("blob_dir", &self.blob_dir)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
