//! How such a storage is opened.

use std::path::PathBuf;
use std::time::Duration;

use super::dsn::Dsn;

/// How to open such a storage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Where the database is.
    pub dsn: Dsn,
    /// What the storage calls itself; the database by default.
    pub name: Option<String>,
    /// Whether old revisions are kept; the database must be of that kind.
    pub keep_history: bool,
    /// Whether writing is refused.
    pub read_only: bool,
    /// Whether a walk through all transactions sees one state of the database, in a transaction that
    /// lasts as long; not by default. Without history, it may miss what is changed meanwhile if not.
    pub snapshot: bool,
    /// Whether tables are made where there are none.
    pub create_schema: bool,
    /// Whether packs remove what can't be reached.
    pub pack_gc: bool,
    /// Whether packs only tell how much they would remove.
    pub pack_prepack_only: bool,
    /// How long a vote waits for objects that another process has locked; 30 seconds by default.
    pub lock_timeout: Duration,
    /// How long it takes at most until what others commit is noticed; 0.2 seconds by default.
    pub poll_interval: Duration,
    /// How much memory recent revisions may take, in bytes; 64 MB by default.
    pub cache_size: usize,
    /// Where blobs are kept for a while; `None`: there are no blobs.
    pub blob_dir: Option<PathBuf>,
    /// How much room they may take there, in bytes; `None`: no limit.
    pub blob_cache_size: Option<u64>,
}

impl Settings {
    /// The defaults, with a database.
    pub fn new(dsn: Dsn) -> Self {
        Self {
            dsn,
            name: None,
            keep_history: true,
            read_only: false,
            snapshot: false,
            create_schema: true,
            pack_gc: true,
            pack_prepack_only: false,
            lock_timeout: Duration::from_secs(30),
            poll_interval: Duration::from_millis(200),
            cache_size: 64 << 20,
            blob_dir: None,
            blob_cache_size: None,
        }
    }
}
