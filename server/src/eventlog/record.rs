//! One line of the log before it is formatted.

use std::path::Path;
use std::process;
use std::thread;

use jiff::Timestamp;
use serde_json::Value;
use slog::{KV, Key, Level, OwnedKVList, Record, Serializer};

use super::dates::DateFormat;
use crate::tools::output::on_one_line;

/// The level of Python's logging that stands for a slog level.
///
/// `ZODB.loglevels` gives 5 the name TRACE; the other numbers are those of `logging` itself.
pub fn level_number(level: Level) -> u8 {
    match level {
        Level::Critical => 50,
        Level::Error => 40,
        Level::Warning => 30,
        Level::Info => 20,
        Level::Debug => 10,
        Level::Trace => 5,
    }
}

/// A log record: all that a format may ask for.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// The level.
    pub level: Level,
    /// The logger's name, such as `ZEO.StorageServer`.
    pub name: String,
    /// The message without what its logger knows.
    pub text: String,
    /// The client that it is about.
    pub client: Option<String>,
    /// The other key-value pairs, the last one given first.
    pub pairs: Vec<(Key, Value)>,
    /// When it was logged.
    pub time: Timestamp,
    /// The system's id of the thread.
    pub thread: i64,
    /// The thread's name; the first thread is `MainThread`, as in Python.
    pub thread_name: String,
    /// The source file.
    pub path: &'static str,
    /// The line in it.
    pub line: u32,
    /// The module.
    pub module: &'static str,
    /// The function, if the record has it.
    pub function: &'static str,
}

impl LogRecord {
    /// Takes down `record`, on the thread that logs it. The pair whose key is `logger` is the
    /// name, the one whose key is `client` the client; of each the last one given wins.
    pub fn new(record: &Record, values: &OwnedKVList) -> LogRecord {
        let mut pairs = Pairs::default();
        // A value that fails to show itself is left out; the message counts.
        let _ = record.kv().serialize(record, &mut pairs);
        let _ = values.serialize(record, &mut pairs);
        let thread_name = match thread::current().name() {
            Some("main") | None => "MainThread".to_owned(),
            Some(name) => name.to_owned(),
        };
        LogRecord {
            level: record.level(),
            name: pairs.name.unwrap_or_else(|| "root".to_owned()),
            text: on_one_line(&record.msg().to_string()),
            client: pairs.client,
            pairs: pairs.others,
            time: Timestamp::now(),
            thread: rustix::thread::gettid().as_raw_nonzero().get().into(),
            thread_name,
            path: record.file(),
            line: record.line(),
            module: record.module(),
            function: record.function(),
        }
    }

    /// A warning of the log itself.
    pub fn warning(text: &str) -> LogRecord {
        let values = slog::o!("logger" => "ZEO.runzeo").into();
        let arguments = format_args!("{text}");
        LogRecord::new(
            &slog::record!(Level::Warning, "", &arguments, slog::b!()),
            &values,
        )
    }

    /// The message as log lines have it: `(client) ` before it, as in Python's server, and the
    /// other pairs behind it as ` key=value`.
    pub fn message(&self) -> String {
        let mut message = match &self.client {
            Some(client) => format!("({client}) {}", self.text),
            None => self.text.clone(),
        };
        for (key, value) in &self.pairs {
            match value {
                Value::String(text) => message.push_str(&format!(" {key}={text}")),
                value => message.push_str(&format!(" {key}={value}")),
            }
        }
        message
    }

    /// The process that logs, which is this one.
    pub fn process(&self) -> u32 {
        process::id()
    }

    /// The source file without its directory.
    pub fn file_name(&self) -> &'static str {
        let name = Path::new(self.path).file_name();
        name.and_then(|name| name.to_str()).unwrap_or(self.path)
    }
}

/// What earlier handlers have added to a record: Python's formatters keep in it what they make, and
/// that is what `<http-logger>` sends.
#[derive(Default)]
pub struct Formatted {
    /// Whether there was any.
    pub message: bool,
    /// How the last one with a date formats it.
    pub dates: Option<DateFormat>,
}

/// Collects key-value pairs. They come latest first, a record's own before its logger's.
#[derive(Default)]
struct Pairs {
    name: Option<String>,
    client: Option<String>,
    others: Vec<(Key, Value)>,
}

impl Pairs {
    fn put(&mut self, key: Key, value: Value) {
        let value = match value {
            Value::String(text) => Value::String(on_one_line(&text)),
            value => value,
        };
        let text = match &value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        match key {
            "logger" => drop(self.name.get_or_insert(text)),
            "client" => drop(self.client.get_or_insert(text)),
            key => self.others.push((key, value)),
        }
    }
}

/// Keeps numbers what they are.
macro_rules! emit_numbers {
    ($($name:ident $type:ty),*) => {
        $(fn $name(&mut self, key: Key, value: $type) -> slog::Result {
            self.put(key, value.into());
            Ok(())
        })*
    };
}

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments) -> slog::Result {
        self.put(key, value.to_string().into());
        Ok(())
    }

    emit_numbers!(
        emit_u32 u32, emit_u64 u64, emit_usize usize, emit_i64 i64, emit_f64 f64, emit_bool bool
    );
}
