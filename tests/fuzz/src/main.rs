//! `zeo-fuzz`: runs the fuzzer's targets, all or some, for a time or a
//! number of inputs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "who closes the output of a fuzzer wants its end"
)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use zeo_fuzz::{TARGETS, Until, run};

/// Fuzz the decoders.
#[derive(Parser)]
struct Options {
    /// Only these targets.
    target: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// So many inputs for each target, however long it takes.
    #[arg(long)]
    iterations: Option<u64>,
    /// The first seed; each input has its own, one after the other.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let known = |name: &String| TARGETS.iter().any(|target| target.name == name);
    if let Some(name) = options.target.iter().find(|name| !known(name)) {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("no target {name:?}; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let until = match options.iterations {
        Some(count) => Until::Iterations(count),
        None => Until::Passed(Duration::from_secs_f64(options.seconds.clamp(0.0, 1e9))),
    };
    // Seeds of a million apart do not meet in a night.
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..) >> 16);
    let mut found = false;
    for target in TARGETS {
        if !options.target.is_empty() && !options.target.iter().any(|name| name == target.name) {
            continue;
        }
        match run(target, seed, until) {
            Ok(count) => println!(
                "{}: {count} inputs from seed {seed}: nothing found",
                target.name
            ),
            Err(finding) => {
                found = true;
                println!("FOUND {finding}");
            }
        }
    }
    ExitCode::from(u8::from(found))
}
