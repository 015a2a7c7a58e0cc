//! The log's thread, which formats and writes.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::error::EventLogError;
use super::logfile::LogFile;
use super::record::LogRecord;

/// What the log's thread is told, in order.
pub enum Event {
    /// Write this.
    Record(Box<LogRecord>),
    /// Reopen the files if the flag says so, then answer how that went last.
    Reopen(Sender<Result<(), EventLogError>>),
    /// Answer, since all before is written.
    Flush(Sender<()>),
    /// End.
    Stop,
}

/// What the thread works with.
pub struct Writer {
    /// The destinations.
    pub logfiles: Vec<LogFile>,
    /// What it is told.
    pub events: Receiver<Event>,
    /// How many lines found no room.
    pub lost: Arc<AtomicU64>,
    /// Set when the files are to be opened again.
    pub reopen: Arc<AtomicBool>,
    /// How that went, until somebody asks.
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
                // Who does not wait for an answer does not need it.
                Event::Reopen(answer) => {
                    drop(answer.try_send(mem::replace(&mut self.reopened, Ok(()))));
                }
                Event::Flush(answer) => drop(answer.try_send(())),
                Event::Stop => return self.report_loss(),
            }
            self.report_loss();
        }
    }

    fn write(&mut self, record: &LogRecord) {
        for logfile in &mut self.logfiles {
            logfile.write(record);
        }
    }

    /// Reopens all files; gives the first error.
    fn reopen_files(&mut self) -> Result<(), EventLogError> {
        let mut result = Ok(());
        for logfile in &mut self.logfiles {
            result = result.and(logfile.reopen());
        }
        result
    }

    fn report_loss(&mut self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let values = slog::o!("logger" => "ZEO.runzeo").into();
        let record = LogRecord::new(
            &slog::record!(
                slog::Level::Warning,
                "",
                &format_args!("{lost} log lines were dropped, since the disk is too slow for them"),
                slog::b!()
            ),
            &values,
        );
        self.write(&record);
    }
}
