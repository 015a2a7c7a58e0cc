//! Blobs: files that belong to object revisions, in a directory of their own
//! (`ZODB.blob`). `FORMAT.md` tells the layouts and the order of things.
//!
//! A [`BlobFile`] is on its way: an upload in `tmp`, a file that a client has
//! put beside the committed ones (a shared directory), or a second name for a
//! committed one (an undo). The vote makes it durable (`BlobDirectory::stage`),
//! under a name that tells whose it is. The log writer gives it its own name
//! (`Staged::place`) before it writes the transaction, so that whoever sees the
//! record finds the file. That name becomes durable later (`settle`); if the
//! power fails before, the next start gives it again (`mend`).

mod file;
mod layout;
mod mend;
mod removal;
mod settle;
mod staged;
mod staged_name;
mod unsettled;
mod walk;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeo_proto::{Oid, Tid};

pub use self::file::BlobFile;
pub use self::layout::{Layout, MARK, SUFFIX, file_name, serial_of};
pub(crate) use self::removal::{Removed, Revisions};
pub(crate) use self::staged::{Staged, Staging};
use self::staged_name::{OURS, StagedName};
use self::unsettled::Unsettled;
pub use self::walk::{FoundFile, Listed};
use crate::disk::paths::{failed, resolve};
use crate::disk::{Disk, FileSystem};
use crate::record::class_name;
use crate::{Error, Result};

/// The directory, in that of the blobs, where files are that are not committed yet.
pub const TEMPORARY: &str = "tmp";

/// A directory of blob files.
pub struct BlobDirectory {
    path: PathBuf,
    layout: Layout,
    disk: Arc<dyn FileSystem>,
    /// Clients can't share it: committed blobs are kept elsewhere.
    is_private: bool,
    /// Held by whoever gives a file its name, or removes a directory that has
    /// become empty.
    names: Mutex<()>,
    /// How many files were staged.
    staged: AtomicU64,
    unsettled: Arc<Unsettled>,
}

