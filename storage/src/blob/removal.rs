//! Removing the files of revisions that a pack has removed.
//!
//! The pack writes them down in `.removed` (as Python's does, a line each:
//! oid and serial in hexadecimal). When the packed file is in place, each
//! file of these goes, unless the storage has such a revision all the same.
//! So the list may be gone through again after a crash, whatever pack it was
//! from.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::{BlobDirectory, SUFFIX, layout};
use crate::Result;
use crate::disk::paths::failed;
use crate::disk::{FileSystem, refuses_links};

pub(super) const LIST: &str = ".removed";
/// No line is longer.
pub(super) const LINE_MAX: u64 = 64;

/// The list while a pack writes it. Unless it is to be kept, it goes with
/// this: a pack that has changed nothing leaves none.
pub(crate) struct Removed {
    disk: Arc<dyn FileSystem>,
    file: BufWriter<File>,
    path: PathBuf,
    kept: bool,
}

impl Removed {
    /// Adds a revision.
    pub fn add(&mut self, oid: Oid, serial: Tid) -> Result<()> {
        let line = format!("{:016x}{:016x}\n", oid.as_u64(), serial.as_u64());
        let written = self.file.write_all(line.as_bytes());
        written.map_err(failed("writing", &self.path))
    }

    /// Makes the list durable.
    pub fn finish(&mut self) -> Result<()> {
        let synced = self
            .file
            .flush()
            .and_then(|()| self.disk.sync_file(self.file.get_ref()))
            .and_then(|()| self.disk.sync(&self.path));
        synced.map_err(failed("writing", &self.path))
    }

    /// Leaves the list to [`BlobDirectory::remove_listed`].
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if !self.kept {
            // It would name nothing that is gone.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// What a storage knows of revisions.
pub(crate) trait Revisions {
    /// The last visible transaction.
    fn last(&self) -> Tid;
    /// True when there is any revision of the object.
    fn has_object(&self, oid: Oid) -> bool;
    /// True when there is this one and it is of a blob, or that can't be told.
    fn has(&self, oid: Oid, serial: Tid) -> bool;
}

impl BlobDirectory {
    /// An empty list.
    pub(crate) fn list_removed(&self) -> Result<Removed> {
        let path = self.path().join(LIST);
        let file = File::create(&path).map_err(failed("creating", &path))?;
        Ok(Removed {
            disk: Arc::clone(&self.disk),
            file: BufWriter::new(file),
            path,
            kept: false,
        })
    }

    /// Where the files are kept that packs remove.
    fn old(&self) -> PathBuf {
        let mut old = self.path().as_os_str().to_owned();
        old.push(".old");
        old.into()
    }

    /// Removes the files that the last pack left in `.old`.
    pub(crate) fn clear_old(&self) -> Result<()> {
        let old = self.old();
        match fs::remove_dir_all(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("removing", &old)(error))
            }
            _ => Ok(()),
        }
    }

    /// Goes through the list, if there is one: removes the files of revisions
    /// that are gone. With `keep_old`, they move to a directory `.old`, which
    /// gets second names for all others, so that it goes with the file from
    /// before the pack.
    pub(crate) fn remove_listed(&self, keep_old: bool, revisions: &dyn Revisions) -> Result<()> {
        let path = self.path().join(LIST);
        if !path.exists() {
            return Ok(());
        }
        let kept = if keep_old { self.keep_all() } else { Ok(()) };
        kept.and_then(|()| self.go_through(&path, revisions))
            .and_then(|()| self.disk.remove(&path))
            .map_err(failed("removing blobs listed in", &path))
    }

    /// Removes the list of a pack that has removed nothing.
    pub(crate) fn forget_listed(&self) -> Result<()> {
        let path = self.path().join(LIST);
        let removed = self.disk.remove(&path);
        removed.map_err(failed("removing", &path))
    }

