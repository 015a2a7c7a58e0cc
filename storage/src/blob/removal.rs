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

use zeo_proto::{Oid, Tid};

use super::{BlobDirectory, SUFFIX, failed, layout};
use crate::Result;

const LIST: &str = ".removed";
/// No line is longer.
const LINE_MAX: u64 = 64;

/// The list while a pack writes it.
pub(crate) struct Removed {
    file: BufWriter<File>,
    path: PathBuf,
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
            .and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(failed("writing", &self.path))
    }

    /// Removes the list: the pack has changed nothing, and nobody is to keep
    /// old files for it.
    pub fn discard(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(failed("removing", &self.path))
    }
}

/// What a storage knows of revisions.
pub(crate) trait Revisions {
    /// The last visible transaction.
    fn last(&self) -> Tid;
    /// True when there is any revision of the object.
    fn has_object(&self, oid: Oid) -> bool;
    /// True when there is this one, or that can't be told.
    fn has(&self, oid: Oid, serial: Tid) -> bool;
}

impl BlobDirectory {
    /// An empty list.
    pub(crate) fn list_removed(&self) -> Result<Removed> {
        let path = self.path().join(LIST);
        let file = File::create(&path).map_err(failed("creating", &path))?;
        Ok(Removed {
            file: BufWriter::new(file),
            path,
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
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(failed("reading", &path))?,
        };
        let done = self.go_through(BufReader::new(file), keep_old, revisions);
        done.and_then(|()| self.disk.remove(&path))
            .map_err(failed("removing blobs listed in", &path))
    }

    fn go_through(
        &self,
        mut list: impl BufRead,
        keep_old: bool,
        revisions: &dyn Revisions,
    ) -> io::Result<()> {
        if keep_old {
            fs::create_dir_all(self.old())?;
            self.keep(&self.path().join(layout::MARK))?;
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            io::Read::take(&mut list, LINE_MAX).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                break;
            }
            let Some((oid, serial)) = parse(&line) else {
                // A list that was not finished.
                continue;
            };
            self.remove_revision(oid, serial, keep_old, revisions)?;
        }
        match keep_old {
            true => each_blob(self.path(), &mut |path| self.keep(path)),
            false => Ok(()),
        }
    }

    fn remove_revision(
        &self,
        oid: Oid,
        serial: Option<Tid>,
        keep_old: bool,
        revisions: &dyn Revisions,
    ) -> io::Result<()> {
        let directory = self.directory_of(oid);
        // Asked first: files of later transactions may be on their way.
        let last = revisions.last();
        if !revisions.has_object(oid) {
            // With whatever crashes have left there.
            each_blob(&directory, &mut |path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                match layout::serial_of(&name) {
                    Some(serial) if serial > last => Ok(()),
                    _ => self.remove_file(path, keep_old),
                }
            })?;
        } else if let Some(serial) = serial.filter(|&serial| !revisions.has(oid, serial)) {
            self.remove_file(&self.path_of(oid, serial), keep_old)?;
        }
        self.remove_empty(&directory);
        Ok(())
    }

    fn remove_file(&self, path: &Path, keep_old: bool) -> io::Result<()> {
        if keep_old {
            self.keep(path)?;
        }
        self.disk.remove(path)
    }

    /// Gives a file a second name in `.old`.
    fn keep(&self, path: &Path) -> io::Result<()> {
        let Ok(below) = path.strip_prefix(self.path()) else {
            return Ok(());
        };
        let kept = self.old().join(below);
        if let Some(directory) = kept.parent() {
            fs::create_dir_all(directory)?;
        }
        match self.disk.link(path, &kept) {
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

    /// Removes a directory if it is empty, and those above it that become so.
    fn remove_empty(&self, directory: &Path) {
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

/// Python lists an object that is gone without a serial.
fn parse(line: &[u8]) -> Option<(Oid, Option<Tid>)> {
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
