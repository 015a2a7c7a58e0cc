//! The log's thread, which formats and writes.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::error::EventLogError;
use super::handler::Handler;
use super::logfile::to_stderr;
use super::record::{Formatted, LogRecord};

/// How long the end, or whoever waits for the lines so far, waits for other machines.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the log's thread is told, in order.
pub enum Event {
    /// Write this.
    Record(Box<LogRecord>),
    /// Lines could not be sent, as the text says.
    Trouble(String),
    /// Reopen the files if the flag is set, then answer with the result of the last reopening.
    Reopen(Sender<Result<(), EventLogError>>),
    /// Answer, since all before is written.
    Flush(Sender<()>),
    /// End.
    Stop,
}

/// What the thread works with.
pub struct Writer {
    /// The destinations.
    pub handlers: Vec<Handler>,
    /// What it is told.
    pub events: Receiver<Event>,
    /// How many lines found no room.
    pub lost: Arc<AtomicU64>,
    /// Set when the files are to be opened again.
    pub reopen: Arc<AtomicBool>,
    /// The result of the last reopening, until it is asked for.
    pub reopened: Result<(), EventLogError>,
}

impl Writer {
    /// Writes until it is stopped.
    pub fn run(&mut self) {
        while let Ok(event) = self.events.recv() {
            if self.reopen.swap(false, Ordering::SeqCst) {
                self.reopened = self.reopen_files();
            }
            match event {
                Event::Record(record) => self.write(&record),
                Event::Trouble(text) => self.tell(&text),
                // Nobody may be waiting for it any more.
                Event::Reopen(answer) => {
                    drop(answer.try_send(mem::replace(&mut self.reopened, Ok(()))));
                }
                Event::Flush(answer) => {
                    self.flush();
                    let _ = answer.try_send(());
                }
                Event::Stop => return self.stop(),
            }
            self.report_loss();
        }
    }

    fn write(&mut self, record: &LogRecord) {
        let mut formatted = Formatted::default();
        for handler in &mut self.handlers {
            handler.write(record, &mut formatted);
        }
    }

    /// Tells the log files, and standard error in any case, of lines that could not be sent. Other
    /// receivers are not told, or two that are down would tell of each other for ever.
    fn tell(&mut self, text: &str) {
        let record = LogRecord::warning(text);
        let is_on_stderr = |handler: &Handler| handler.is_on_stderr(record.level);
        if !self.handlers.iter().any(is_on_stderr) {
            to_stderr(&format!("{text}\n"));
        }
        let mut formatted = Formatted::default();
        for handler in self.handlers.iter_mut().filter(|handler| handler.is_file()) {
            handler.write(&record, &mut formatted);
        }
    }

    /// Waits until the threads of the handlers have sent what they have, or some seconds.
    fn flush(&mut self) {
        let deadline = Instant::now() + REMOTE_TIMEOUT;
        let answers = self
            .handlers
            .iter()
            .filter_map(|handler| handler.flush(deadline));
        let answers: Vec<_> = answers.collect();
        for answer in answers {
            // What was not sent by then may still be, or is lost.
            let _ = answer.recv_deadline(deadline);
        }
    }

    /// Sends what is left, and tells what could not be sent.
    fn stop(&mut self) {
        self.report_loss();
        self.flush();
        while let Ok(event) = self.events.try_recv() {
            if let Event::Trouble(text) = event {
                self.tell(&text);
            }
        }
        let unsent: Vec<_> = self.handlers.iter().filter_map(Handler::unsent).collect();
        unsent.iter().for_each(|text| self.tell(text));
    }

    /// Reopens all files; gives the first error.
    fn reopen_files(&mut self) -> Result<(), EventLogError> {
        let mut result = Ok(());
        for handler in &mut self.handlers {
            result = result.and(handler.reopen());
        }
        result
    }

    fn report_loss(&mut self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let problem = format!("{lost} log lines were dropped, since the disk is too slow for them");
        self.write(&LogRecord::warning(&problem));
    }
}
