//! Blobs between vote and commit.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use zeo_proto::{Oid, Tid};

use super::file::Naming;
use super::staged_name::StagedName;
use super::unsettled::Placed;
use super::{BlobDirectory, BlobFile};
use crate::Result;
use crate::disk::paths::failed;

/// The bits of a file's mode that are about permissions.
const MODE: u32 = 0o7777;
const READ: u32 = 0o444;
const WRITE: u32 = 0o222;
const MOVING: &str = "moving a blob to";

/// The revision that a blob is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Staging {
    /// That of the transaction, behind the object's revision of this tid, zero
    /// for none. If a power cut takes its name, the next start finds it.
    After(Tid),
    /// That of the transaction. It must not be seen without its name.
    New,
    /// One of an earlier tid, that is restored; the same.
    Restored(Tid),
}

/// A blob that is ready to be committed.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    directory: Arc<BlobDirectory>,
    oid: Oid,
    /// The serial of a restored revision; `None`: the transaction's tid.
    serial: Option<Tid>,
    /// Its name in `tmp` tells what revision it is.
    can_be_mended: bool,
    file: Arc<BlobFile>,
}

impl BlobDirectory {
    /// Makes a blob ready to be committed: with its permissions, a name that
    /// tells whose it is, and a directory to go to. [`Self::sync_staged`] makes
    /// it durable.
    pub(crate) fn stage(
        self: &Arc<Self>,
        oid: Oid,
        staging: Staging,
        file: Arc<BlobFile>,
    ) -> Result<Staged> {
        let directory = self.directory_of(oid);
        let made = self.make_writable(&directory);
        made.map_err(failed("making the directory of a blob,", &directory))?;
        let is_here = self.is_on_device_of(&file, &directory);
        let is_here = is_here.map_err(failed("staging the blob", &file.path()))?;
        let file = if is_here {
            file
        } else {
            let copied = self.copy_beside(&file, &directory);
            copied.map_err(failed("copying a blob to", &directory))?
        };
        let can_be_mended = match staging {
            Staging::After(before) if is_here && file.may_have_two_names() => {
                let renamed = self.name_staged(oid, before, &file);
                renamed.map_err(failed("staging the blob", &file.path()))?;
                true
            }
            _ => false,
        };
        let permitted = self.set_permissions(&file.path(), &directory);
        permitted.map_err(failed("staging the blob", &file.path()))?;
        Ok(Staged {
            directory: Arc::clone(self),
            oid,
            serial: match staging {
                Staging::Restored(serial) => Some(serial),
                Staging::After(_) | Staging::New => None,
            },
            can_be_mended,
            file,
        })
    }

