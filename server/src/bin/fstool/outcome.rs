//! How a subcommand ends, and the exit code that says so.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use zeo_storage::observer::Cancelled;
use zeo_storage::{Error, backup};

use crate::interrupt;

/// The result of what a subcommand does.
pub type Result<T> = std::result::Result<T, Failure>;

/// A number of things, as "1 object" or "2 objects".
pub fn counted(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All is well: exit code 0.
    Fine,
    /// There are problems in the file, and they were shown: exit code 1.
    Problems,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file can't be read or written, or is damaged: exit code 2, or 1.
    #[error(transparent)]
    Storage(#[from] zeo_storage::Error),
    /// Standard output can't be written: exit code 2, or silence when nobody
    /// reads it any more. (Errors of other files come as `Storage`.)
    #[error("writing to standard output: {0}")]
    Output(#[from] io::Error),
    /// Signals can't be caught: exit code 2.
    #[error("catching signals: {0}")]
    Signals(io::Error),
    /// A repository of backups, or a backup, is not as it should be: exit
    /// code 2.
    #[error(transparent)]
    Backup(backup::Error),
    /// It was asked for what makes no sense: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Anything else, told in a sentence: exit code 2.
    #[error("{0}")]
    Other(String),
}

impl From<backup::Error> for Failure {
    fn from(error: backup::Error) -> Self {
        match error {
            backup::Error::Storage(error) => Failure::Storage(error),
            backup::Error::Output(error) => Failure::Output(error),
            error => Failure::Backup(error),
        }
    }
}

impl Verdict {
    /// The verdict where `problems` counts what was found.
    pub fn of(problems: u64) -> Self {
        match problems {
            0 => Verdict::Fine,
            _ => Verdict::Problems,
        }
    }
}

/// How writing results went while the library works: the first failure
/// cancels that.
#[derive(Debug, Default)]
pub struct Written(Option<io::Error>);

impl Written {
    /// Writes something more.
    pub fn or_cancel(
        &mut self,
        write: impl FnOnce() -> io::Result<()>,
    ) -> std::result::Result<(), Cancelled> {
        write().map_err(|why| {
            self.0 = Some(why);
            Cancelled
        })
    }

    /// Fails when writing did.
    pub fn result(self) -> Result<()> {
        self.0.map_or(Ok(()), |why| Err(Failure::Output(why)))
    }
}

/// Writes a line to standard error. Nobody may read that any more, or it is a
/// full disk's: no reason to stop.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The exit code of a program that SIGPIPE ended, as shells show it.
const BROKEN_PIPE: u8 = 128 + 13;

/// Tells standard error what failed, if anything, and gives the exit code.
pub fn exit_code(outcome: Result<Verdict>) -> ExitCode {
    let failure = match outcome {
        Ok(Verdict::Fine) => return ExitCode::SUCCESS,
        Ok(Verdict::Problems) => return ExitCode::from(1),
        Err(failure) => failure,
    };
    match &failure {
        Failure::Storage(Error::Cancelled) => return interrupt::end(),
        Failure::Output(why) if why.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::from(BROKEN_PIPE);
        }
        Failure::Storage(error) if error.is_damage() => {
            tell(format_args!(
                "Error: {failure}\n`fstool test` shows all damage, `fstool recover` copies what is whole"
            ));
        }
        _ => tell(format_args!("Error: {failure}")),
    }
    ExitCode::from(match failure {
        Failure::Storage(Error::Corrupt { .. }) => 1,
        _ => 2,
    })
}
