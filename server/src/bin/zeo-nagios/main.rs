//! `zeo-nagios`: a plugin for Nagios and its kin that asks a server whether it is well.
//!
//! Options, output and exit codes are those of the script of ZEO with this name. Where that one
//! ends with a traceback or waits for ever, there is a line that says what is wrong.

// Help texts are written for people, not for rustdoc.
#![allow(rustdoc::broken_intra_doc_links)]

mod check;
mod metrics;
mod python;
mod samples;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use zeo_server::manual::{answer, with_manual};
use zeo_server::tools::connect::time_limit;
use zeo_server::tools::{ConnectArguments, output};

/// Ask a ZEO server for its state, as a plugin for Nagios.
#[derive(Debug, Parser)]
#[command(
    name = "zeo-nagios",
    version,
    infer_long_args = true,
    args_override_self = true
)]
#[command(after_help = EXIT_CODES)]
struct CommandLine {
    /// HOST:PORT, [IPv6]:PORT, or the path of a Unix socket
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Output metrics
    #[arg(short = 'm', long)]
    output_metrics: bool,
    /// File that keeps the counters from one run to the next; without it there are no rates
    #[arg(short, long, value_name = "FILE")]
    status_path: Option<PathBuf>,
    /// Time unit of the rates
    #[arg(
        short = 'u',
        long,
        value_enum,
        default_value = "minutes",
        value_name = "UNIT"
    )]
    time_units: Unit,
    /// How long the server may take to answer, in seconds
    #[arg(short, long, value_parser = time_limit, default_value = "10", value_name = "SECONDS")]
    timeout: Duration,
    #[command(flatten)]
    connect: ConnectArguments,
}

const EXIT_CODES: &str = "\
Exit codes: 0 the server is well; 1 a storage is empty, there is none, or the answer makes no sense; 2 the \
server can't be reached or does not answer in time, or wrong usage.";

/// What a rate is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
}

impl Unit {
    fn in_seconds(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Minutes => 60.0,
            Self::Hours => 3600.0,
            Self::Days => 86400.0,
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = answer(&CommandLine::command()) {
        return code;
    }
    let matches = with_manual(CommandLine::command()).get_matches();
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|why| why.exit());
    let report = check::check(&line);
    output::show(report.text);
    ExitCode::from(report.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        with_manual(CommandLine::command()).debug_assert();
    }
}
