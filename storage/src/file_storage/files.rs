//! The files beside the data, and how they are changed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::lock_file::LockFile;
use crate::disk::FileSystem;

/// What stands on disk around the data.
pub(crate) struct Files {
    /// Of `Data.fs`, absolute.
    pub path: PathBuf,
    /// Held by writers until they close.
    pub lock: Mutex<Option<LockFile>>,
    /// The position that the index on disk covers, once it is known.
    /// Whoever saves the index holds this.
    pub saved: Mutex<Option<u64>>,
    /// How the directory is changed by a pack.
    pub disk: Arc<dyn FileSystem>,
}