    /// Gives all files second names in `.old`, durably. (To sync directory by
    /// directory may take minutes.)
    fn keep_all(&self) -> io::Result<()> {
        let old = self.old();
        fs::create_dir_all(&old)?;
        self.keep(&self.path().join(layout::MARK))?;
        each_blob(self.path(), &mut |path| self.keep(path))?;
        self.disk.sync_all(&old)
    }

    /// First all removals, then their syncs, of which the first mostly covers
    /// the others.
    fn go_through(&self, list: &Path, revisions: &dyn Revisions) -> io::Result<()> {
        each_listed(list, &mut |oid, serial| {
            self.remove_revision(oid, serial, revisions)
        })?;
        each_listed(list, &mut |oid, _| {
            self.sync_removals(&self.directory_of(oid))
        })
    }

    fn remove_revision(
        &self,
        oid: Oid,
        serial: Option<Tid>,
        revisions: &dyn Revisions,
    ) -> io::Result<()> {
        let directory = self.directory_of(oid);
        // Asked first: files of later transactions may be on their way. When the storage has been opened
        // again, the last transaction may be older than what the pack has removed.
        let last = serial.into_iter().fold(revisions.last(), Tid::max);
        if !revisions.has_object(oid) {
            // With whatever crashes have left there.
            each_blob(&directory, &mut |path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                match layout::serial_of(&name) {
                    Some(serial) if serial > last => Ok(()),
                    _ => self.disk.remove(path),
                }
            })?;
        } else if let Some(serial) = serial.filter(|&serial| !revisions.has(oid, serial)) {
            self.disk.remove(&self.path_of(oid, serial))?;
        }
        self.remove_empty(&directory);
        Ok(())
    }

    /// Gives a file a second name in `.old`, or makes a copy, where it can't
    /// have one.
    fn keep(&self, path: &Path) -> io::Result<()> {
        let Ok(below) = path.strip_prefix(self.path()) else {
            return Ok(());
        };
        let kept = self.old().join(below);
        if let Some(directory) = kept.parent() {
            fs::create_dir_all(directory)?;
        }
        match self.disk.link(path, &kept) {
            Err(error) if refuses_links(&error) => fs::copy(path, &kept).map(|_| ()),
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Makes durable what was removed from a directory, which may have gone
    /// itself, and those above it.
    fn sync_removals(&self, directory: &Path) -> io::Result<()> {
        for removed in directory.join(LIST).ancestors() {
            match self.disk.sync(removed) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => return synced,
            }
        }
        Ok(())
    }

    /// Removes a directory if it is empty, and those above it that become so.
    pub(crate) fn remove_empty(&self, directory: &Path) {
        let _names = self.names();
        let below = directory
            .ancestors()
            .take_while(|&parent| parent != self.path());
        for directory in below {
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
    }
}

/// What the list names. Lines that are not whole are passed over: the list was
/// not finished.
fn each_listed(
    list: &Path,
    found: &mut dyn FnMut(Oid, Option<Tid>) -> io::Result<()>,
) -> io::Result<()> {
    let mut list = BufReader::new(File::open(list)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        io::Read::take(&mut list, LINE_MAX).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if let Some((oid, serial)) = parse(&line) {
            found(oid, serial)?;
        }
    }
}

/// Python lists an object that is gone without a serial.
pub(super) fn parse(line: &[u8]) -> Option<(Oid, Option<Tid>)> {
    let line = line.strip_suffix(b"\n")?;
    let number = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        u64::from_str_radix(digits, 16).ok()
    };
    let (oid, serial) = line.split_at_checked(16)?;
    let serial = match serial.len() {
        0 => None,
        16 => Some(Tid::new(number(serial)?)),
        _ => return None,
    };
    Some((Oid::new(number(oid)?), serial))
}

/// All blob files below a directory. What is removed meanwhile is passed over.
pub(super) fn each_blob(
    directory: &Path,
    found: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => each_blob(&path, found)?,
            Ok(kind) if kind.is_file() && has_suffix(&path) => found(&path)?,
            _ => {}
        }
    }
    Ok(())
}

fn has_suffix(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .ends_with(SUFFIX.as_bytes())
}
