//! A record as a JSON object.

use serde_json::Value;
use slog::Key;

use super::field::level_name;
use crate::eventlog::record::LogRecord;

/// The record as one line, without a newline at its end: `time` (RFC 3339, UTC, milliseconds),
/// `level` (Python's name), `logger`, `message`, `pid`, `client` if there is one, and the other
/// key-value pairs under their own names.
pub fn line(record: &LogRecord) -> String {
    let mut members: Vec<(Key, Value)> = vec![
        ("time", format!("{:.3}", record.time).into()),
        ("level", level_name(record).into()),
        ("logger", record.name.as_str().into()),
        ("message", record.text.as_str().into()),
        ("pid", record.process().into()),
    ];
    if let Some(client) = &record.client {
        members.push(("client", client.as_str().into()));
    }
    for (key, value) in &record.pairs {
        // Of pairs with the same key, the last one given comes first.
        if !members.iter().any(|(taken, _)| taken == key) {
            members.push((*key, value.clone()));
        }
    }
    let members: Vec<_> = members
        .into_iter()
        .map(|(key, value)| format!("{}:{value}", Value::from(key)))
        .collect();
    format!("{{{}}}", members.join(","))
}
