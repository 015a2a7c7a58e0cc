//! Paths beside a file, where symbolic links lead, and errors that name a
//! path.
//!
//! The system follows a link when a file is opened or created, but not when
//! one is renamed, removed, or given a second name. Those would leave a file in
//! the place of the link, and so on another volume than the one that it leads
//! to: they take what [`resolve`] gives.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::file_id::FileId;
use crate::{Error, Result};

/// How many links may lead to each other, as on Linux.
const MAX_LINKS: usize = 40;

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
pub fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
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

/// Where the file at `path` is, or would be created: at the end of the chain of symbolic links
/// that begins there. The file itself need not exist. A path that is no link is given back as it
/// is; links among its directories are left to the system.
///
/// # Errors
/// A directory on the way can't be searched, or the links lead in a circle.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        match fs::read_link(&path) {
            // It is relative to the directory of the link, unless it is absolute.
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(why) => match why.kind() {
                // No link, or nothing.
                io::ErrorKind::InvalidInput | io::ErrorKind::NotFound => return Ok(path),
                _ => return Err(why),
            },
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Where the file that belongs to the data at `data`, which is no link, and is called `name` is: as
/// [`resolve`], but for a link that leads to the data themselves, or to where no file can be (a
/// directory, or below one that is missing). Then the other file takes the place of the link, as
/// by Python, which replaces every such link.
///
/// # Errors
/// Those of [`resolve`].
pub(crate) fn resolve_beside(name: &Path, data: &Path) -> io::Result<PathBuf> {
    let found = resolve(name)?;
    let is_data = found.file_name() == data.file_name()
        && FileId::of(directory_of(&found)) == FileId::of(directory_of(data));
    let is_usable = directory_of(&found).is_dir() && !found.is_dir();
    Ok(if is_data || !is_usable {
        name.to_owned()
    } else {
        found
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_what_need_not_exist() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        fs::create_dir(&here).unwrap();
        fs::create_dir(&there).unwrap();
        let path = here.join("Data.fs");
        assert_eq!(resolve(&path).unwrap(), path);
        symlink("../there/second", &path).unwrap();
        symlink(there.join("Data.fs"), there.join("second")).unwrap();
        for content in [None, Some("data")] {
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            assert_eq!(resolve(&path).unwrap(), there.join("Data.fs"));
        }
        assert_eq!(fs::read(there.join("Data.fs")).unwrap(), b"data");
        let nowhere = dir.path().join("no/such/directory");
        assert_eq!(resolve(&nowhere).unwrap(), nowhere);
        assert_eq!(
            resolve(Path::new("no-such-file")).unwrap(),
            Path::new("no-such-file")
        );
    }

    #[test]
    fn circles_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        symlink("two", &one).unwrap();
        symlink("one", &two).unwrap();
        assert!(resolve(&one).is_err());
    }

    #[test]
    fn links_to_the_data_or_nowhere_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (data, name) = (dir.path().join("Data.fs"), dir.path().join("Data.fs.old"));
        for (target, is_kept) in [
            ("Data.fs", false),
            ("./Data.fs", false),
            ("../Data.fs", true),
            ("other", true),
            ("missing/other", false),
            (".", false),
        ] {
            symlink(target, &name).unwrap();
            let found = resolve_beside(&name, &data).unwrap();
            assert_eq!(found != name, is_kept, "{target}");
            fs::remove_file(&name).unwrap();
        }
        assert_eq!(resolve_beside(&name, &data).unwrap(), name);
    }
}
