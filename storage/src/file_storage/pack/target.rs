//! Where the packed file is written, and how it takes the place of the old
//! one.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blob::BlobDirectory;
use crate::disk::backend::Backend;
use crate::disk::paths::{beside, failed, is_there};
use crate::disk::refuses_links;
use crate::file_storage::files::{Files, indexes, old_of};
use crate::file_storage::index;
use crate::file_storage::read::generation::Generation;
use crate::log::{Level, Log};
use crate::{Error, FileId, Result};

/// The place of the packed file. Unless it takes that of the storage, it is
/// removed when this is dropped.
pub(super) enum Target<'a> {
    /// In memory.
    Memory(Arc<dyn Backend>),
    /// Beside the storage, as `.pack`.
    Disk(PackFile<'a>),
}

pub(super) struct PackFile<'a> {
    files: &'a Files,
    keep_old: bool,
    log: &'a Log,
    path: PathBuf,
    file: File,
    /// Whether it is left when this is dropped, since the old file has lost its
    /// name: the next start is to see that a pack did not come to its end.
    is_left: Cell<bool>,
}

/// Removes what an earlier pack left when it was killed.
pub(super) fn clear(files: &Files) -> Result<()> {
    remove(files, &beside(&files.data, ".pack"))
}

/// Removes the `.old` files of an earlier pack, as Python does: there may be no
/// room for three.
/// With `keep_old`, fails unless there is going to be another one.
pub(super) fn clear_old(
    files: Option<&Files>,
    blobs: Option<&BlobDirectory>,
    keep_old: bool,
) -> Result<()> {
    if let Some(files) = files {
        let old = old_of(&files.data)?;
        if keep_old {
            check_volume(&files.data, &old)?;
        }
        remove(files, &old)?;
    }
    if let Some(blobs) = blobs {
        // No `.old` file may be there without its blobs.
        files.map_or(Ok(()), sync)?;
        blobs.clear_old()?;
    }
    Ok(())
}

/// True when the last pack was killed before its file took the place. (Where a rename is two changes of a
/// directory, a power cut may leave that file with both names.)
pub(super) fn is_unfinished(files: &Files) -> bool {
    let packed = FileId::of(&beside(&files.data, ".pack"));
    packed.is_some() && packed != FileId::of(&files.data)
}

impl<'a> Target<'a> {
    /// A place for a file of `size` bytes or more, of a storage that has these
    /// files, or none. With `keep_old`, the file that is replaced is kept.
    pub fn new(
        files: Option<&'a Files>,
        keep_old: bool,
        log: &'a Log,
        old: &Generation,
        size: u64,
    ) -> Result<Self> {
        let Some(files) = files else {
            let sibling = old.backend.sibling().ok_or_else(|| {
                Error::Unsupported("a storage over this backend can't be packed".to_owned())
            })?;
            return Ok(Self::Memory(sibling));
        };
        check_room(&files.data, size)?;
        let path = beside(&files.data, ".pack");
        let file = files.disk.create(&path);
        let file = file.map_err(failed("creating", &path))?;
        let pack = PackFile {
            files,
            keep_old,
            log,
            path,
            file,
            is_left: Cell::new(false),
        };
        pack.keep_permissions();
        Ok(Self::Disk(pack))
    }

    /// The file to be written.
    pub fn backend(&self) -> Result<Arc<dyn Backend>> {
        match self {
            Self::Memory(backend) => Ok(Arc::clone(backend)),
            Self::Disk(pack) => pack.named(&pack.path),
        }
    }

    /// The same file under the name that it will have.
    pub fn final_backend(&self) -> Result<Arc<dyn Backend>> {
        match self {
            Self::Memory(backend) => Ok(Arc::clone(backend)),
            Self::Disk(pack) => pack.named(&pack.files.path),
        }
    }

    /// Puts the packed file, which is durable, in the place of the old one.
    /// An error that is returned with success came after that: nobody knows
    /// which file a power cut would leave.
    pub fn take(&self) -> Result<Option<Error>> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::Disk(pack) => pack.take(),
        }
    }
}

