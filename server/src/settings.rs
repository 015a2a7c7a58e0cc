//! How a server treats its clients.

use std::sync::Arc;
use std::time::Duration;

use zeo_proto::marshal::Encoding;

use crate::helpers::Helpers;
use crate::usage::{Resource, Share, Usage, half_of_memory};

use crate::conflict_resolver::ConflictResolver;

/// How long a transaction may hold its locks when nothing is configured: as in ZEO's manual, though
/// its code has no default.
pub const DEFAULT_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// How many transactions the invalidation queue holds when nothing is configured.
pub const DEFAULT_QUEUE_SIZE: usize = 100;

/// The longest message by default, in bytes: the limit of a message's 4-byte length, and the only
/// one in Python's server.
pub const DEFAULT_MAX_MESSAGE_SIZE: u32 = u32::MAX;

/// How long a stop waits for transactions that have voted, when nothing is configured.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a load takes at least that is logged, when nothing is configured.
pub const DEFAULT_SLOW_LOAD: Duration = Duration::from_secs(1);
/// How long a commit takes at least that is logged.
pub const DEFAULT_SLOW_COMMIT: Duration = Duration::from_secs(2);
/// How long a vote waits at least for its locks when that is logged.
pub const DEFAULT_SLOW_LOCK_WAIT: Duration = Duration::from_secs(2);
/// How long a TLS handshake may take as a whole when nothing is configured.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The data of one transaction by default, in bytes.
pub const DEFAULT_MAX_TRANSACTION_SIZE: u64 = 16 << 30;

/// The uncommitted data of all clients by default, in bytes.
pub const DEFAULT_MAX_UNCOMMITTED_SIZE: u64 = 64 << 30;

/// How the server treats its clients.
///
/// The default is what a configuration file that says nothing gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The encoding that the server offers.
    pub encoding: Encoding,
    /// No client may write.
    pub read_only: bool,
    /// The longest message of a registered client, in bytes.
    pub max_message_size: usize,
    /// Conflicts go to the client instead of being resolved here.
    pub client_conflict_resolution: bool,
    /// Who merges conflicts of the application's classes, unless they go to the client.
    pub conflict_resolver: Option<Arc<ConflictResolver>>,
    /// How long a client may be disconnected and still be told what changed, by
    /// reading the end of the storage; `None`: never.
    pub invalidation_age: Option<Duration>,
    /// How many transactions are kept for clients that come back.
    pub invalidation_queue_size: usize,
    /// How long a transaction may hold its locks before it finishes.
    pub transaction_timeout: Option<Duration>,
    /// How long a stop waits for transactions that have voted.
    pub stop_timeout: Duration,
    /// How many clients may register; `None`: as many as the limit of open files allows.
    pub max_clients: Option<u64>,
    /// The memory for messages that are being received and for uncommitted data of all clients
    /// together, in bytes. More data goes to temporary files; a client with a longer message is
    /// disconnected.
    pub max_buffer_memory: u64,
    /// The data of one transaction, without blobs, in bytes.
    pub max_transaction_size: u64,
    /// The uncommitted data of all clients together, without blobs, in bytes.
    pub max_uncommitted_size: u64,
    /// What is in use of all that.
    pub(crate) usage: Arc<Usage>,
    /// Threads for what may take long.
    pub(crate) helpers: Arc<Helpers>,
    /// A load that takes so long is logged; `None`: none is. To some milliseconds.
    pub slow_load: Option<Duration>,
    /// So is a commit, from the vote to its end.
    pub slow_commit: Option<Duration>,
    /// So is a vote that waits so long for its locks.
    pub slow_lock_wait: Option<Duration>,
    /// How long a TLS handshake may take as a whole.
    pub handshake_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            encoding: Encoding::Pickle,
            read_only: false,
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE as usize,
            client_conflict_resolution: false,
            conflict_resolver: None,
            invalidation_age: None,
            invalidation_queue_size: DEFAULT_QUEUE_SIZE,
            transaction_timeout: Some(DEFAULT_TRANSACTION_TIMEOUT),
            stop_timeout: DEFAULT_STOP_TIMEOUT,
            max_clients: None,
            max_buffer_memory: half_of_memory(),
            max_transaction_size: DEFAULT_MAX_TRANSACTION_SIZE,
            max_uncommitted_size: DEFAULT_MAX_UNCOMMITTED_SIZE,
            usage: Arc::default(),
            helpers: Arc::default(),
            slow_load: Some(DEFAULT_SLOW_LOAD),
            slow_commit: Some(DEFAULT_SLOW_COMMIT),
            slow_lock_wait: Some(DEFAULT_SLOW_LOCK_WAIT),
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
        }
    }
}

impl Settings {
    /// A share of a resource, of size 0 at first.
    pub(crate) fn share(&self, resource: Resource) -> Share {
        let limit = match resource {
            Resource::Clients => self.max_clients.unwrap_or(u64::MAX),
            Resource::Memory => self.max_buffer_memory,
            Resource::Uncommitted => self.max_uncommitted_size,
        };
        self.usage.share(resource, limit)
    }
}
