//! Backups of a FileStorage, also while a server writes to it, in the format
//! of ZODB's `repozo`: repositories that either wrote can be continued,
//! recovered and verified by the other.
//!
//! ```text
//! repository   data files, `.dat` and `.index` files, all named by a time in
//!              UTC, as 2026-01-31-23-59-59
//! .fs          the whole file from its beginning to the end of a transaction
//! .deltafs     what came behind the file before: to the end of a transaction
//! .fsz .deltafsz   the same in gzip
//! .dat         of a full backup: a line for it, and for each incremental one
//!              since: data file, start, end, md5 (of what is not compressed)
//! .index       the index up to the end of the data file with its name
//! .blobs       the blobs of the transactions in the data file with its name
//! blobs/       the files of all blobs in the repository
//! tmp.tmp      a data file at work, or of a killed backup
//! ```
//!
//! A data file gets its name when it is whole and synced, and then its line.
//! A backup that is killed in between leaves one without a line, and so does
//! Python's; the next backup adds what is missing. `.blobs` and `blobs/` are
//! ours; Python does not look at them.
//!
//! ```no_run
//! use std::path::Path;
//! use zeo_storage::backup::{Options, create};
//!
//! let (repository, file) = (Path::new("/var/backups/zeo"), Path::new("Data.fs"));
//! let log = zeo_storage::log::silent();
//! let created = create(repository, file, &Options::default(), &log, &mut ())?;
//! if let Some(path) = created.data_file {
//!     println!("new: {}", path.display());
//! }
//! # Ok::<(), zeo_storage::backup::Error>(())
//! ```

mod blobs;
mod chain;
mod content;
mod create;
mod error;
mod name;
mod recover;
mod repository;
#[cfg(test)]
mod tests;
mod verify;

pub use self::create::{Created, Options, create};
pub use self::error::{Error, Problem, Result};
pub use self::name::{Name, NoTime, Time};
pub use self::recover::{Output, RecoverOptions, Recovered, recover};
pub use self::verify::verify;
