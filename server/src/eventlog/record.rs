//! One line of the log before it is formatted.

use std::path::Path;
use std::process;
use std::thread;

use jiff::Timestamp;
use slog::{KV, Key, Level, OwnedKVList, Record, Serializer};

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

/// Who said what, when and where: all that a format may ask for.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// The level.
    pub level: Level,
    /// The logger's name, such as `ZEO.StorageServer`.
    pub name: String,
    /// The message, with the key-value pairs behind it.
    pub message: String,
    /// When.
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
    /// name, the one whose key is `client` stands before the message as `(client) `, as in
    /// Python's server; of each the last one given wins. Other pairs follow as ` key=value`.
    pub fn new(record: &Record, values: &OwnedKVList) -> LogRecord {
        let mut pairs = Pairs {
            name: None,
            client: None,
            text: record.msg().to_string(),
        };
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
            message: match pairs.client {
                Some(client) => format!("({client}) {}", pairs.text),
                None => pairs.text,
            },
            time: Timestamp::now(),
            thread: rustix::thread::gettid().as_raw_nonzero().get().into(),
            thread_name,
            path: record.file(),
            line: record.line(),
            module: record.module(),
            function: record.function(),
        }
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

/// Collects key-value pairs. They come latest first, a record's own before its logger's.
struct Pairs {
    name: Option<String>,
    client: Option<String>,
    text: String,
}

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments) -> slog::Result {
        if key == "logger" {
            self.name.get_or_insert_with(|| value.to_string());
        } else if key == "client" {
            self.client.get_or_insert_with(|| value.to_string());
        } else {
            self.text.push_str(&format!(" {key}={value}"));
        }
        Ok(())
    }
}
