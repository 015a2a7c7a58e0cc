//! Small things about files and what is in them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeo_storage::file_storage::DataFile;

use crate::outcome::{Failure, Result};

/// Turns an error into one that names the file; `doing` is as "reading".
pub fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Failure + use<> {
    let file = path.to_owned();
    move |source| {
        Failure::Storage(zeo_storage::Error::Io {
            doing,
            file: file.clone(),
            source,
        })
    }
}

/// The path with something added to its end.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The directory that a file stands in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Makes creations and renamings in a directory durable.
pub fn sync_directory(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(failed("syncing the directory", directory))
}

/// Gives a file that was synced its name, and makes that durable.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(failed("renaming to", to))?;
    sync_directory(directory_of(to))
}

/// Where a file really is that is to be replaced, or made; fails when a server
/// has it open.
pub fn replaceable(path: &Path) -> Result<PathBuf> {
    if !path.exists() {
        return Ok(path.to_owned());
    }
    // A link stays, and leads to the new file.
    let path = path.canonicalize().map_err(failed("opening", path))?;
    if DataFile::open(&path)?.is_in_use() {
        let what = format!("{} is in use: stop its server first", path.display());
        return Err(Failure::Other(what));
    }
    Ok(path)
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed("removing", path)(why)),
        _ => Ok(()),
    }
}

/// Which file has this name: that changes when a pack puts another one in its
/// place.
pub fn inode_of(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