impl BlobDirectory {
    /// Opens the directory, which is made and marked if need be. What uploads
    /// have left there is removed, so nobody else may write: the storage's
    /// lock file sees to that.
    ///
    /// # Errors
    ///
    /// `Io` that names the directory.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_on(Arc::new(Disk), path)
    }

    /// As `open`, on the given file system.
    pub(crate) fn open_on(disk: Arc<dyn FileSystem>, path: &Path) -> Result<Self> {
        let directory = Self {
            disk,
            ..Self::find(path)?
        };
        directory
            .prepare()
            .map_err(failed("opening the blob directory", path))?;
        Ok(directory)
    }

    /// Opens the directory only to read in it.
    ///
    /// # Errors
    ///
    /// `Io` that names the directory.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        Self::find(path)
    }

    /// The same, of a storage that keeps its committed blobs elsewhere.
    #[must_use]
    pub fn private(self) -> Self {
        Self {
            is_private: true,
            ..self
        }
    }

    fn find(path: &Path) -> Result<Self> {
        let opening = failed("opening the blob directory", path);
        let path = std::path::absolute(path).and_then(|path| resolve(&path));
        let path = path.map_err(&opening)?;
        let layout = Layout::detect(&path).map_err(&opening)?;
        Ok(Self {
            path,
            layout,
            disk: Arc::new(Disk),
            is_private: false,
            names: Mutex::default(),
            staged: AtomicU64::default(),
            unsettled: Arc::default(),
        })
    }

    fn prepare(&self) -> io::Result<()> {
        let missing = self.path.ancestors().take_while(|path| !path.exists());
        let missing: Vec<&Path> = missing.collect();
        fs::create_dir_all(&self.path)?;
        missing.iter().try_for_each(|made| self.disk.sync(made))?;
        self.mark()?;
        let temporary = self.temporary();
        fs::create_dir_all(&temporary)?;
        self.disk.sync(&temporary)?;
        for entry in fs::read_dir(&temporary)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let is_ours = name.as_encoded_bytes().starts_with(OURS.as_bytes());
            // Those that are staged are left to `mend`.
            if is_ours && StagedName::parse(&path).is_none() {
                if let Some(noted) = self.noted(&path) {
                    self.disk.remove(&noted)?;
                }
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }

    /// Marks the directory with its layout, before there is anything in it:
    /// without a mark it would be lawn then.
    fn mark(&self) -> io::Result<()> {
        let mark = self.path.join(layout::MARK);
        if !mark.exists() {
            let begun = self.path.join(layout::MARK_BEGUN);
            let mut file = File::create(&begun)?;
            io::Write::write_all(&mut file, self.layout.name().as_bytes())?;
            self.disk.sync_file(&file)?;
            self.disk.rename(&begun, &mark)?;
        }
        self.disk.sync(&mark)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How files lie in it.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    fn temporary(&self) -> PathBuf {
        self.path.join(TEMPORARY)
    }

    /// The directory of an object's files, whether there is one or not.
    pub fn directory_of(&self, oid: Oid) -> PathBuf {
        self.path.join(self.layout.directory_of(oid))
    }

    /// The file of a revision, whether there is one or not.
    pub fn path_of(&self, oid: Oid, serial: Tid) -> PathBuf {
        self.directory_of(oid).join(file_name(serial))
    }

    /// The file of a committed revision.
    ///
    /// # Errors
    ///
    /// `NoBlob` when there is none.
    pub fn load(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        let path = self.path_of(oid, serial);
        if path.is_file() {
            Ok(path)
        } else {
            Err(Error::NoBlob { oid, serial, path })
        }
    }

    /// A new file to upload to.
    ///
    /// # Errors
    ///
    /// `Io` that names the place.
    pub fn new_file(&self) -> Result<(File, BlobFile)> {
        let temporary = self.temporary();
        let made = name_of_ours().tempfile_in(&temporary);
        let kept = made.and_then(|made| Ok(made.keep()?));
        let (file, path) = kept.map_err(failed("keeping a blob in", &temporary))?;
        Ok((file, BlobFile::new(path)))
    }

    /// A new file in the directory of an object, for where that is on another
    /// device than `tmp`. A link there notes it, so that the next start finds
    /// it after a kill.
    fn new_file_in(&self, directory: &Path) -> io::Result<(File, BlobFile)> {
        let below = directory
            .strip_prefix(&self.path)
            .map_err(io::Error::other)?;
        let link = |note: &Path| symlink(below.join(note.file_name().unwrap_or_default()), note);
        let note = name_of_ours().make_in(self.temporary(), link)?;
        let path = directory.join(note.path().file_name().unwrap_or_default());
        self.disk.sync(note.path())?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600);
        let file = file.open(&path)?;
        let note = note.into_temp_path().keep()?;
        Ok((file, BlobFile::with_note(path, Some(note))))
    }

    /// The file that a link in `tmp` notes. Others may have put one there: it
    /// is one of ours, below this directory.
    fn noted(&self, note: &Path) -> Option<PathBuf> {
        let below = fs::read_link(note).ok()?;
        let is_name = |part| matches!(part, Component::Normal(_));
        let is_ours = below.components().all(is_name) && below.file_name() == note.file_name();
        is_ours.then(|| self.path.join(below))
    }

    /// True for the name of a file that a client may put into the directory of
    /// an object: nothing but a name, which ends in `.tmp` and perhaps one
    /// character more.
    pub fn is_shared_name(name: &str) -> bool {
        let mut parts = Path::new(name).components();
        let is_name = matches!(parts.next(), Some(Component::Normal(part)) if part == name);
        let mut shorter = name.chars();
        shorter.next_back();
        is_name && (name.ends_with(".tmp") || shorter.as_str().ends_with(".tmp"))
    }

    /// A file that a client has put into the directory of an object: by its
    /// name alone, which ends in `.tmp` and perhaps one character more. It is
    /// moved to where uploads are, so that it stays what it is now.
    ///
    /// # Errors
    ///
    /// `Value` for a name that could lead elsewhere, or to something that is
    /// no file of its own, and `Io`, as when there is no such file. `Unsupported`: clients can't share
    /// this directory.
    pub fn shared_file(&self, oid: Oid, name: &str) -> Result<BlobFile> {
        if self.is_private {
            return Err(Error::Unsupported(
                "this server keeps blobs elsewhere, and has no directory to share: set shared_blob_dir to \
                 false at the client"
                    .to_owned(),
            ));
        }
        let is_file = |path: &Path| fs::symlink_metadata(path).map(|found| found.is_file());
        let path = self.directory_of(oid).join(name);
        let taking = failed("taking the blob", &path);
        if Self::is_shared_name(name) && !name.contains('\0') && is_file(&path).map_err(&taking)? {
            let (_, mut file) = self.new_file()?;
            match self.disk.rename(&path, &file.path()) {
                // `tmp` is on another device.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    let beside = self.new_file_in(&self.directory_of(oid));
                    file = beside.map_err(&taking)?.1;
                    let moved = self.disk.rename(&path, &file.path());
                    moved.map_err(taking)?;
                }
                moved => moved.map_err(taking)?,
            }
            // Looked at again: it may have been another one a moment ago.
            if is_file(&file.path()).is_ok_and(|is_file| is_file) {
                return Ok(file.of_shared_directory());
            }
        }
        let what = format!("{name:?} is not a file that a client put into the blob directory");
        Err(Error::Value(what))
    }

    /// A second name for the file of a committed revision, for another
    /// revision to have.
    ///
    /// # Errors
    ///
    /// `NoBlob` when there is no such file, and `Io`.
    pub(crate) fn again(&self, oid: Oid, serial: Tid) -> Result<BlobFile> {
        self.copy_of(&self.load(oid, serial)?)
    }

    /// A second name for a committed file, which may be of another directory,
    /// or a copy, where there can't be second names.
    ///
    /// # Errors
    ///
    /// `Io` that names the file, or the place.
    pub fn copy_of(&self, committed: &Path) -> Result<BlobFile> {
        let (_, file) = self.new_file()?;
        let copied = self
            .disk
            .remove(&file.path())
            .and_then(|()| self.disk.link(committed, &file.path()))
            .or_else(|_| fs::copy(committed, file.path()).map(|_| ()));
        copied.map_err(failed("copying the blob", committed))?;
        Ok(file)
    }

    fn names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BlobDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// True for the record of a blob, whose data are in a file.
pub fn is_blob(record: &[u8]) -> bool {
    /// The class pickle stands in front, and is short.
    const CLASS: usize = 64;
    const MODULE: &[u8] = b"ZODB.blob";
    let plain = !crate::record::is_compressed(record);
    let front = record.get(..CLASS).unwrap_or(record);
    if plain && !front.windows(MODULE.len()).any(|part| part == MODULE) {
        return false;
    }
    class_name(record).is_some_and(|name| name == "ZODB.blob.Blob")
}

/// A name that is not there yet.
fn name_of_ours() -> tempfile::Builder<'static, 'static> {
    let mut name = tempfile::Builder::new();
    name.prefix(OURS).suffix(".tmp");
    name
}

#[cfg(test)]
mod tests;
