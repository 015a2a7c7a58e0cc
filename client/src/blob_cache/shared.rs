//! The blob directory of a server, which its clients may read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use zeo_proto::{Oid, Tid};
use zeo_storage::Result;
use zeo_storage::blob::BlobDirectory;
use zeo_storage::paths::failed;

use super::layout;
use super::temporary::Temporary;

/// A shared directory, in the layout that the server has given it.
pub(super) struct Shared {
    path: PathBuf,
    /// Known once there is a directory.
    directory: OnceLock<BlobDirectory>,
}

impl Shared {
    pub fn open(path: &Path) -> Result<Self> {
        let shared = Self {
            path: path.to_owned(),
            directory: OnceLock::new(),
        };
        if path.exists() {
            shared.find()?;
        }
        Ok(shared)
    }

    fn find(&self) -> Result<&BlobDirectory> {
        if let Some(found) = self.directory.get() {
            return Ok(found);
        }
        // A directory that is not there yet has no layout yet, either.
        let there = fs::metadata(&self.path);
        there.map_err(failed("opening the blob directory", &self.path))?;
        let found = BlobDirectory::open_read_only(&self.path)?;
        Ok(self.directory.get_or_init(|| found))
    }

    pub fn path_of(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        if self.directory.get().is_none() && !self.path.exists() {
            // Nothing is there yet, not even a layout.
            return Ok(self.path.clone());
        }
        Ok(self.find()?.path_of(oid, serial))
    }

    /// Moves a file to where the server looks for it.
    pub fn take(&self, source: &Path, oid: Oid, serial: Tid) -> Result<Temporary> {
        let directory = self.find()?.directory_of(oid);
        layout::create(&directory)?;
        let prefix = format!("0x{:016x}", serial.as_u64());
        // What Python's server expects: `.tmp` and a character.
        let taken = Temporary::take_named(source, &directory, &prefix, ".tmp-")?;
        let protected = taken.protect(&directory);
        protected.map_err(failed("moving the blob to", taken.path()))?;
        Ok(taken)
    }
}
