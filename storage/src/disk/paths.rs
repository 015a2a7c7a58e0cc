//! Paths beside a file, and errors that name one.

use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

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
