//! One check: the question, and what the answer means.

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value};
use zeo_client::{Address, ConnectionError, DialError, probe};
use zeo_proto::repr;
use zeo_server::tools::connect::environment;
use zeo_server::tools::output::on_one_line;

use crate::CommandLine;
use crate::metrics::{Metrics, count_metrics, rate_metrics};
use crate::samples;

/// What to print, and the exit code.
#[derive(Debug, PartialEq)]
pub struct Report {
    pub text: String,
    pub code: u8,
}

const WARNING: u8 = 1;
const CRITICAL: u8 = 2;

/// The last transaction of an empty storage.
const NO_TRANSACTION: &str = "0000000000000000";

/// The counters of all storages, by their names.
pub type Status = Map<String, Value>;

impl Report {
    /// What Python's script ends with a traceback for.
    pub fn unclear(text: impl Into<String>) -> Self {
        let (text, code) = (on_one_line(&text.into()), WARNING);
        Self { text, code }
    }

    fn critical(text: String) -> Self {
        let (text, code) = (on_one_line(&text), CRITICAL);
        Self { text, code }
    }
}

/// Asks the server.
pub fn check(line: &CommandLine) -> Report {
    let [address] = &line.addresses[..] else {
        let count = line.addresses.len();
        return Report::unclear(format!("expected one address, not {count}; see --help"));
    };
    match ask(address, line) {
        Ok(status) => judge(status, line).unwrap_or_else(|report| report),
        Err(report) => report,
    }
}

fn ask(address: &str, line: &CommandLine) -> Result<Status, Report> {
    let address = parsed(address).map_err(Report::unclear)?;
    let options = line
        .connect
        .options(line.timeout, &environment)
        .map_err(Report::critical)?;
    let answer = probe(&address, &options).map_err(|why| match why {
        ConnectionError::Dial { why, .. } => {
            Report::critical(format!("Can't connect {}", python_s(&why)))
        }
        ConnectionError::TimedOut { .. } | ConnectionError::Tls { .. } => {
            Report::critical(why.to_string())
        }
        other => Report::unclear(other.to_string()),
    })?;
    let status = serde_json::from_slice(&answer.status)
        .map_err(|why| Report::unclear(format!("{address}: its status is no JSON: {why}")))?;
    match status {
        Value::Object(status) => Ok(status),
        Value::Array(list) if list.is_empty() => Ok(Status::new()),
        other => {
            let found = other.to_string().chars().take(80).collect::<String>();
            let text = format!("{address}: its status is not one of storages but {found}");
            Err(Report::unclear(text))
        }
    }
}

/// As Python's script reads it: what is no host and port is the path of a socket, also without a
/// slash.
fn parsed(text: &str) -> Result<Address, String> {
    let (_, port) = text.rsplit_once(':').unwrap_or_default();
    if text.contains('/') || port.is_empty() || !port.bytes().all(|c| c.is_ascii_digit()) {
        return Ok(Address::Unix(PathBuf::from(text)));
    }
    text.parse()
}

/// The error as Python shows it.
fn python_s(why: &DialError) -> String {
    let numbered = |why: &io::Error| {
        let number = why.raw_os_error();
        number.map(|number| format!("[Errno {number}] {}", io_text(why)))
    };
    match why {
        DialError::Io(why) => numbered(why).unwrap_or_else(|| why.to_string()),
        other => {
            let text = other.to_string();
            let number = match text.as_str() {
                "No address associated with hostname" => -5,
                "Temporary failure in name resolution" => -3,
                "Name or service not known" => -2,
                _ => return text,
            };
            format!("[Errno {number}] {text}")
        }
    }
}

fn io_text(why: &io::Error) -> String {
    let text = why.to_string();
    let end = text.find(" (os error ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// What is printed: the first message and the first metric in one line, then the other messages,
/// then the other metrics.
fn judge(mut status: Status, line: &CommandLine) -> Result<Report, Report> {
    if status.is_empty() {
        return Err(Report::unclear("No storages"));
    }
    let mut metrics = Metrics::default();
    if line.output_metrics {
        count_metrics(&mut metrics, &status)?;
        if let Some(path) = &line.status_path {
            if let Some(before) = samples::read(path)? {
                let units = before.age / line.time_units.in_seconds();
                rate_metrics(&mut metrics, &mut status, &before, units)?;
            }
            samples::write(path, &status)?;
        }
    }
    let mut messages = Vec::new();
    for (storage, counters) in &status {
        if counters.get("last-transaction").and_then(Value::as_str) == Some(NO_TRANSACTION) {
            messages.push(format!("Empty storage {}", repr::text(storage)));
        }
    }
    let code = if messages.is_empty() { 0 } else { WARNING };
    if messages.is_empty() {
        messages.push("OK".to_owned());
    }
    let text = metrics.after(messages);
    Ok(Report { text, code })
}
