//! Files that must not be left behind by what is not finished: because of an
//! error, Ctrl-C, or a signal that asks to end.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::files::remove;

/// All of them.
static FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static CATCH: Once = Once::new();

/// Files that are removed, if they are there, when this is dropped, and when
/// the program is interrupted.
pub struct Unfinished(Vec<PathBuf>);

impl Unfinished {
    /// Those at these paths, whether they are there yet or not.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        // Without, an interrupt leaves them.
        CATCH.call_once(|| drop(catch()));
        files().extend(paths.iter().cloned());
        Self(paths)
    }

    /// They are finished, and stay.
    pub fn keep(mut self) {
        files().retain(|path| !self.0.contains(path));
        self.0.clear();
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        files().retain(|path| !self.0.contains(path));
        for path in &self.0 {
            // What can't be removed is in nobody's way.
            let _ = remove(path);
        }
    }
}

fn files() -> MutexGuard<'static, Vec<PathBuf>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets signals that end the program remove the files first.
fn catch() -> io::Result<()> {
    let ignored = ignored();
    let signals = [SIGINT, SIGTERM, SIGHUP].into_iter();
    let mut signals = Signals::new(signals.filter(|signal| ignored & (1 << (signal - 1)) == 0))?;
    let wait = move || {
        for signal in signals.forever() {
            for path in files().iter() {
                let _ = remove(path);
            }
            let _ = emulate_default_handler(signal);
        }
    };
    thread::Builder::new().spawn(wait).map(|_| ())
}

/// The signals that who started this wants to be ignored (`nohup`), a bit
/// each, from 1 on.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap_or(0))
}
