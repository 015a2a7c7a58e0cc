//! Paths beside a file, and errors that name one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::{Error, Result};

/// The path with something added to its end.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether there is anything under this name, be it a link that leads nowhere.
pub(crate) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The error about an operation on `path` that failed; `doing` says which,
/// as "reading" or "writing".
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io {
        doing,
        file: path.to_owned(),
        source,
    }
}

/// The directory that a file stands in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Gives a file that was synced its name, in place of another one, and makes
/// that durable.
///
/// # Errors
///
/// `Io` that names the file, or its directory.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(failed("renaming to", to))?;
    let directory = directory_of(to);
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(failed("syncing the directory", directory))
}

/// Removes a file, if it is there.
///
/// # Errors
///
/// `Io` that names the file.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed("removing", path)(why)),
        _ => Ok(()),
    }
}

/// A file that is removed when this is dropped, unless it was renamed. It need
/// not be there yet.
///
/// # Errors
///
/// `Io` when there is no current directory.
pub fn unfinished(path: &Path) -> Result<TempPath> {
    TempPath::try_from_path(path).map_err(failed("creating", path))
}

/// Bytes in hexadecimal digits.
#[cfg(feature = "backup")]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
