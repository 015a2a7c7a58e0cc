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

/// Why a subcommand failed.
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
    /// Something is wrong with a backup or the repository: exit code 2.
    #[error(transparent)]
    Backup(backup::Error),
    /// The arguments make no sense: exit code 2.
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
/// cancels the library's work.
#[derive(Debug, Default)]
pub struct Written(Option<io::Error>);

impl Written {
    /// Writes more results.
    ///
    /// # Errors
    /// `Cancelled`, if that failed.
    pub fn or_cancel(
        &mut self,
        write: impl FnOnce() -> io::Result<()>,
    ) -> std::result::Result<(), Cancelled> {
        write().map_err(|why| {
            self.0 = Some(why);
            Cancelled
        })
    }

    /// How it went.
    ///
    /// # Errors
    /// The first failure to write.
    pub fn result(self) -> Result<()> {
        self.0.map_or(Ok(()), |why| Err(Failure::Output(why)))
    }
}

/// Writes a line to standard error. A failure is ignored: nobody may be reading, or the disk is full.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The exit code that shells show for a program ended by SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;

/// Writes to standard error what failed, if anything, and returns the exit code.
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
