//! What can be configured about the log.

use std::path::PathBuf;

use clap::ValueEnum;

use super::dates::DateFormat;
use super::encoding::LogEncoding;
use super::remote::{EmailConfig, HttpConfig, SyslogConfig};
use super::template::{Style, Template};

/// The level of Python's INFO, which a log has by default.
const INFO: u8 = 20;

/// The format of log lines that ZConfig's log files and runzeo have by default.
pub const DEFAULT_FORMAT: &str = r"------\n%(asctime)s %(levelname)s %(name)s %(message)s";

/// Where log lines go.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EventLogConfig {
    /// The lowest level that is logged at all, in Python's numbers: 10 is
    /// DEBUG, 20 INFO, 30 WARNING, 40 ERROR, 50 CRITICAL.
    pub level: u8,
    /// The destinations. If there are none, nothing is logged.
    pub handlers: Vec<HandlerConfig>,
}

/// One destination.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HandlerConfig {
    /// Where its lines go.
    pub target: LogTarget,
    /// The lowest level that is written here.
    pub level: u8,
    /// How a line looks. For [`LogTarget::Http`], the server is sent the fields instead.
    pub template: Template,
    /// How a date looks.
    pub dates: DateFormat,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, which is appended to.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether it is opened with the first line only.
        delay: bool,
        /// How its text is encoded.
        encoding: LogEncoding,
        /// When it is replaced by a new one, if ever.
        rotation: Option<Rotation>,
    },
    /// A syslog daemon.
    Syslog(SyslogConfig),
    /// A web server.
    Http(HttpConfig),
    /// A mail for each line.
    Email(EmailConfig),
    /// The event log of Windows, which is not there: lines are dropped.
    Windows,
}

/// What the lines of log files and of the standard streams are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum LogFormat {
    /// Text, as configured
    #[default]
    Text,
    /// A JSON object in each line
    Json,
}

/// When a log file is replaced, and how many old ones are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// When.
    pub when: When,
    /// How many are kept, at least 1; all, if `None`.
    pub old_files: Option<usize>,
}

/// The moment at which a log file is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// When it would reach this size in bytes. Old files are called `.1`, `.2` ..., so that a
    /// number of them has to be kept.
    Size(u64),
    /// Each time this many units have passed. Old files have the date after their name.
    Every(Unit, u32),
}

/// A unit of time between two log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
    /// The end of a day, in local time, whatever the number of units.
    Midnight,
    /// The end of this day of the week (0 is Monday), whatever the number of units.
    Weekday(i8),
}

impl Unit {
    /// The unit that `logging.handlers.TimedRotatingFileHandler` calls `text`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn named(text: &str) -> Result<Unit, String> {
        match text.to_uppercase().as_str() {
            "S" => Ok(Unit::Second),
            "M" => Ok(Unit::Minute),
            "H" => Ok(Unit::Hour),
            "D" => Ok(Unit::Day),
            "MIDNIGHT" => Ok(Unit::Midnight),
            "W0" => Ok(Unit::Weekday(0)),
            "W1" => Ok(Unit::Weekday(1)),
            "W2" => Ok(Unit::Weekday(2)),
            "W3" => Ok(Unit::Weekday(3)),
            "W4" => Ok(Unit::Weekday(4)),
            "W5" => Ok(Unit::Weekday(5)),
            "W6" => Ok(Unit::Weekday(6)),
            _ => Err(format!(
                "{text:?} is not a time of rotation; expected S, M, H, D, midnight or W0 to W6"
            )),
        }
    }
}

impl EventLogConfig {
    /// The log of a server for which none is configured: standard error, from INFO up.
    ///
    /// # Errors
    /// None; the default format is a good one.
    pub fn standard() -> Result<EventLogConfig, String> {
        Ok(EventLogConfig {
            level: INFO,
            handlers: vec![HandlerConfig {
                target: LogTarget::Stderr,
                level: 0,
                template: Template::parse(Style::Classic, DEFAULT_FORMAT, false)?,
                dates: DateFormat::default(),
            }],
        })
    }

    /// Has log files and standard streams written in `format`. JSON takes the place of their
    /// format, and is always UTF-8.
    pub fn set_format(&mut self, format: LogFormat) {
        if format == LogFormat::Text {
            return;
        }
        for handler in &mut self.handlers {
            match &mut handler.target {
                LogTarget::Stdout | LogTarget::Stderr => {}
                LogTarget::File { encoding, .. } => *encoding = LogEncoding::Utf8,
                _ => continue,
            }
            handler.template = Template::json();
        }
    }
}