impl PackFile<'_> {
    fn named(&self, path: &Path) -> Result<Arc<dyn Backend>> {
        let file = self.file.try_clone();
        let file = file.map_err(failed("opening again", &self.path))?;
        Ok(self.files.disk.backend(file, path.to_owned()))
    }

    /// Whoever may read the storage may still do so.
    fn keep_permissions(&self) {
        let kept = std::fs::metadata(&self.files.data)
            .and_then(|metadata| self.file.set_permissions(metadata.permissions()));
        if let Err(why) = kept {
            let what = format!("the packed file can't get the permissions of the old one: {why}");
            (self.log)(Level::Warning, &what);
        }
    }

    /// One rename, so that there is always one whole file under the name of
    /// the storage. The link is made before: until the rename, it is a second
    /// name for the same file.
    ///
    /// Where there are no links, the old file has to go first. A kill between
    /// leaves `.old` and `.pack`, and nothing under the name: then opening the
    /// storage gives it back (`take_back`).
    fn take(&self) -> Result<Option<Error>> {
        let (path, old) = (&self.files.data, old_of(&self.files.data)?);
        let disk = &self.files.disk;
        if !is_there(path) {
            let what = "the file was moved away; nothing was packed";
            let gone = io::Error::new(io::ErrorKind::NotFound, what);
            return Err(failed("packing", path)(gone));
        }
        let mut has_moved = false;
        if self.keep_old {
            let kept = match disk.link(path, &old) {
                Err(error) if refuses_links(&error) => {
                    has_moved = true;
                    disk.rename(path, &old)
                }
                linked => linked,
            };
            kept.map_err(failed("keeping the old file as", &old))?;
        }
        if let Err(error) = disk.rename(&self.path, path) {
            let error = failed("renaming the packed file to", path)(error);
            let back = match has_moved {
                true => disk.rename(&old, path),
                false if self.keep_old => {
                    // It would do no harm.
                    let _ = disk.remove(&old);
                    Ok(())
                }
                false => Ok(()),
            };
            return match back {
                Ok(()) => Err(error),
                Err(_) => {
                    self.is_left.set(true);
                    Ok(Some(error))
                }
            };
        }
        let mut done = synced(self.files, path);
        if self.keep_old && old.parent() != path.parent() {
            done = done.and_then(|()| synced(self.files, &old));
        }
        Ok(done.err())
    }
}

impl Drop for PackFile<'_> {
    fn drop(&mut self) {
        if self.is_left.get() {
            return;
        }
        if let Err(error) = self.files.disk.remove(&self.path) {
            let what = format!("{} could not be removed: {error}", self.path.display());
            (self.log)(Level::Warning, &what);
        }
    }
}

/// Puts an index that covers nothing in the place of that of the old file, for
/// good: it tells whose either file is. To be called with `Files::saved` held,
/// so that nobody writes the old one again.
pub(super) fn empty_index(files: &Files, accepted: u64) -> Result<()> {
    for (number, path) in indexes(&files.path, &files.data)?.into_iter().enumerate() {
        // The first is read when the storage opens.
        match number {
            0 => write_empty_index(files, &path, accepted)?,
            _ => remove(files, &path)?,
        }
        synced(files, &path)?;
    }
    Ok(())
}

fn write_empty_index(files: &Files, path: &Path, accepted: u64) -> Result<()> {
    let (temporary, disk) = (beside(path, ".index_tmp"), &files.disk);
    remove(files, &temporary)?;
    let write = || {
        let mut file = disk.create(&temporary)?;
        file.write_all(&index::file::empty(accepted)?)?;
        disk.sync_file(&file)?;
        disk.rename(&temporary, path)
    };
    write().map_err(failed("saving an empty index as", path))
}

/// Fails if the old file can't be kept as `kept`, which is a link to another
/// volume then.
fn check_volume(data: &Path, kept: &Path) -> Result<()> {
    let volume_of = |path: &Path| {
        let found = std::fs::metadata(path.parent().unwrap_or(path));
        let volume = found.map(|found| found.dev());
        volume.map_err(failed("opening", path))
    };
    if volume_of(data)? == volume_of(kept)? {
        return Ok(());
    }
    let what = "a pack can't keep the old file there, on another file system: remove the link, or \
                set pack-keep-old to false";
    let elsewhere = io::Error::other(what);
    Err(failed("packing with .old a link to", kept)(elsewhere))
}

fn sync(files: &Files) -> Result<()> {
    synced(files, &files.data)
}

fn synced(files: &Files, path: &Path) -> Result<()> {
    let synced = files.disk.sync(path);
    synced.map_err(failed("syncing the directory of", path))
}

fn remove(files: &Files, path: &Path) -> Result<()> {
    let removed = files.disk.remove(path);
    removed.map_err(failed("removing", path))
}

/// Fails at once if the disk can't take what the file will have at least.
fn check_room(path: &Path, size: u64) -> Result<()> {
    let directory = path.parent().unwrap_or(path);
    let Ok(stat) = rustix::fs::statvfs(directory) else {
        return Ok(());
    };
    let room = stat.f_bavail.saturating_mul(stat.f_frsize);
    if room < size {
        let what = format!("the packed file needs at least {size} bytes, and {room} are free");
        let full = io::Error::new(io::ErrorKind::StorageFull, what);
        return Err(failed("packing", path)(full));
    }
    Ok(())
}
