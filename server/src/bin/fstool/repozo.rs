//! `fstool repozo`: ZODB's `repozo`.

use std::path::{Path, PathBuf};

use zeo_storage::backup::{self, Created, Output, RecoverOptions, Recovered, Time};

use crate::context::{Context, Run};
use crate::interrupt;
use crate::outcome::{Result, Verdict, tell};

/// Back up a file incrementally, recover it, verify the backups (repozo)
///
/// Give exactly one of -B, -R and -V. Options and repository are those of ZODB's repozo: either
/// program continues what the other wrote. A backup may run while a server uses the file. It holds
/// complete transactions only, and is on disk when this ends. If it is killed, the earlier backups
/// are as they were, and the next backup removes the rest of it.
///
/// With --blobs, the blob files of the backed-up transactions are in the repository as well, in
/// blobs/, which ZODB's repozo ignores; -V checks them, too. Blob files never change, so they are
/// hard links to the originals where possible. Give --blobs each time; a backup with it also adds
/// the blobs of earlier backups made without it. Blobs that are missing or can't be read are
/// reported, and everything else is done (exit code 1); but -R -w stops at the first one.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("mode").required(true).args(["backup", "recover", "verify"]))]
pub struct Arguments {
    /// Back up a file; incrementally, if possible
    #[arg(short = 'B', long, requires = "file")]
    backup: bool,
    /// Restore a file from a backup
    #[arg(short = 'R', long)]
    recover: bool,
    /// Check the files of the last full backup and all since
    #[arg(short = 'V', long)]
    verify: bool,
    /// Show each step, on standard error
    #[arg(short, long)]
    verbose: bool,
    /// The directory with the backups, which must exist
    #[arg(short, long, value_name = "DIR")]
    repository: PathBuf,
    /// -B: The data file, such as Data.fs
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// -B: Always make a full backup
    #[arg(short = 'F', long)]
    full: bool,
    /// -B: Compare only the last backup with the file, not all; -V: check only sizes
    #[arg(short = 'Q', long)]
    quick: bool,
    /// -B: Compress
    #[arg(short = 'z', long)]
    gzip: bool,
    /// -B: After a full backup, remove all older ones
    #[arg(short, long)]
    kill_old_on_full: bool,
    /// -R: Recover the state of this time in UTC, yyyy-mm-dd[-hh[-mm[-ss]]]; default: the latest
    #[arg(short = 'D', long, value_name = "DATE")]
    date: Option<Time>,
    /// -R: Write to this file, replacing it, and restore its index; default: standard output
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
        match &self.file {
            Some(file) if self.backup => self.create(file, context),
            _ if self.recover => self.restore(context),
            _ => self.check(context),
        }
    }
}

impl Arguments {
    fn create(&self, file: &Path, context: &Context) -> Result<Verdict> {
        interrupt::cancels()?;
        let options = backup::Options {
            full: self.full,
            quick: self.quick,
            gzip: self.gzip,
            kill_old_on_full: self.kill_old_on_full,
            blobs: self.blobs.clone(),
        };
        let mut progress = context.progress_in_steps(self.verbose);
        let Created { missing_blobs, .. } = backup::create(
            &self.repository,
            file,
            &options,
            &context.log(),
            &mut progress,
        )?;
        Ok(Verdict::of(missing_blobs))
    }

    fn restore(&self, context: &mut Context) -> Result<Verdict> {
        let options = RecoverOptions {
            date: self.date.clone(),
            verify: self.with_verify,
            blobs: self.blobs.clone(),
        };
        let mut progress = context.progress_in_steps(self.verbose);
        let output = match &self.output {
            Some(path) => {
                interrupt::cancels()?;
                Output::File(path)
            }
            None => Output::Writer(&mut context.out),
        };
        let Recovered { missing_blobs, .. } =
            backup::recover(&self.repository, &options, output, &mut progress)?;
        Ok(Verdict::of(missing_blobs))
    }

    fn check(&self, context: &Context) -> Result<Verdict> {
        let mut progress = context.progress_in_steps(self.verbose);
        let problems = backup::verify(&self.repository, self.quick, &mut progress)?;
        drop(progress);
        for problem in &problems {
            tell(problem);
        }
        Ok(Verdict::of(problems.len() as u64))
    }
}
