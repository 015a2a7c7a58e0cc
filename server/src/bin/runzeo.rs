//! `runzeo`: the ZEO server.
//!
//! Exits with 0 after SIGTERM or SIGINT, with 1 after SIGHUP (so that a
//! supervisor starts it again) or when it can't start, and with 2 when it is
//! called or configured wrongly.

use std::io::{self, Write};
use std::process::ExitCode;

use zeo_server::Options;

fn main() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    let options = match Options::parse(std::env::args_os(), &env) {
        Ok(options) => options,
        Err(why) if why.exit_code() == 0 => {
            let shown = write!(io::stdout(), "{}", why.report());
            return exit_code(shown.map_or(1, |()| 0));
        }
        Err(why) => {
            tell(&why.report());
            return exit_code(why.exit_code());
        }
    };
    if options.check {
        return match zeo_server::check(&options) {
            Ok(text) => exit_code(write!(io::stdout(), "{text}").map_or(1, |()| 0)),
            Err(why) => {
                tell(&format!("Error: {why}\n"));
                exit_code(why.exit_code())
            }
        };
    }
    match zeo_server::run(options) {
        Ok(code) => exit_code(code),
        Err(why) => {
            tell(&format!("Error: {why}\n"));
            exit_code(why.exit_code())
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Nobody may read standard error any more: the exit code still tells.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
