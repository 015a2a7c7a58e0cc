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

/// The signal that came; 0 as long as there was none.
static CAME: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// From now on, a signal that ends the program cancels what it does; a second
/// one ends it at once.
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

/// Fails when a signal came.
pub fn check() -> Result<()> {
    if came() {
        return Err(Failure::Storage(Error::Cancelled));
    }
    Ok(())
}

/// Ends the program as the signal that came does by itself. Returns only when
/// there was none, with the exit code for that.
pub fn end() -> ExitCode {
    if let Ok(signal @ 1..) = i32::try_from(CAME.load(Ordering::Relaxed)) {
        // It does not return.
        let _ = emulate_default_handler(signal);
    }
    ExitCode::from(2)
}

/// The signals that who started this wants to be ignored (`nohup`), a bit
/// each, from 1 on.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap_or(0))
}
