//! How a subcommand ends, and the exit code that says so.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use zeo_storage::Error;

/// The result of what a subcommand does.
pub type Result<T> = std::result::Result<T, Failure>;

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
    /// It was asked for what makes no sense: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Anything else, told in a sentence: exit code 2.
    #[error("{0}")]
    Other(String),
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

/// Writes a line to standard error. Nobody may read that any more, or it is a
/// full disk's: no reason to stop.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether the file is damaged, or the disk can't read it.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } => true,
        // Of a Reader, which adds the position to what the system says.
        Error::Io { doing, source, .. } => {
            let is_own = source.raw_os_error().is_none();
            *doing == "reading" && is_own && source.to_string().contains("(os error ")
        }
        _ => false,
    }
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
        Failure::Output(why) if why.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::from(BROKEN_PIPE);
        }
        Failure::Storage(error) if is_damage(error) => {
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
