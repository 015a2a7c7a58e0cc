//! Signals as messages for the main thread.
//!
//! SIGUSR2 also sets a flag, and is handled on the log's thread only: the
//! system runs a handler before the thread's next instruction, so that the
//! thread knows of the signal before it writes the next line. From whoever
//! moves a log file away and sends the signal, nothing comes into that file
//! afterwards, however long the other threads have to wait for a processor.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use nix::sys::signal::SigSet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop.
    Terminate,
    /// SIGINT: stop.
    Interrupt,
    /// SIGHUP: stop, to be started again.
    HangUp,
    /// SIGUSR2: open the log files again.
    ReopenLogs,
}

impl Signal {
    /// The signal's name, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::HangUp => "SIGHUP",
            Signal::ReopenLogs => "SIGUSR2",
        }
    }

    /// The status to exit with after a clean stop; `None` if the signal does not ask for one.
    pub fn exit_code(self) -> Option<i32> {
        match self {
            Signal::Terminate | Signal::Interrupt => Some(0),
            Signal::HangUp => Some(1),
            Signal::ReopenLogs => None,
        }
    }
}

/// Keeps SIGUSR2 from this thread and from those that it starts from now on.
///
/// # Errors
/// The system refuses.
pub fn block_reopen() -> io::Result<()> {
    Ok(reopen_set().thread_block()?)
}

/// Lets SIGUSR2 be handled on this thread, whatever the one that started it
/// does.
///
/// # Errors
/// The system refuses.
pub fn unblock_reopen() -> io::Result<()> {
    Ok(reopen_set().thread_unblock()?)
}

fn reopen_set() -> SigSet {
    nix::sys::signal::Signal::SIGUSR2.into()
}

/// Catches the signals of [`Signal`] from now on, for good, and hands them out in order. Signals
/// of one kind that come at once may be handed out as one. SIGUSR2 sets `reopen` before it is
/// handed out.
///
/// SIGPIPE and SIGXFSZ no longer end the process: writes to closed sockets and beyond a file
/// size limit fail with an error instead.
///
/// # Errors
/// The system refuses, or the thread that waits for signals can't be started.
pub fn catch(reopen: Arc<AtomicBool>) -> io::Result<Receiver<Signal>> {
    for ignored in [SIGPIPE, SIGXFSZ] {
        signal_hook::flag::register(ignored, Arc::new(AtomicBool::new(false)))?;
    }
    signal_hook::flag::register(SIGUSR2, reopen)?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2])?;
    // When it is full, signals of one kind become one.
    let (sender, receiver) = bounded(8);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for number in signals.forever() {
                let signal = match number {
                    SIGTERM => Signal::Terminate,
                    SIGINT => Signal::Interrupt,
                    SIGHUP => Signal::HangUp,
                    _ => Signal::ReopenLogs,
                };
                if sender.send(signal).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn signals_arrive_in_the_channel() {
        let reopen = Arc::new(AtomicBool::new(false));
        let signals = catch(Arc::clone(&reopen)).unwrap();
        for (number, expected, code) in [
            (SIGUSR2, Signal::ReopenLogs, None),
            (SIGTERM, Signal::Terminate, Some(0)),
            (SIGINT, Signal::Interrupt, Some(0)),
            (SIGHUP, Signal::HangUp, Some(1)),
        ] {
            signal_hook::low_level::raise(number).unwrap();
            let signal = signals.recv().unwrap();
            assert_eq!((signal, signal.exit_code()), (expected, code));
            let reopen = reopen.swap(false, Ordering::SeqCst);
            assert_eq!(reopen, signal == Signal::ReopenLogs);
        }
        // Would end the process if they were not caught.
        signal_hook::low_level::raise(SIGXFSZ).unwrap();
        signal_hook::low_level::raise(SIGPIPE).unwrap();
    }
}