    /// Makes staged blobs durable, with their names in `tmp`.
    pub(crate) fn sync_staged<'a>(&self, blobs: impl Iterator<Item = &'a Staged>) -> Result<()> {
        let (mut paths, mut temporary) = (Vec::new(), None);
        for blob in blobs {
            if blob.can_be_mended {
                temporary = Some(self.temporary());
            }
            paths.push(blob.file.path());
        }
        let synced = self.disk.sync_files(&paths, temporary.as_deref());
        synced.map_err(|(path, why)| failed("syncing the blob", &path)(why))
    }

    /// Makes a directory that a file can be moved to. (Somebody else may have
    /// made it: who restored a backup, or a client of a shared directory.)
    fn make_writable(&self, directory: &Path) -> io::Result<()> {
        match fs::create_dir_all(directory) {
            // A pack has found it empty at this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _names = self.names();
                fs::create_dir_all(directory)?;
            }
            result => result?,
        }
        let rights = Access::WRITE_OK | Access::EXEC_OK;
        match rustix::fs::accessat(CWD, directory, rights, AtFlags::EACCESS) {
            Err(Errno::ACCESS | Errno::ROFS) => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Ok(()),
        }
    }

    /// False where links lead parts of the blob directory to other devices:
    /// only on its own can a file be renamed.
    fn is_on_device_of(&self, file: &BlobFile, directory: &Path) -> io::Result<bool> {
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
        match device(directory) {
            Ok(found) => Ok(found == device(&file.path())?),
            // A pack may have found it empty at this moment.
            Err(_) => Ok(true),
        }
    }

    fn copy_beside(&self, file: &BlobFile, directory: &Path) -> io::Result<Arc<BlobFile>> {
        let (mut copy, copied) = self.new_file_in(directory)?;
        io::copy(&mut File::open(file.path())?, &mut copy)?;
        Ok(Arc::new(copied))
    }

    fn name_staged(&self, oid: Oid, before: Tid, file: &BlobFile) -> io::Result<()> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let name = StagedName {
            oid,
            before,
            number,
        };
        let path = self.temporary().join(name.to_string());
        self.disk.rename(&file.path(), &path)?;
        file.renamed(&path);
        Ok(())
    }

    /// Who may read its directory may read the file; nobody may write it any
    /// more. (`ZODB.blob.set_not_writable`)
    fn set_permissions(&self, path: &Path, directory: &Path) -> io::Result<()> {
        // A pack may find the directory empty at this moment.
        let readers = fs::metadata(directory).or_else(|_| fs::metadata(self.path()))?;
        let readers = readers.permissions().mode() & READ;
        let mode = fs::metadata(path)?.permissions().mode() & MODE & !WRITE | readers;
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// Makes the name of a committed file durable, and those of the
    /// directories that it is in: also if somebody else has made them, and not
    /// synced them. Those in `synced` are. (To sync what is durable costs
    /// little.)
    pub(super) fn sync_names(&self, path: &Path, synced: &mut HashSet<PathBuf>) -> io::Result<()> {
        let below = path.ancestors().take_while(|&name| name != self.path());
        for name in below {
            let Some(directory) = name.parent().filter(|&d| !synced.contains(d)) else {
                continue;
            };
            match self.disk.sync(name) {
                // A pack has removed the file, and so found it empty.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
            synced.insert(directory.to_owned());
        }
        Ok(())
    }
}

impl Staged {
    fn target(&self, tid: Tid) -> PathBuf {
        self.directory.path_of(self.oid, self.serial.unwrap_or(tid))
    }

    /// Gives the file its name, as part of transaction `tid`. If it is to be
    /// `durable`, or could not be mended, [`Self::sync`] has to follow.
    pub fn place(&self, tid: Tid, durable: bool) -> Result<()> {
        let target = self.target(tid);
        let placed = self.give_name(&target, self.can_be_mended && !durable);
        placed.map_err(failed(MOVING, &target))
    }

    fn give_name(&self, target: &Path, as_second: bool) -> io::Result<()> {
        let directory = &self.directory;
        let staged = self.file.path();
        let _names = directory.names();
        if as_second
            && self
                .in_directory(|| directory.disk.link(&staged, target))
                .is_ok()
        {
            self.file.set_naming(Naming::Linked);
            return Ok(());
        }
        // A crash may have left a file of that name. Where there can't be
        // second names, there is only this way.
        self.in_directory(|| directory.disk.rename(&staged, target))?;
        // Where both are names of one file, a rename does nothing.
        if staged.exists() {
            directory.disk.remove(&staged)?;
        }
        self.file.set_naming(Naming::Renamed);
        Ok(())
    }

    /// Does something in the directory of the object, which is made again if a
    /// pack has found it empty meanwhile.
    fn in_directory(&self, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.directory.directory_of(self.oid))?;
                act()
            }
            result => result,
        }
    }

    /// Makes its name durable, if that can't be mended.
    pub fn sync(&self, tid: Tid, synced: &mut HashSet<PathBuf>) -> Result<()> {
        if self.file.naming() != Naming::Renamed {
            return Ok(());
        }
        let target = self.target(tid);
        let synced = self.directory.sync_names(&target, synced);
        synced.map_err(failed(MOVING, &target))
    }

    /// Its transaction is written: says what remains to be done.
    pub fn committed(&self, tid: Tid) -> Option<Placed> {
        let naming = self.file.naming();
        self.file.set_naming(Naming::Committed);
        (naming == Naming::Linked).then(|| Placed {
            target: self.target(tid),
            staged: self.file.path(),
        })
    }

    /// Takes the name back, if the file has it: the transaction was not
    /// written.
    pub fn take_back(&self, tid: Tid) {
        let (disk, target) = (&self.directory.disk, self.target(tid));
        let taken = match self.file.naming() {
            Naming::No | Naming::Committed => return,
            Naming::Linked => disk.remove(&target),
            Naming::Renamed => disk.rename(&target, &self.file.path()),
        };
        // It would be there without a record, which does no harm.
        if taken.is_err() {
            let _ = disk.remove(&target);
        }
        self.file.set_naming(Naming::No);
    }
}
