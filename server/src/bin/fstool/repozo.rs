//! `fstool repozo`: ZODB's `repozo`. Repositories that either wrote can be
//! continued, recovered and verified by the other.
//!
//! ```text
//! repository   data files, `.dat` and `.index` files, all named by a time in
//!              UTC, as 2026-01-31-23-59-59
//! .fs          the whole file from its begin to the end of a transaction
//! .deltafs     what came behind the file before: to the end of a transaction
//! .fsz .deltafsz   the same in gzip
//! .dat         of a full backup: a line for it, and for each incremental one
//!              since: data file, start, end, md5 (of what is not compressed)
//! .index       the index up to the end of the data file with its name
//! tmp.tmp      a data file at work, or of a killed backup
//! ```
//!
//! A data file gets its name when it is whole and synced, and then its line.
//! A backup that is killed in between leaves one without a line, and so does
//! Python's; the next backup adds what is missing. Blobs lie beside: see
//! [`blobs`].

mod backup;
mod blobs;
mod chain;
mod content;
mod recover;
mod repository;
mod verify;

use std::path::PathBuf;

use crate::context::{Context, Run};
use crate::outcome::{Result, Verdict, tell};

/// Back up a file incrementally, recover it, verify the backups (repozo)
///
/// Exactly one of -B, -R, or -V. The options and the repository are those of ZODB's repozo: either
/// goes on with what the other wrote. A backup may run beside a server. It holds whole transactions
/// only, and is on the disk when this ends. One that was killed leaves the repository as it was
/// before; the next one removes what was begun.
///
/// With --blobs, the files of all blobs in the backed-up transactions are in the repository as well,
/// in blobs/, which ZODB's repozo does not look at; -V checks them, too. Blob files never change:
/// where that can be, they are second names (hard links) of the originals. Say --blobs each time;
/// what was backed up without is made up for. Blobs that are missing, or can't be read, are named,
/// and everything else is done all the same (exit code 1); but -R -w stops.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("mode").required(true).args(["backup", "recover", "verify"]))]
pub struct Arguments {
    /// Back up a file: what is new in it, if that is enough
    #[arg(short = 'B', long, requires = "file")]
    backup: bool,
    /// Restore a file from a backup
    #[arg(short = 'R', long)]
    recover: bool,
    /// Check the files of the last full backup and all since
    #[arg(short = 'V', long)]
    verify: bool,
    /// Tell what is done, on standard error
    #[arg(short, long)]
    verbose: bool,
    /// The directory with the backups, which must exist
    #[arg(short, long, value_name = "DIR")]
    repository: PathBuf,
    /// -B: The file, as Data.fs
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// -B: Make a full backup in any case
    #[arg(short = 'F', long)]
    full: bool,
    /// -B: Compare only the last backup with the file, not all of them; -V: check sizes only
    #[arg(short = 'Q', long)]
    quick: bool,
    /// -B: Compress
    #[arg(short = 'z', long)]
    gzip: bool,
    /// -B: After a full backup, remove all older ones
    #[arg(short, long)]
    kill_old_on_full: bool,
    /// -R: Recover the state of this time in UTC, yyyy-mm-dd[-hh[-mm[-ss]]]; by default, the last
    #[arg(short = 'D', long, value_parser = repository::date)]
    date: Option<String>,
    /// -R: Write to this file, replacing it, and restore its index; by default, to standard output
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// -B: Back up the blobs from this directory, too; -R: restore the blobs to it
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
    /// -R: Check sizes and checksums while recovering
    #[arg(short, long)]
    with_verify: bool,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        match (self.backup, &self.file) {
            (true, Some(file)) => backup::backup(self, file, context),
            _ if self.recover => recover::recover(self, context),
            _ => verify::verify(self, context),
        }
    }
}

impl Arguments {
    /// Tells what is done, with `--verbose`.
    fn say(&self, what: &str) {
        if self.verbose {
            tell(what);
        }
    }
}
