//! A destination of the log, of whichever kind.

use std::time::Instant;

use crossbeam_channel::Receiver;
use jiff::Timestamp;

use super::config::{HandlerConfig, LogTarget};
use super::dates::DateFormat;
use super::error::EventLogError;
use super::logfile::LogFile;
use super::record::{Formatted, LogRecord, level_number};
use super::remote::{Fields, Remote, email, http, syslog};
use super::template::Template;

/// A destination, with the format of its lines.
pub struct Handler {
    level: u8,
    template: Template,
    dates: DateFormat,
    /// For relative times.
    start: Timestamp,
    kind: Kind,
}

enum Kind {
    File(LogFile),
    /// With the facility's number.
    Syslog(u8, Remote),
    Http(Fields, Remote),
    Email(Remote),
    Nowhere,
}

impl Handler {
    /// Opens a file, or starts the thread that sends the lines. What goes wrong there later is told
    /// to `tell`.
    ///
    /// # Errors
    /// A file can't be opened, a syslog host is unknown, a thread can't be started.
    pub fn start(
        config: HandlerConfig,
        start: Timestamp,
        tell: impl Fn(String) + Send + 'static,
    ) -> Result<Handler, EventLogError> {
        let kind = match config.target {
            LogTarget::Syslog(config) => {
                let daemon = syslog::Syslog::new(config.address)?;
                Kind::Syslog(config.facility, Remote::start(daemon, tell)?)
            }
            LogTarget::Http(config) => {
                Kind::Http(Fields::new(), Remote::start(http::Http::new(config), tell)?)
            }
            LogTarget::Email(config) => {
                Kind::Email(Remote::start(email::Email::new(config), tell)?)
            }
            LogTarget::Windows => Kind::Nowhere,
            target => Kind::File(LogFile::open(target)?),
        };
        Ok(Handler {
            level: config.level,
            template: config.template,
            dates: config.dates,
            start,
            kind,
        })
    }

    /// Writes `record`, or passes it to the thread that sends it, if its level is high enough here.
    pub fn write(&mut self, record: &LogRecord, formatted: &mut Formatted) {
        if level_number(record.level) < self.level {
            return;
        }
        match &mut self.kind {
            Kind::Nowhere => return,
            Kind::Http(fields, remote) => {
                return remote.send(fields.encoded(record, formatted, self.start).into());
            }
            _ => {}
        }
        let line = self.template.format(record, &self.dates, self.start);
        formatted.message = true;
        if self.template.uses_time() {
            formatted.dates = Some(self.dates.clone());
        }
        match &mut self.kind {
            Kind::File(file) => file.write(line),
            Kind::Syslog(facility, remote) => {
                remote.send(syslog::message(*facility, record.level, &line));
            }
            Kind::Email(remote) => remote.send(line.into_bytes()),
            Kind::Http(..) | Kind::Nowhere => {}
        }
    }

    /// Opens a file again.
    ///
    /// # Errors
    /// It can't be opened. It is tried again at every line.
    pub fn reopen(&mut self) -> Result<(), EventLogError> {
        match &mut self.kind {
            Kind::File(file) => file.reopen(),
            _ => Ok(()),
        }
    }

    /// Asks the thread that sends the lines for an answer when all before is sent.
    pub fn flush(&self, deadline: Instant) -> Option<Receiver<()>> {
        self.remote()?.flush(deadline)
    }

    /// What to tell of lines that were not sent before the end.
    pub fn unsent(&self) -> Option<String> {
        self.remote()?.unsent()
    }

    fn remote(&self) -> Option<&Remote> {
        match &self.kind {
            Kind::Syslog(_, remote) | Kind::Http(_, remote) | Kind::Email(remote) => Some(remote),
            Kind::File(_) | Kind::Nowhere => None,
        }
    }

    /// Whether this is a file or standard stream.
    pub fn is_file(&self) -> bool {
        matches!(&self.kind, Kind::File(_))
    }

    /// Whether a line of this level goes to standard error.
    pub fn is_on_stderr(&self, level: slog::Level) -> bool {
        matches!(&self.kind, Kind::File(file) if file.is_stderr())
            && level_number(level) >= self.level
    }
}
