//! What can go wrong with backups, and what is wrong with them.

use std::io;
use std::path::PathBuf;

use super::name::Name;
use crate::observer::Cancelled;

/// The result of work on a repository.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a backup can't be made, recovered or verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file can't be read or written, the storage is damaged, or the
    /// observer has cancelled it.
    #[error(transparent)]
    Storage(#[from] crate::Error),
    /// What is to be the repository is something else.
    #[error("the repository {} is not a directory", .0.display())]
    NoDirectory(PathBuf),
    /// Another process makes a backup to this repository.
    #[error("another backup to {} is running", .0.display())]
    InProgress(PathBuf),
    /// A `.dat` file has a line that can't be read.
    #[error("{}: malformed line: {line}", .file.display())]
    Line {
        /// The `.dat` file.
        file: PathBuf,
        /// The line.
        line: String,
    },
    /// A list of blobs has a line that can't be read.
    #[error("{}: malformed line: {line}", .file.display())]
    BlobLine {
        /// The list.
        file: PathBuf,
        /// The line.
        line: String,
    },
    /// The last backup has a name that is later than the clock.
    #[error("the last backup, {last}, is in the future: check the clock")]
    Clock {
        /// The time in its name.
        last: String,
    },
    /// The file lost its end while it was read.
    #[error("{} became shorter", .0.display())]
    Shrunk(PathBuf),
    /// There is no backup, or none up to that time.
    #[error("No files in repository{}", in_time(.before.as_deref()))]
    NoFiles {
        /// The time that was asked for.
        before: Option<String>,
    },
    /// The backups begin with an incremental one.
    #[error("there is no full backup before {0}")]
    NoFull(Name),
    /// A data file that a `.dat` file names is not there.
    #[error("{0} is missing")]
    Missing(Name),
    /// Blobs are to be restored from a backup without them.
    #[error("{0} was backed up without blobs")]
    NoBlobs(Name),
    /// A file of the repository is not what was written.
    #[error(transparent)]
    Wrong(#[from] Problem),
    /// What was recovered can't be written to where the caller wants it.
    #[error("writing the recovered data: {0}")]
    Output(io::Error),
}

impl From<Cancelled> for Error {
    fn from(cancelled: Cancelled) -> Self {
        Error::Storage(cancelled.into())
    }
}

fn in_time(time: Option<&str>) -> String {
    time.map_or_else(String::new, |time| format!(" before {time}"))
}

/// Something that is wrong in a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A file has another length.
    #[error("{} is {found} bytes, should be {expected} bytes", .file.display())]
    Size {
        /// The file.
        file: PathBuf,
        /// How many bytes it holds, out of its compression.
        found: u64,
        /// How many it should.
        expected: u64,
    },
    /// A file holds something else.
    #[error("{} has checksum {found} instead of {expected}", .file.display())]
    Checksum {
        /// The file.
        file: PathBuf,
        /// The MD5 of what it holds, in hexadecimal digits.
        found: String,
        /// What that should be.
        expected: String,
    },
    /// A file is not there.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// A file can't be read.
    #[error(transparent)]
    Unreadable(#[from] crate::Error),
    /// Something that is to be a file is something else.
    #[error("{} is not a file", .0.display())]
    NoFile(PathBuf),
    /// A line of a `.dat` file is about a file with another name than ours.
    #[error("{file} is not the name of a data file")]
    Name {
        /// The name.
        file: String,
    },
    /// There is no line about a data file that is to be recovered.
    #[error("{} has no line in its .dat file", .0.display())]
    NoLine(PathBuf),
    /// There is no line about a data file behind the last one.
    #[error(
        "{0} has no line in the .dat file: its backup may have been killed; the next backup adds it"
    )]
    Unfinished(Name),
    /// The backups begin with an incremental one.
    #[error("there is no full backup before {0}")]
    NoFull(Name),
    /// A data file does not go on where the one before it ends.
    #[error("{file} begins at {start}, should begin at {expected}")]
    Gap {
        /// Its name.
        file: String,
        /// Where in the storage's file its content begins.
        start: u64,
        /// Where it should.
        expected: u64,
    },
    /// A data file lacks the list of its blobs, while earlier ones have one.
    #[error("{0} was backed up without blobs: the next backup with --blobs adds them")]
    NoBlobs(Name),
}
