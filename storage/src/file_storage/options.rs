//! How to open a storage.

use std::path::PathBuf;

use crate::log::{Log, silent};

/// How to open a [`FileStorage`](super::FileStorage): the settings of `<filestorage>`.
#[derive(Clone)]
pub struct Options {
    /// Replace an existing file by a new one.
    pub create: bool,
    /// Take no writes, change no file, need no lock.
    pub read_only: bool,
    /// Refuse stores that begin behind this position of the file.
    pub quota: Option<u64>,
    /// Remove unreachable objects when packing.
    pub pack_gc: bool,
    /// Keep the file from before a pack as `.old`.
    pub pack_keep_old: bool,
    /// The directory of blob files; without one there are no blobs.
    pub blob_dir: Option<PathBuf>,
    /// Sync only when so many bytes were written since, and when closing: for
    /// copies, of which nobody is told before they are complete. What a power
    /// cut takes is the end of the file. 0: each batch, before it is visible.
    pub sync_every: u64,
    /// Where messages go.
    pub log: Log,
}

impl Default for Options {
    /// Python's defaults; messages go nowhere.
    fn default() -> Self {
        Self {
            create: false,
            read_only: false,
            quota: None,
            pack_gc: true,
            pack_keep_old: true,
            blob_dir: None,
            sync_every: 0,
            log: silent(),
        }
    }
}
