//! What a backup takes from an open storage: the file and its index.

use std::path::Path;
use std::sync::Arc;

use super::index;
use super::storage::FileStorage;
use crate::Result;
use crate::disk::backend::Backend;

impl FileStorage {
    /// The bytes of the file that is in use now. Those that are served end at
    /// [`size`](crate::Storage::size); for a read-only storage that is always
    /// the same file with the same end, also when a server packs or writes.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.generation().backend)
    }

    /// Saves the index as a file of its own, synced, as Python's
    /// `fsIndex.save` does. It covers the file up to now.
    pub fn save_index_as(&self, path: &Path) -> Result<()> {
        index::file::save_as(path, &self.generation()).map(drop)
    }
}
