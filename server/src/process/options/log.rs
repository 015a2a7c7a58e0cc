//! Options of the log.

use crate::eventlog::LogFormat;

/// How to log.
#[derive(Debug, clap::Args)]
pub struct LogOptions {
    /// How log files are written: text, as configured, or json, an object in each line
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl LogOptions {
    /// The format of log files.
    pub fn format(&self) -> LogFormat {
        self.log_format.unwrap_or_default()
    }
}
