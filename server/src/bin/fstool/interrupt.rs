//! Ctrl-C and other signals that ask the program to end, for what has files to
//! remove first.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;
use zeo_storage::Error;

use crate::outcome::{Failure, Result};

/// The signal that came; 0 if none did.
static CAME: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// From now on, the first signal that asks the program to end only cancels the subcommand; a
/// second one ends the program at once.
///
/// # Errors
/// The system refuses to install a handler.
pub fn cancels() -> Result<()> {
    let ignored = ignored();
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if ignored & (1 << (signal - 1)) == 0 {
            register(signal, &is_second).map_err(Failure::Signals)?;
        }
    }
    Ok(())
}

fn register(signal: i32, is_second: &Arc<AtomicBool>) -> io::Result<()> {
    // In this order: the first signal passes it, and arms it.
    flag::register_conditional_default(signal, Arc::clone(is_second))?;
    flag::register(signal, Arc::clone(is_second))?;
    let number = usize::try_from(signal).unwrap_or_default();
    flag::register_usize(signal, Arc::clone(&CAME), number)?;
    Ok(())
}

/// Whether a signal came.
pub fn came() -> bool {
    CAME.load(Ordering::Relaxed) != 0
}

/// Whether to go on.
///
/// # Errors
/// [`Error::Cancelled`] when a signal came.
pub fn check() -> Result<()> {
    if came() {
        return Err(Failure::Storage(Error::Cancelled));
    }
    Ok(())
}

/// Ends the program the way the signal does by default. Returns only when no signal came, with
/// the exit code for that.
pub fn end() -> ExitCode {
    if let Ok(signal @ 1..) = i32::try_from(CAME.load(Ordering::Relaxed)) {
        // It does not return.
        let _ = emulate_default_handler(signal);
    }
    ExitCode::from(2)
}

/// The signals that whoever started the program set to be ignored (`nohup`): signal N is bit N - 1.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap_or(0))
}
