//! What a subcommand works with: where results and progress go.

use std::io::{BufWriter, StdoutLock, Write};
use std::path::PathBuf;

use zeo_storage::file_storage::DataFile;
use zeo_storage::log::{Level, Log};

use crate::outcome::{Result, Verdict, tell};
use crate::progress::Progress;

/// Passed to every subcommand.
pub struct Context {
    /// Standard output, for results only.
    pub out: BufWriter<StdoutLock<'static>>,
    quiet: bool,
}

/// The file that a subcommand is about.
#[derive(Debug, clap::Args)]
pub struct FileArguments {
    /// The data file, such as Data.fs
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
}

impl FileArguments {
    /// Opens the file to read it.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(&self) -> Result<DataFile> {
        Ok(DataFile::open(&self.path)?)
    }
}

/// A subcommand with its arguments.
pub trait Run {
    /// Runs the subcommand; `Err` is for what failed, problems in the data are a verdict.
    fn run(&self, context: &mut Context) -> Result<Verdict>;
}

impl Context {
    /// With `quiet`, progress is not shown.
    pub fn new(quiet: bool) -> Self {
        Self {
            out: BufWriter::with_capacity(1 << 16, std::io::stdout().lock()),
            quiet,
        }
    }

    /// Shows progress on standard error, and warnings and errors.
    pub fn progress(&self) -> Progress {
        self.progress_in_steps(false)
    }

    /// As [`Context::progress`]; with `steps`, also shows each step.
    pub fn progress_in_steps(&self, steps: bool) -> Progress {
        Progress::new(self.quiet, steps)
    }

    /// Shows only warnings and errors, for subcommands that print their results as they go.
    pub fn no_progress(&self) -> Progress {
        Progress::new(true, false)
    }

    /// A log for a storage: warnings and errors, on standard error.
    pub fn log(&self) -> Log {
        std::sync::Arc::new(|level, what| match level {
            Level::Info => {}
            Level::Warning => tell(format_args!("Warning: {what}")),
            Level::Error => tell(format_args!("Error: {what}")),
        })
    }

    /// Writes what is left to be written.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub fn finish(mut self, verdict: Verdict) -> Result<Verdict> {
        self.out.flush()?;
        Ok(verdict)
    }
}
