//! Blobs that are to be committed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeo_proto::{Oid, Tid};
use zeo_storage::Result;
use zeo_storage::paths::failed;

use super::layout;
use super::size::Limit;
use super::temporary::Temporary;

/// How long a committed file waits for others who lock its directory. If it gives up, the file is
/// downloaded when it is wanted.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that is to become a blob: it is removed when this is dropped, unless it was committed.
pub struct Staged {
    temporary: Temporary,
    kind: Kind,
}

enum Kind {
    Own {
        directory: PathBuf,
        oid: Oid,
        limit: Option<Arc<Limit>>,
    },
    /// The server gives it its name.
    Shared,
}

impl Staged {
    pub(super) fn own(
        temporary: Temporary,
        directory: &Path,
        oid: Oid,
        limit: Option<Arc<Limit>>,
    ) -> Self {
        let directory = directory.to_owned();
        let kind = Kind::Own {
            directory,
            oid,
            limit,
        };
        Self { temporary, kind }
    }

    pub(super) fn shared(temporary: Temporary) -> Self {
        let kind = Kind::Shared;
        Self { temporary, kind }
    }

    /// Where the file is until it is committed.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// By which name the server finds the file, if the directory is shared. Otherwise the file is
    /// to be sent.
    pub fn shared_name(&self) -> Option<&str> {
        let name = self.path().file_name().and_then(|name| name.to_str());
        name.filter(|_| matches!(self.kind, Kind::Shared))
    }

    /// Opens the file for reading, from its beginning.
    ///
    /// # Errors
    /// `Io` that names the file.
    pub fn open(&self) -> Result<File> {
        File::open(self.path()).map_err(failed("opening", self.path()))
    }

    /// Makes the file that of the revision `tid`, which the server has committed.
    ///
    /// # Errors
    /// `Io` that names the file. The file is gone then, and will be downloaded: the transaction is
    /// committed all the same.
    pub fn commit(self, tid: Tid) -> Result<()> {
        let Kind::Own {
            directory,
            oid,
            limit,
        } = self.kind
        else {
            return Ok(());
        };
        let target = layout::path_of(&directory, oid, tid);
        let within = layout::directory_of(&directory, oid);
        layout::create(&within)?;
        let lock = layout::lock(&within, Instant::now() + PATIENCE)?;
        let moving = failed("moving a blob to", &target);
        self.temporary.protect(&within).map_err(&moving)?;
        let size = self.temporary.file.metadata().map_err(&moving)?.len();
        self.temporary.place(&target).map_err(moving)?;
        drop(lock);
        if let Some(limit) = limit {
            limit.add(size);
        }
        Ok(())
    }
}
