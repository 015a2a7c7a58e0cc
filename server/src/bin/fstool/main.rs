//! `fstool`: checks, shows, repairs and backs up the file of a FileStorage, like ZODB's scripts.
//!
//! # How to add a subcommand
//!
//! 1. A module beside this one, named like the subcommand, with a struct
//!    `Arguments` that derives `clap::Args`. Its doc comment is the help: the
//!    first line for the list, the rest, man-like, for `fstool NAME --help`.
//! 2. `impl Run for Arguments`: it calls the library, with an observer from
//!    `context.progress()`, writes the results to `context.out`, and tells
//!    whether it found problems in the file ([`Verdict`]) or failed
//!    ([`Failure`]).
//! 3. A variant in [`Command`], and a line in [`Command::arguments`].
//!
//! What reads or writes the format belongs into `zeo-storage`: [`DataFile`]
//! opens a file without a lock, also beside a running server. Tables go
//! through [`Table`], which also makes the JSON. Errors of writing
//! to standard output are just passed on with `?`: main ends silently when it
//! is a pipe that nobody reads any more.
//!
//! [`Table`]: zeo_server::tools::table::Table
//! [`DataFile`]: zeo_storage::file_storage::DataFile
//! [`Verdict`]: outcome::Verdict
//! [`Failure`]: outcome::Failure

mod blobs;
mod context;
mod copy;
mod dump;
mod index;
mod interrupt;
mod oids;
mod outcome;
mod progress;
mod recover;
mod refs;
mod repozo;
mod size;
mod tail;
mod test;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use zeo_server::manual::{answer, with_manual};

use context::{Context, Run};

/// Check, inspect, repair and back up the file of a FileStorage (Data.fs).
///
/// Use it on the file of a stopped server, or on a copy. Subcommands that only read take no lock
/// and may also run while a server uses the file: they see the transactions that were complete when
/// they started.
#[derive(Debug, Parser)]
#[command(name = "fstool", version, infer_long_args = true, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// Don't show progress
    #[arg(short, long, global = true)]
    quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes: 0 no problems; 1 problems in the data that was read; 2 failed, or wrong usage (standard error \
says why).";

#[derive(Debug, Subcommand)]
enum Command {
    Test(test::Arguments),
    Refs(refs::Arguments),
    Dump(dump::Arguments),
    Tail(tail::Arguments),
    Oids(oids::Arguments),
    Size(size::Arguments),
    Index(index::Arguments),
    Blobs(blobs::Arguments),
    Recover(recover::Arguments),
    #[command(visible_alias = "convert")]
    Copy(copy::Arguments),
    Repozo(Box<repozo::Arguments>),
}

impl Command {
    fn arguments(&self) -> &dyn Run {
        match self {
            Command::Test(arguments) => arguments,
            Command::Refs(arguments) => arguments,
            Command::Dump(arguments) => arguments,
            Command::Tail(arguments) => arguments,
            Command::Oids(arguments) => arguments,
            Command::Size(arguments) => arguments,
            Command::Index(arguments) => arguments,
            Command::Blobs(arguments) => arguments,
            Command::Copy(arguments) => arguments,
            Command::Recover(arguments) => arguments,
            Command::Repozo(arguments) => &**arguments,
        }
    }
}

fn main() -> ExitCode {
    let command = CommandLine::command();
    if let Some(code) = answer(&command) {
        return code;
    }
    let matches = with_manual(command).get_matches();
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|why| why.exit());
    let mut context = Context::new(line.quiet);
    let done = line.command.arguments().run(&mut context);
    outcome::exit_code(done.and_then(|verdict| context.finish(verdict)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        with_manual(CommandLine::command()).debug_assert();
    }
}
