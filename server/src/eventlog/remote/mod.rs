//! Destinations that lines are sent to. Each has a thread of its own with a bounded queue, so that
//! a slow one makes nobody wait: what does not fit is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::error::EventLogError;

pub mod email;
pub mod http;
pub mod syslog;
mod urlencoded;

pub use email::EmailConfig;
pub use http::{HttpConfig, HttpMethod};
pub use syslog::{SyslogAddress, SyslogConfig};
pub use urlencoded::Fields;

/// How many lines may wait for one destination.
const QUEUE_LINES: usize = 1000;
/// How often lost lines are told of, after the first time.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Sends lines one after the other.
pub trait Transport: Send + 'static {
    /// Where to, for messages.
    fn name(&self) -> String;

    /// Sends a line, within seconds.
    ///
    /// # Errors
    /// It is lost, and why.
    fn send(&mut self, line: &[u8]) -> Result<(), String>;
}

enum Message {
    Line(Vec<u8>),
    /// Answer, since all before is sent.
    Flush(Sender<()>),
}

/// The way to a thread that sends lines. It ends after this is dropped.
pub struct Remote {
    queue: Sender<Message>,
    counts: Arc<Counts>,
    name: String,
}

#[derive(Default)]
struct Counts {
    /// Lines that are in the queue or on their way.
    waiting: AtomicU64,
    /// Lines that found no room in the queue.
    overflow: AtomicU64,
}

impl Remote {
    /// Starts the thread, which tells `tell` of lost lines: at once, then once a minute.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(
        transport: impl Transport,
        tell: impl Fn(String) + Send + 'static,
    ) -> Result<Remote, EventLogError> {
        let (queue, messages) = bounded(QUEUE_LINES);
        let counts = Arc::new(Counts::default());
        let name = transport.name();
        let courier = Courier {
            transport,
            tell,
            messages,
            counts: Arc::clone(&counts),
            lost: 0,
            why: String::new(),
            told: None,
        };
        thread::Builder::new()
            .name("log sender".to_owned())
            .spawn(move || courier.run())
            .map_err(EventLogError::Thread)?;
        Ok(Remote {
            queue,
            counts,
            name,
        })
    }

    /// Has `line` sent; never waits.
    pub fn send(&self, line: Vec<u8>) {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What to tell of lines that were not sent before the end.
    pub fn unsent(&self) -> Option<String> {
        let waiting = self.counts.waiting.load(Ordering::Relaxed);
        let lost = waiting.saturating_add(self.counts.overflow.load(Ordering::Relaxed));
        let why = "the server ends, and they could not be sent in time";
        (lost > 0).then(|| told(lost, &self.name, why))
    }

    /// What answers when all before is sent; `None` if the queue is full until `deadline`.
    pub fn flush(&self, deadline: Instant) -> Option<Receiver<()>> {
        let (answer, answered) = bounded(1);
        let sent = self.queue.send_deadline(Message::Flush(answer), deadline);
        sent.ok().map(|()| answered)
    }
}

struct Courier<T, F> {
    transport: T,
    tell: F,
    messages: Receiver<Message>,
    counts: Arc<Counts>,
    /// Lines that were lost and not told of yet.
    lost: u64,
    /// Why the last one was.
    why: String,
    /// When it was last told.
    told: Option<Instant>,
}

impl<T: Transport, F: Fn(String)> Courier<T, F> {
    fn run(mut self) {
        loop {
            match self.next() {
                Ok(Message::Line(line)) => {
                    let sent = self.transport.send(&line);
                    self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                    if let Err(why) = sent {
                        self.lost += 1;
                        self.why = why;
                    }
                }
                Ok(Message::Flush(answer)) => {
                    self.count_overflow();
                    self.report();
                    // Nobody may be waiting for it any more.
                    let _ = answer.try_send(());
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.count_overflow();
            if self.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
                self.report();
            }
        }
    }

    /// The next message; or the time to tell of lost lines.
    fn next(&self) -> Result<Message, RecvTimeoutError> {
        match self.told {
            Some(told) if self.lost > 0 => self.messages.recv_deadline(told + TELL_INTERVAL),
            _ => self
                .messages
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn count_overflow(&mut self) {
        let overflow = self.counts.overflow.swap(0, Ordering::Relaxed);
        if overflow > 0 {
            self.lost = self.lost.saturating_add(overflow);
            self.why = "they came faster than they could be sent".to_owned();
        }
    }

    fn report(&mut self) {
        if self.lost == 0 {
            return;
        }
        (self.tell)(told(self.lost, &self.transport.name(), &self.why));
        (self.lost, self.told) = (0, Some(Instant::now()));
    }
}

/// The message about lost lines.
fn told(lost: u64, name: &str, why: &str) -> String {
    let lines = if lost == 1 { "line" } else { "lines" };
    format!("lost {lost} log {lines} to {name}: {why}")
}

#[cfg(test)]
mod tests;
