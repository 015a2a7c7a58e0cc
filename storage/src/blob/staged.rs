//! Blobs between vote and commit.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use zeo_proto::{Oid, Tid};

use super::{BlobDirectory, BlobFile};
use crate::Result;
use crate::disk::paths::failed;

/// The bits of a file's mode that are about permissions.
const MODE: u32 = 0o7777;
const READ: u32 = 0o444;
const WRITE: u32 = 0o222;

/// A blob whose data are durable, without its name.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    directory: Arc<BlobDirectory>,
    oid: Oid,
    /// The serial of a restored revision; `None`: the transaction's tid.
    serial: Option<Tid>,
    file: Arc<BlobFile>,
}

impl BlobDirectory {
    /// Makes a blob ready to be committed: durable, with its permissions and
    /// a directory to go to.
    pub(crate) fn stage(
        self: &Arc<Self>,
        oid: Oid,
        serial: Option<Tid>,
        file: Arc<BlobFile>,
    ) -> Result<Staged> {
        let directory = self.directory_of(oid);
        let made = self.make_writable(&directory);
        made.map_err(failed("making the directory of a blob,", &directory))?;
        let moved = self.on_its_device(file, &directory);
        let file = moved.map_err(failed("copying a blob to", &directory))?;
        let finished = self.finish(file.path(), &directory);
        finished.map_err(failed("syncing the blob", file.path()))?;
        Ok(Staged {
            directory: Arc::clone(self),
            oid,
            serial,
            file,
        })
    }

    /// Makes a directory that a file can be moved to. (Somebody else may have
    /// made it: who restored a backup, or a client of a shared directory.)
    fn make_writable(&self, directory: &Path) -> io::Result<()> {
        match self.make(directory) {
            // A pack has found it empty at this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _names = self.names();
                self.make(directory)?;
            }
            result => result?,
        }
        let rights = Access::WRITE_OK | Access::EXEC_OK;
        match rustix::fs::accessat(CWD, directory, rights, AtFlags::EACCESS) {
            Err(Errno::ACCESS | Errno::ROFS) => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Ok(()),
        }
    }

    /// The file, or a copy in the directory, if that is on another device
    /// (where links lead parts of the blob directory elsewhere): only on its
    /// own can a file be renamed.
    fn on_its_device(&self, file: Arc<BlobFile>, directory: &Path) -> io::Result<Arc<BlobFile>> {
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
        match device(directory) {
            Ok(found) if found != device(file.path())? => {
                let (mut copy, copied) = self.new_file_in(directory)?;
                io::copy(&mut File::open(file.path())?, &mut copy)?;
                Ok(Arc::new(copied))
            }
            _ => Ok(file),
        }
    }

    /// Syncs the file. Who may read its directory may read it; nobody may
    /// write it any more. (`ZODB.blob.set_not_writable`)
    fn finish(&self, path: &Path, directory: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        // A pack may find the directory empty at this moment.
        let readers = fs::metadata(directory).or_else(|_| fs::metadata(self.path()))?;
        let readers = readers.permissions().mode() & READ;
        let mode = file.metadata()?.permissions().mode() & MODE & !WRITE | readers;
        file.set_permissions(Permissions::from_mode(mode))?;
        self.disk.sync_file(&file)
    }

    /// Makes a directory below this one, durably: also if somebody else has
    /// made it, and not synced it. (To sync what is durable costs little.)
    fn make(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let below = directory
            .ancestors()
            .take_while(|&parent| parent != self.path());
        below.into_iter().try_for_each(|made| self.disk.sync(made))
    }
}

impl Staged {
    fn target(&self, tid: Tid) -> PathBuf {
        self.directory.path_of(self.oid, self.serial.unwrap_or(tid))
    }

    /// Gives the file its name, as part of transaction `tid`.
    pub fn place(&self, tid: Tid) -> Result<()> {
        let target = self.target(tid);
        let placed = self.rename(&target);
        placed.map_err(failed("moving a blob to", &target))
    }

    fn rename(&self, target: &Path) -> io::Result<()> {
        let directory = &self.directory;
        let _names = directory.names();
        let rename = || directory.disk.rename(self.file.path(), target);
        match rename() {
            // A pack has found its directory empty meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                directory.make(&directory.directory_of(self.oid))?;
                rename()?;
            }
            result => result?,
        }
        // An undo that a crash has cut short left the same file there: where
        // both are names of one file, a rename does nothing.
        if self.file.path().exists() {
            directory.disk.remove(self.file.path())?;
        }
        self.file.placed();
        Ok(())
    }

    /// Makes its name durable.
    pub fn sync(&self, tid: Tid) -> Result<()> {
        let target = self.target(tid);
        let synced = self.directory.disk.sync(&target);
        synced.map_err(failed("moving a blob to", &target))
    }

    /// Gives the file its first name again, if it has another: the transaction
    /// was not written.
    pub fn take_back(&self, tid: Tid) {
        if self.file.is_placed() {
            let (disk, target) = (&self.directory.disk, self.target(tid));
            match disk.rename(&target, self.file.path()) {
                Ok(()) => self.file.taken_back(),
                // It would be there without a record, which does no harm.
                Err(_) => drop(disk.remove(&target)),
            }
        }
    }
}
