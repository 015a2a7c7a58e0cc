//! How to open a storage.

use std::path::PathBuf;

use crate::log::{Log, silent};

/// How to open a [`FileStorage`](super::FileStorage): the settings of
/// `<filestorage>`. Other crates begin with the defaults: [`Options::with`].
#[derive(Clone)]
#[non_exhaustive]
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
    /// Bytes between syncs; 0 syncs each batch before it is visible. More is
    /// for bulk copies: a power cut may take the end that is not synced yet.
    pub sync_every: u64,
    /// How many bytes of zeros to prepare at a time behind the last transaction,
    /// so that most syncs need not make the file longer; 0: none, and 64 MiB at
    /// most. Not with `sync_every`.
    pub prepare_room: u64,
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
            prepare_room: 0,
            log: silent(),
        }
    }
}

impl Options {
    /// The defaults, but for what `change` sets:
    ///
    /// ```
    /// use zeo_storage::file_storage::Options;
    ///
    /// let options = Options::with(|options| options.read_only = true);
    /// assert!(options.read_only && options.pack_gc);
    /// ```
    pub fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut options = Self::default();
        change(&mut options);
        options
    }
}
