//! What can go wrong with the log.

use std::io;
use std::path::PathBuf;

/// Why the log can't be started or reopened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// A log file can't be opened.
    #[error("can't open log file {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A log file can't be written.
    #[error("can't write log file {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The host of a syslog daemon is unknown.
    #[error("can't find the syslog host {host}: {source}")]
    SyslogHost {
        /// The host's name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// The log's thread can't be started.
    #[error("can't start the log's thread: {0}")]
    Thread(#[source] io::Error),
    /// The log's thread does not answer, so the disk does not, or it has ended.
    #[error("the log does not answer; is a disk stuck?")]
    Stuck,
}
