//! A mutation fuzzer over every decoder: what peers and files may hold must
//! never make the server panic, take memory without bound, or loop.
//!
//! It needs no special toolchain. An input is made from its seed alone, out
//! of a fixed corpus, so a finding is repeated by its seed. [`run`] holds each
//! input to three rules:
//!
//! - no panic;
//! - memory: at most [`BYTES_FOR_BYTE`] times the input, and what the target
//!   may take besides;
//! - an end: a watchdog names the seed of an input that takes minutes.

#![expect(
    clippy::print_stderr,
    reason = "who closes the output of a fuzzer wants its end"
)]

mod corpus;
mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

use crate::mutate::Mutator;
pub use crate::targets::{Subject, TARGETS, Target};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// How many bytes of memory each byte of an input may lead to.
pub const BYTES_FOR_BYTE: usize = 64;
/// An input that takes longer than this is a finding. Far more than any
/// needs, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After so many inputs.
    Iterations(u64),
    /// After this time.
    Passed(Duration),
}

/// An input that broke a rule.
#[derive(Debug)]
pub struct Finding {
    /// The target's name.
    pub target: &'static str,
    /// The input is made from this, by `--seed SEED --iterations 1`.
    pub seed: u64,
    /// The input.
    pub input: Vec<u8>,
    /// What happened.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.input.get(..400).unwrap_or(&self.input);
        write!(
            f,
            "{}: seed {}: {}\n{} bytes: {}",
            self.target,
            self.seed,
            self.what,
            self.input.len(),
            shown.escape_ascii()
        )
    }
}

/// Gives inputs made from `seed`, `seed + 1`... to the target; returns how
/// many there were. Only one may run at a time: memory is counted for the
/// whole process.
///
/// # Errors
/// The first input that broke a rule, and which.
pub fn run(target: &Target, seed: u64, until: Until) -> Result<u64, Box<Finding>> {
    let mutator = Mutator::new((target.corpus)());
    let mut subject = (target.prepare)();
    let begin = Instant::now();
    let watch = watch(target.name);
    let mut done = 0;
    while match until {
        Until::Iterations(count) => done < count,
        Until::Passed(time) => begin.elapsed() < time,
    } {
        let seed = seed.wrapping_add(done);
        watch.begin(seed);
        let input = mutator.input(seed);
        if let Some(what) = broken_rule(target, &mut subject, &input) {
            return Err(Box::new(Finding {
                target: target.name,
                seed,
                input,
                what,
            }));
        }
        done += 1;
    }
    Ok(done)
}

fn broken_rule(target: &Target, subject: &mut Subject, input: &[u8]) -> Option<String> {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let outcome = catch_unwind(AssertUnwindSafe(|| subject(input)));
    let taken = ALLOCATOR.peak_usage().saturating_sub(before);
    let allowed = input.len() * BYTES_FOR_BYTE + target.slack;
    match outcome {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("a panic: {}", text.unwrap_or("(no text)")))
        }
        Ok(Err(what)) => Some(what),
        Ok(Ok(())) if taken > allowed => Some(format!("{taken} bytes of memory: over {allowed}")),
        Ok(Ok(())) => None,
    }
}

/// What the watchdog looks at.
struct Watch {
    seed: AtomicU64,
    inputs: AtomicU64,
    over: AtomicU64,
}

impl Watch {
    fn begin(&self, seed: u64) {
        self.seed.store(seed, Ordering::Relaxed);
        self.inputs.fetch_add(1, Ordering::Release);
    }
}

/// Ends the watchdog when dropped.
struct Watched(std::sync::Arc<Watch>);

impl std::ops::Deref for Watched {
    type Target = Watch;
    fn deref(&self) -> &Watch {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.over.store(1, Ordering::Relaxed);
    }
}

/// Starts the thread that names the seed of an input without end, and ends
/// the process.
fn watch(name: &'static str) -> Watched {
    let watch = std::sync::Arc::new(Watch {
        seed: AtomicU64::new(0),
        inputs: AtomicU64::new(0),
        over: AtomicU64::new(0),
    });
    let watched = Watched(std::sync::Arc::clone(&watch));
    std::thread::spawn(move || {
        let (mut seen, mut since) = (0, Instant::now());
        while watch.over.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(200));
            let inputs = watch.inputs.load(Ordering::Acquire);
            if inputs != seen {
                (seen, since) = (inputs, Instant::now());
            } else if since.elapsed() > PATIENCE {
                let seed = watch.seed.load(Ordering::Relaxed);
                eprintln!("{name}: seed {seed}: no end after {PATIENCE:?}");
                std::process::abort();
            }
        }
    });
    watched
}
