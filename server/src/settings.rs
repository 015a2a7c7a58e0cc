//! How a server treats its clients.

use std::time::Duration;

use zeo_proto::marshal::Encoding;

/// How the server treats its clients.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The encoding that the server offers.
    pub encoding: Encoding,
    /// No client may write.
    pub read_only: bool,
    /// The longest message of a registered client, in bytes.
    pub max_message_size: usize,
    /// Conflicts go to the client instead of being resolved here.
    pub client_conflict_resolution: bool,
    /// For how long a client may be away and still be told what changed, by
    /// reading the end of the storage; `None`: not at all.
    pub invalidation_age: Option<Duration>,
    /// How many transactions are kept for clients that come back.
    pub invalidation_queue_size: usize,
    /// How long a transaction may hold its locks before it finishes.
    pub transaction_timeout: Option<Duration>,
}
