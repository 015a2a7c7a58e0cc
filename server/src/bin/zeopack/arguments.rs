//! The command line.

// Help texts are written for people, not for rustdoc.
#![allow(rustdoc::broken_intra_doc_links)]

use std::time::Duration;

use clap::{ArgAction, Parser};
use zeo_server::tools::ConnectArguments;
use zeo_server::tools::connect::time_limit;

/// Pack one or more storages hosted by ZEO servers.
///
/// Each SERVER is HOST:PORT or HOST:PORT:STORAGE; an IPv6 address stands in brackets:
/// [::1]:8100:main. The storage is 1 unless it is named.
#[derive(Debug, Parser)]
#[command(
    name = "zeopack",
    version,
    infer_long_args = true,
    args_override_self = true
)]
#[command(disable_help_flag = true, after_help = EXIT_CODES)]
pub struct CommandLine {
    /// TCP servers, each HOST:PORT[:STORAGE]
    #[arg(value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Pack objects that are older than this number of days
    #[arg(short, long, value_parser = python_int, allow_hyphen_values = true)]
    #[arg(default_value = "0")]
    pub days: i64,
    /// Time of day to pack to: HH[:MM[:SS]]; default: now
    #[arg(short, long, allow_hyphen_values = true)]
    pub time: Option<String>,
    /// A server at a Unix socket: PATH[:STORAGE]
    #[arg(short, long = "unix", value_name = "PATH", action = ArgAction::Append)]
    pub unix_sockets: Vec<String>,
    /// Deprecated: a server's host, with -p and -S
    #[arg(short = 'h', value_name = "HOST")]
    pub host: Option<String>,
    /// Deprecated: a server's port, with -h and -S
    #[arg(short = 'p', value_name = "PORT", value_parser = python_int)]
    pub port: Option<i64>,
    /// Deprecated: the storage of the server that -h and -p or -U name
    #[arg(short = 'S', value_name = "STORAGE", default_value = "1")]
    pub name: String,
    /// Deprecated: the Unix socket of a server, with -S
    #[arg(short = 'U', value_name = "PATH")]
    pub unix: Option<String>,
    /// How long to wait for each server to take the connection, in seconds
    #[arg(long, value_parser = time_limit, default_value = "60", value_name = "SECONDS")]
    pub wait: Duration,
    /// How long each pack may take, in seconds; default: for ever. The server goes on with it
    #[arg(long, value_parser = time_limit, value_name = "SECONDS")]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: (),
}

const EXIT_CODES: &str = "\
Exit codes: 0 all were packed; 1 no server could be reached, a pack failed, or an argument has a wrong \
value; 2 there is no such option; 3 some servers could not be reached, the others were packed.";

/// An integer as Python's script takes it: decimal, or with `0x`, `0b`, or `0` for octal before
/// it.
fn python_int(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not an integer");
    let trimmed = text.trim().to_lowercase();
    let (sign, digits) = match trimmed.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", trimmed.strip_prefix('+').unwrap_or(&trimmed)),
    };
    let (digits, radix) = match digits.split_at_checked(2) {
        Some(("0x", digits)) => (digits, 16),
        Some(("0b", digits)) => (digits, 2),
        _ if digits.starts_with('0') && digits.len() > 1 => (digits, 8),
        _ => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return Err(wrong());
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_in_python_s_option_parser() {
        for (text, expected) in [
            ("3", Some(3)),
            ("-3", Some(-3)),
            ("0x10", Some(16)),
            ("0b11", Some(3)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("08", None),
            ("1.5", None),
            ("--1", None),
            ("", None),
        ] {
            assert_eq!(python_int(text).ok(), expected, "{text}");
        }
    }
}
