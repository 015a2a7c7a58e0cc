//! `zeopack`: packs storages of ZEO servers.
//!
//! Options, output and exit codes are those of the script of ZEO with this name, with some more.
//! Where that one ends with a traceback, there is a line that says what is wrong.

mod arguments;
mod pack;
mod servers;
mod time;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use zeo_server::manual::{answer, with_manual};
use zeo_server::tools::connect::environment;
use zeo_server::tools::output;

use arguments::CommandLine;

/// Wrong values of arguments, and failures, as Python's script tells them.
const FAILED: u8 = 1;
/// Some servers could not be reached; the others are packed.
const SOME: u8 = 3;

fn main() -> ExitCode {
    if std::env::args_os().len() < 2 {
        output::show(
            with_manual(CommandLine::command())
                .render_long_help()
                .to_string()
                .trim_end(),
        );
        return ExitCode::SUCCESS;
    }
    if let Some(code) = answer(&CommandLine::command()) {
        return code;
    }
    let matches = with_manual(CommandLine::command()).get_matches();
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|why| why.exit());
    match plan(&line) {
        Ok(plan) => pack::all(&plan),
        Err(why) => {
            output::tell(format_args!("Error:\n{why}"));
            ExitCode::from(FAILED)
        }
    }
}

fn plan(line: &CommandLine) -> Result<pack::Plan, String> {
    let time = time::pack_time(&jiff::ZonedDateTime::now(), line.time.as_deref(), line.days)?;
    let servers = servers::servers(line)?;
    let options = line.connect.options(line.wait, &environment)?;
    Ok(pack::Plan {
        servers,
        time,
        options,
        wait: line.wait,
        limit: line.timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        with_manual(CommandLine::command()).debug_assert();
    }
}
