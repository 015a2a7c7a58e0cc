//! What a subcommand works with: where results and progress go.

use std::io::{BufWriter, StdoutLock, Write};

use zeo_storage::log::{Level, Log};

use crate::outcome::{Result, Verdict, tell};
use crate::progress::Progress;

/// Passed to every subcommand.
pub struct Context {
    /// Standard output, for results only.
    pub out: BufWriter<StdoutLock<'static>>,
    quiet: bool,
}

/// A subcommand with its arguments.
pub trait Run {
    /// Does it.
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

    /// Shows on standard error how much of `total` bytes is done.
    pub fn progress(&self, doing: &'static str, total: u64) -> Progress {
        Progress::new(doing, total, self.quiet)
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
    pub fn finish(mut self, verdict: Verdict) -> Result<Verdict> {
        self.out.flush()?;
        Ok(verdict)
    }
}
