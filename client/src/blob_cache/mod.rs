//! The blob cache: a directory of blob files that were loaded from a server, or committed to it.
//!
//! Any number of processes, this library's and Python's, may use one directory at once: the layout
//! and the locks are those of Python's client. A file is never changed once it has its name; it
//! may be removed at any time, when the cache is too large. That does not disturb those who have
//! it open.
//!
//! What comes in stands in `tmp` until it is complete, and is locked there. So an interrupted
//! download or upload leaves nothing, and a killed process only what the next one removes.

mod download;
mod layout;
mod shared;
mod size;
mod temporary;
#[cfg(test)]
mod tests;
mod upload;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeo_proto::{Oid, Tid};
use zeo_storage::log::Log;
use zeo_storage::paths::failed;
use zeo_storage::{Error, Result};

use self::download::open_used;
pub use self::download::{Download, Lookup};
use self::shared::Shared;
use self::size::Limit;
use self::temporary::Temporary;
pub use self::upload::Staged;

/// A directory of blob files: a cache, or that of the server itself, if it is shared.
pub struct BlobCache {
    directory: PathBuf,
    kind: Kind,
}

enum Kind {
    /// A cache, which may have a size.
    Own(Option<Arc<Limit>>),
    Shared(Shared),
}

impl BlobCache {
    /// Opens a cache, which is made if need be.
    ///
    /// `size` is how many bytes its files may take; no end to it if none. The size is looked at in
    /// a thread, now and whenever `percent` of it have come in; then the files that were not used
    /// for longest are removed until the rest is smaller than `size` by as much. So the cache takes
    /// `size` bytes at most, but for what comes in while its size is looked at, and files in use.
    ///
    /// # Errors
    /// `Io` that names the directory: it can't be made or read, or has another layout. `Value` if
    /// `percent` is 100 or more.
    pub fn open(directory: &Path, size: Option<u64>, percent: u32, log: Log) -> Result<Self> {
        let directory = absolute(directory)?;
        if size.is_some() && percent >= 100 {
            let what = format!("blob-cache-size-check is {percent}; expected less than 100");
            return Err(Error::Value(what));
        }
        layout::prepare(&directory)?;
        temporary::sweep(&layout::temporary(&directory))?;
        let limit = size.map(|size| Limit::new(&directory, size, percent, log));
        if let Some(limit) = &limit {
            limit.check();
        }
        Ok(Self {
            directory,
            kind: Kind::Own(limit),
        })
    }

    /// Uses the blob directory of the server, which is on a file system that both have. Nothing is
    /// made or removed there; it need not be there yet.
    ///
    /// # Errors
    /// `Io` that names the directory: it can't be read, or names a layout that is not known.
    pub fn open_shared(directory: &Path) -> Result<Self> {
        let directory = absolute(directory)?;
        let kind = Kind::Shared(Shared::open(&directory)?);
        Ok(Self { directory, kind })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it is the server's own directory: blobs are committed by the name of their file
    /// then, and never sent.
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Shared(_))
    }

    /// Where programs may put files that are to become blobs: they need only be renamed then.
    pub fn temporary_directory(&self) -> PathBuf {
        layout::temporary(&self.directory)
    }

    /// Where the file of a revision is, if it is here. A file of a cache may be gone at the next
    /// moment: to read it, [`Self::open_blob`] is better.
    ///
    /// # Errors
    /// `Io` that names the file, and if the directory is shared, `NoBlob`: then the file is nowhere.
    pub fn path(&self, oid: Oid, serial: Tid) -> Result<Option<PathBuf>> {
        let opened = self.open_blob(oid, serial)?;
        opened.map(|_| self.path_of(oid, serial)).transpose()
    }

    /// Opens the file of a revision, and notes that it was used; none if it must be downloaded.
    ///
    /// # Errors
    /// As of [`Self::path`].
    pub fn open_blob(&self, oid: Oid, serial: Tid) -> Result<Option<File>> {
        let path = self.path_of(oid, serial)?;
        let opened = match self.kind {
            Kind::Own(_) => open_used(&path),
            Kind::Shared(_) => File::open(&path),
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed("opening", &path)(why)),
            Err(_) if self.is_shared() => Err(Error::NoBlob { oid, serial, path }),
            Err(_) => Ok(None),
        }
    }

    fn path_of(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        match &self.kind {
            Kind::Own(_) => Ok(layout::path_of(&self.directory, oid, serial)),
            Kind::Shared(shared) => shared.path_of(oid, serial),
        }
    }

    /// Begins a download, unless the file is here by now. Others of this directory, in any process,
    /// who want a file that lies beside this one are waited for: they may be downloading it.
    ///
    /// # Errors
    /// `Io` that names a file; of the kind `TimedOut` if others took longer than `patience`. If the
    /// directory is shared, `NoBlob`: nothing can be downloaded.
    pub fn download(&self, oid: Oid, serial: Tid, patience: Duration) -> Result<Lookup> {
        if let Some(file) = self.open_blob(oid, serial)? {
            return Ok(Lookup::Found(file));
        }
        let Kind::Own(limit) = &self.kind else {
            let path = self.path_of(oid, serial)?;
            return Err(Error::NoBlob { oid, serial, path });
        };
        let directory = layout::directory_of(&self.directory, oid);
        layout::create(&directory)?;
        let lock = layout::lock(&directory, Instant::now() + patience)?;
        if let Some(file) = self.open_blob(oid, serial)? {
            return Ok(Lookup::Found(file));
        }
        let target = layout::path_of(&self.directory, oid, serial);
        let temporary = Temporary::create(&self.temporary_directory())?;
        let begun = Download::begin(temporary, target, limit.clone(), lock)?;
        Ok(Lookup::Missing(begun))
    }

    /// Takes a file that is to be committed as the blob of an object, and moves it here; it is
    /// copied and removed where it can't be renamed. `serial` is that of the revision before, or
    /// [`Tid::ZERO`].
    ///
    /// # Errors
    /// `Io` that names the file.
    pub fn upload(&self, source: &Path, oid: Oid, serial: Tid) -> Result<Staged> {
        match &self.kind {
            Kind::Own(limit) => {
                let file = Temporary::take(source, &self.temporary_directory())?;
                Ok(Staged::own(file, &self.directory, oid, limit.clone()))
            }
            Kind::Shared(shared) => Ok(Staged::shared(shared.take(source, oid, serial)?)),
        }
    }

    /// Ends the thread that looks at the size, and waits for its end; dropping does that, too.
    pub fn close(&self) {
        if let Kind::Own(Some(limit)) = &self.kind {
            limit.stop();
        }
    }
}

impl Drop for BlobCache {
    fn drop(&mut self) {
        self.close();
    }
}

fn absolute(directory: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(directory);
    path.map_err(failed("opening the blob directory", directory))
}
