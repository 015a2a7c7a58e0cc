//! A record's fields as Python's `HTTPHandler` sends them.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::eventlog::dates::DateFormat;
use crate::eventlog::record::{Formatted, LogRecord};
use crate::eventlog::template::{Style, Template};

/// The fields of Python's record, in its order.
const FIELDS: [&str; 20] = [
    "name",
    "msg",
    "args",
    "levelname",
    "levelno",
    "pathname",
    "filename",
    "module",
    "exc_info",
    "exc_text",
    "stack_info",
    "lineno",
    "funcName",
    "created",
    "msecs",
    "relativeCreated",
    "thread",
    "threadName",
    "processName",
    "process",
];

/// What `urllib.parse.quote_plus` escapes; it writes `+` for a blank.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~')
    .remove(b' ');

/// The fields, ready to use.
pub struct Fields {
    named: Vec<(&'static str, Template)>,
}

impl Fields {
    /// All fields that a record has by itself.
    pub fn new() -> Fields {
        Fields {
            named: FIELDS
                .iter()
                .filter_map(|name| Some((*name, field(name)?)))
                .collect(),
        }
    }

    /// The fields as `name=value&...`. Behind them come `message` and `asctime`, if an earlier
    /// handler has made them.
    pub fn encoded(&self, record: &LogRecord, formatted: &Formatted, start: Timestamp) -> String {
        let none = DateFormat::default();
        let mut pairs: Vec<_> = self
            .named
            .iter()
            .map(|(name, template)| (*name, template.format(record, &none, start)))
            .collect();
        if formatted.message {
            pairs.push(("message", record.message()));
        }
        if let Some(dates) = &formatted.dates {
            pairs.push(("asctime", dates.format(record.time)));
        }
        let pairs: Vec<_> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={}", quoted(&value)))
            .collect();
        pairs.join("&")
    }
}

/// The template of one field.
fn field(name: &str) -> Option<Template> {
    Template::parse(Style::Classic, &format!("%({name})s"), false).ok()
}

fn quoted(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED)
        .to_string()
        .replace(' ', "+")
}
