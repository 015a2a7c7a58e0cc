//! What can go wrong with a cache.

use std::io;
use std::path::{Path, PathBuf};

use zeo_proto::Tid;

/// Why a cache can't be opened, or does not do what it is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Another client has the cache, in this process or another one.
    #[error("the cache {}: {holder}; give each client a cache of its own", path.display())]
    Locked {
        /// The cache file.
        path: PathBuf,
        /// Who has it, as "process 123 has it open".
        holder: String,
    },
    /// The cache file, or its lock file, can't be opened, made or written.
    #[error("the cache {}: {doing}: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        why: io::Error,
    },
    /// The last tid of a cache that holds records does not go back.
    #[error("the cache is of transaction {from}, and can't go back to {to}")]
    GoesBack {
        /// The last tid.
        from: Tid,
        /// What it was to be.
        to: Tid,
    },
}

/// The error of the system about a file; `doing` says what was tried, as "reading".
pub(super) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> CacheError {
    move |why| CacheError::Io {
        path: path.to_owned(),
        doing,
        why,
    }
}
