//! The log: slog records to files in the formats of Python's `logging`, as ZConfig's
//! `<eventlog>` section configures them.
//!
//! Those who log only put a record into a bounded queue; one thread formats and writes. When the
//! disk is slower than the log for long, the queue fills up and lines are dropped, counted, and
//! the count is logged. Nobody waits for a disk.
//!
//! What is sent to other programs (`remote/`) goes through one more bounded queue and thread for
//! each of them.
//!
//! To have the files opened again, set [`EventLog::reopen_flag`]: the thread looks at it before
//! every line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use jiff::Timestamp;
use slog::{Drain, Never, OwnedKVList, Record};

use crate::process::signals;

mod config;
mod dates;
mod encoding;
mod error;
mod handler;
mod logfile;
mod record;
mod remote;
mod rotation;
mod template;
mod writer;

pub use config::{
    DEFAULT_FORMAT, EventLogConfig, HandlerConfig, LogFormat, LogTarget, Rotation, Unit, When,
};
pub use dates::DateFormat;
pub use encoding::LogEncoding;
pub use error::EventLogError;
pub use record::{LogRecord, level_number};
pub use remote::email::{SMTP_PORT, mailboxes};
pub use remote::http::check_url;
pub use remote::syslog::facility;
pub use remote::{EmailConfig, HttpConfig, HttpMethod, SyslogAddress, SyslogConfig};
pub use template::{Style, Template};

use handler::Handler;
use writer::{Event, Writer};

/// How many lines may wait for the disk.
const QUEUE_LINES: usize = 10_000;
/// How long to wait for the disk, when asked to.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The log's thread. Dropping this writes what waits and stops it.
pub struct EventLog {
    queue: Sender<Event>,
    lost: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    level: u8,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<()>,
}

impl EventLog {
    /// Opens the files of `config` and starts the threads.
    ///
    /// # Errors
    /// A file can't be opened, a syslog host is unknown, or a thread can't be started.
    pub fn start(config: EventLogConfig) -> Result<EventLog, EventLogError> {
        let start = Timestamp::now();
        let lowest = config.handlers.iter().map(|handler| handler.level).min();
        let level = config.level.max(lowest.unwrap_or(u8::MAX));
        let (queue, events) = unbounded();
        let handlers = config.handlers.into_iter().map(|handler| {
            let log = queue.clone();
            // When the log has ended, nobody is left to tell.
            let tell = move |text| drop(log.send(Event::Trouble(text)));
            Handler::start(handler, start, tell)
        });
        let handlers: Result<Vec<_>, _> = handlers.collect();
        let (end, ended) = bounded(0);
        let lost = Arc::new(AtomicU64::new(0));
        let reopen = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            handlers: handlers?,
            events,
            reopen: Arc::clone(&reopen),
            reopened: Ok(()),
            lost: Arc::clone(&lost),
        };
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                // Dropped at the end, which `ended` notices.
                let _end: Sender<()> = end;
                // If it fails, the signal is handled on another thread, only later.
                let _ = signals::unblock_reopen();
                writer.run();
            })
            .map_err(EventLogError::Thread)?;
        Ok(EventLog {
            queue,
            lost,
            reopen,
            level,
            thread: Some(thread),
            ended,
        })
    }

    /// A drain for loggers. The pair `"logger" => "ZEO.StorageServer"` names the logger of a
    /// record.
    pub fn drain(&self) -> LogDrain {
        LogDrain {
            queue: self.queue.clone(),
            lost: Arc::clone(&self.lost),
            level: self.level,
        }
    }

    /// When this flag is set, also by a signal handler, the files are closed and opened again
    /// before the next line is written. A file that can't be opened is tried again at every line; until
    /// then, its lines go to standard error.
    pub fn reopen_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen)
    }

    /// Waits until the files are opened again, if the flag is set.
    ///
    /// # Errors
    /// A file can't be opened, also for a flag that was seen before; or the thread does not
    /// answer.
    pub fn reopen(&self) -> Result<(), EventLogError> {
        let (answer, answered) = bounded(1);
        self.ask(Event::Reopen(answer), &answered)?
    }

    /// Waits until all lines logged so far are written.
    ///
    /// # Errors
    /// The thread does not answer.
    pub fn flush(&self) -> Result<(), EventLogError> {
        let (answer, answered) = bounded(1);
        self.ask(Event::Flush(answer), &answered)
    }

    fn ask<T>(&self, event: Event, answered: &Receiver<T>) -> Result<T, EventLogError> {
        let sent = self.queue.send_timeout(event, FLUSH_TIMEOUT);
        sent.map_err(|_| EventLogError::Stuck)?;
        answered
            .recv_timeout(FLUSH_TIMEOUT)
            .map_err(|_| EventLogError::Stuck)
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // A thread that is stuck in a disk is left to itself.
        if self.queue.send_timeout(Event::Stop, FLUSH_TIMEOUT).is_ok()
            && self.ended.recv_timeout(FLUSH_TIMEOUT)
                == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Where loggers put their records.
#[derive(Clone)]
pub struct LogDrain {
    queue: Sender<Event>,
    lost: Arc<AtomicU64>,
    level: u8,
}

impl Drain for LogDrain {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record, values: &OwnedKVList) -> Result<(), Never> {
        if self.is_enabled(record.level()) {
            let record = Box::new(LogRecord::new(record, values));
            // Not a bounded channel, which would take the memory for all of them at once.
            let full = self.queue.len() >= QUEUE_LINES;
            if full || self.queue.send(Event::Record(record)).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn is_enabled(&self, level: slog::Level) -> bool {
        level_number(level) >= self.level
    }
}

#[cfg(test)]
mod tests;
