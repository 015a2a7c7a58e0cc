//! `zeo`: looks after running ZEO servers.
//!
//! `status`, `ping` and `pack` speak the protocol of ZEO, so they work with Python's server as
//! well. `clients`, `watch` and `kick`, and the progress of a pack, need the monitor of this
//! project's server (`docs/monitoring.md`).

mod arguments;
mod clients;
mod kick;
mod pack;
mod ping;
mod show;
mod status;
mod watch;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use zeo_server::manual::{answer, with_manual};
use zeo_server::tools::output::tell;

/// Look after running ZEO servers.
#[derive(Debug, Parser)]
#[command(name = "zeo", version, infer_long_args = true, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, or the server is well; 1 failed (standard error says why); 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Arguments),
    Ping(ping::Arguments),
    Pack(pack::Arguments),
    Clients(clients::Arguments),
    Watch(watch::Arguments),
    Kick(kick::Arguments),
}

/// Why a subcommand failed.
#[derive(Debug)]
enum Failure {
    /// In a sentence.
    Told(String),
    /// Standard output can't be written.
    Output(io::Error),
}

type Result<T> = std::result::Result<T, Failure>;

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Told(why)
    }
}

impl From<zeo_client::ConnectionError> for Failure {
    fn from(why: zeo_client::ConnectionError) -> Self {
        Self::Told(why.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(why: io::Error) -> Self {
        Self::Output(why)
    }
}

const FAILED: u8 = 1;
/// The exit code that shells show for a program ended by SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;

fn main() -> ExitCode {
    if let Some(code) = answer(&CommandLine::command()) {
        return code;
    }
    let command = with_manual(arguments::with_variables(CommandLine::command()));
    let matches = command.get_matches();
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|why| why.exit());
    let done = match &line.command {
        Command::Status(arguments) => status::run(arguments),
        Command::Ping(arguments) => ping::run(arguments),
        Command::Pack(arguments) => pack::run(arguments),
        Command::Clients(arguments) => clients::run(arguments),
        Command::Watch(arguments) => watch::run(arguments),
        Command::Kick(arguments) => kick::run(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told(why)) => {
            tell(format_args!("Error: {why}"));
            ExitCode::from(FAILED)
        }
        Err(Failure::Output(why)) if why.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(BROKEN_PIPE)
        }
        Err(Failure::Output(why)) => {
            tell(format_args!("Error: writing to standard output: {why}"));
            ExitCode::from(FAILED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        CommandLine::command().debug_assert();
    }
}
