//! The fields that a record has: those of Python's `logging.LogRecord`.

use jiff::Timestamp;

use crate::eventlog::dates::DateFormat;
use crate::eventlog::record::{LogRecord, level_number};

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Name,
    LevelNumber,
    LevelName,
    PathName,
    FileName,
    Module,
    LineNumber,
    Function,
    Created,
    Time,
    Milliseconds,
    RelativeCreated,
    Thread,
    ThreadName,
    Process,
    ProcessName,
    Message,
    /// What was put into the message; here it comes with all in place.
    Arguments,
    /// A traceback, a stack or a task of asyncio, which there are none of here.
    Nothing,
}

/// What a field holds, in Python's types.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    /// An object of Python that has no quotes around it.
    Object(&'static str),
}

impl Field {
    /// The field that Python calls `name`.
    pub fn named(name: &str) -> Option<Field> {
        Some(match name {
            "name" => Field::Name,
            "levelno" => Field::LevelNumber,
            "levelname" => Field::LevelName,
            "pathname" => Field::PathName,
            "filename" => Field::FileName,
            "module" => Field::Module,
            "lineno" => Field::LineNumber,
            "funcName" => Field::Function,
            "created" => Field::Created,
            "asctime" => Field::Time,
            "msecs" => Field::Milliseconds,
            "relativeCreated" => Field::RelativeCreated,
            "thread" => Field::Thread,
            "threadName" => Field::ThreadName,
            "process" => Field::Process,
            "processName" => Field::ProcessName,
            "message" | "msg" => Field::Message,
            "args" => Field::Arguments,
            "exc_info" | "exc_text" | "stack_info" | "taskName" => Field::Nothing,
            _ => return None,
        })
    }

    /// Whether the field is text, which can't be formatted as a number.
    pub fn is_text(self) -> bool {
        !matches!(
            self,
            Field::LevelNumber
                | Field::LineNumber
                | Field::Created
                | Field::Milliseconds
                | Field::RelativeCreated
                | Field::Thread
                | Field::Process
        )
    }

    /// The field of `record`.
    pub fn value(self, record: &LogRecord, dates: &DateFormat, start: Timestamp) -> Value {
        match self {
            Field::Name => Value::Text(record.name.clone()),
            Field::LevelNumber => Value::Integer(level_number(record.level).into()),
            Field::LevelName => Value::Text(level_name(record).to_owned()),
            Field::PathName => Value::Text(record.path.to_owned()),
            Field::FileName => Value::Text(record.file_name().to_owned()),
            Field::Module => Value::Text(record.module.to_owned()),
            Field::LineNumber => Value::Integer(record.line.into()),
            Field::Function => Value::Text(record.function.to_owned()),
            Field::Created => Value::Float(record.time.as_microsecond() as f64 / 1e6),
            Field::Time => Value::Text(dates.format(record.time)),
            Field::Milliseconds => {
                Value::Float(f64::from(record.time.subsec_nanosecond() / 1_000_000))
            }
            Field::RelativeCreated => {
                let since = record.time.duration_since(start);
                Value::Float(since.as_secs_f64() * 1000.0)
            }
            Field::Thread => Value::Integer(record.thread),
            Field::ThreadName => Value::Text(record.thread_name.clone()),
            Field::Process => Value::Integer(record.process().into()),
            Field::ProcessName => Value::Text("MainProcess".to_owned()),
            Field::Message => Value::Text(record.message()),
            Field::Arguments => Value::Object("()"),
            Field::Nothing => Value::Object("None"),
        }
    }
}

/// The level as Python names it.
pub fn level_name(record: &LogRecord) -> &'static str {
    match record.level {
        slog::Level::Critical => "CRITICAL",
        slog::Level::Error => "ERROR",
        slog::Level::Warning => "WARNING",
        slog::Level::Info => "INFO",
        slog::Level::Debug => "DEBUG",
        slog::Level::Trace => "TRACE",
    }
}
