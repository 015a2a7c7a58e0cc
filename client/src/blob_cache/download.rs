//! Blobs that come in.

use std::fs::{File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use zeo_storage::paths::{failed, remove};
use zeo_storage::{LockFile, Result};

use super::size::Limit;
use super::temporary::Temporary;

/// Its owner alone reads it, as Python has it.
const MODE: u32 = 0o400;

/// Whether a file is here.
pub enum Lookup {
    /// It is, and is open for reading.
    Found(File),
    /// It is not, and is to be downloaded.
    Missing(Download),
}

/// A download. The directory of the file is locked until its end: by [`Self::finish`], or by
/// dropping it, which leaves nothing.
pub struct Download {
    temporary: Temporary,
    target: PathBuf,
    limit: Option<Arc<Limit>>,
    _lock: LockFile,
}

impl Download {
    /// Begins with nothing.
    ///
    /// # Errors
    /// `Io` that names the file that a killed process of Python has left, which can't be removed:
    /// Python would append to it.
    pub(super) fn begin(
        temporary: Temporary,
        target: PathBuf,
        limit: Option<Arc<Limit>>,
        lock: LockFile,
    ) -> Result<Self> {
        let mut unfinished = target.clone().into_os_string();
        unfinished.push(super::size::UNFINISHED);
        remove(unfinished.as_ref())?;
        Ok(Self {
            temporary,
            target,
            limit,
            _lock: lock,
        })
    }

    /// Adds the next part.
    ///
    /// # Errors
    /// `Io` that names the file.
    pub fn write(&mut self, part: &[u8]) -> Result<()> {
        let written = self.temporary.file.write_all(part);
        written.map_err(failed("writing the blob", &self.target))?;
        if let Some(limit) = &self.limit {
            limit.add(part.len().try_into().unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Gives the file its name, and opens it for reading.
    ///
    /// # Errors
    /// `Io` that names the file.
    pub fn finish(self) -> Result<File> {
        let writing = failed("writing the blob", &self.target);
        let permissions = PermissionsExt::from_mode(MODE);
        let protected = self.temporary.file.set_permissions(permissions);
        protected.map_err(&writing)?;
        self.temporary.place(&self.target).map_err(&writing)?;
        open_used(&self.target).map_err(failed("opening", &self.target))
    }
}

/// Opens a file, and sets when it was last used.
pub(super) fn open_used(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    // Who is not its owner may read it all the same.
    let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
    Ok(file)
}
