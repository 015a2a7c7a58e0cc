//! `<eventlog>` with its `<logfile>` sections.

use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section, datatypes};

use crate::eventlog::{
    DEFAULT_FORMAT, DateFormat, EventLogConfig, LogEncoding, LogFileConfig, LogTarget, Rotation,
    Style, Template, Unit, When,
};

/// Destinations of Python's logging that are not supported.
const NOT_SUPPORTED: [&str; 4] = ["email-notifier", "http-logger", "syslog", "win32-eventlog"];

/// Formatters whose lines look like ours. The second one formats tracebacks differently, which this
/// server never logs.
pub(super) const FORMATTERS: [&str; 2] = ["logging.Formatter", "zope.exceptions.log.Formatter"];

/// The keys of a log file.
const LOGFILE_KEYS: [&str; 13] = [
    "path",
    "old-files",
    "max-size",
    "when",
    "interval",
    "encoding",
    "delay",
    "level",
    "dateformat",
    "style",
    "arbitrary-fields",
    "format",
    "formatter",
];

/// Reads an eventlog section.
///
/// # Errors
/// The first thing that is wrong with the section.
pub fn from_section(section: &Section) -> Result<EventLogConfig, ConfigError> {
    let reader = Reader::new(section, &["level"])?;
    let level = reader.optional("level", datatypes::logging_level)?;
    Ok(EventLogConfig {
        level: level.unwrap_or(20),
        logfiles: logfiles(section, existing_dirpath)?,
    })
}

/// Checks a log section that the server does not use: an eventlog, or a logger with a name.
///
/// # Errors
/// The first thing that is wrong with the section.
pub fn check(section: &Section) -> Result<(), ConfigError> {
    let keys: &[&str] = match section.kind.as_str() {
        "logger" => &["level", "propagate", "name"],
        _ => &["level"],
    };
    let reader = Reader::new(section, keys)?;
    reader.optional("level", datatypes::logging_level)?;
    if section.kind == "logger" {
        reader.optional("propagate", datatypes::boolean)?;
        reader.optional("name", datatypes::dotted_name)?;
    }
    logfiles(section, |_| Ok(())).map(drop)
}

/// A directory that is not there is a mistake in the configuration, and told as one.
fn existing_dirpath(path: &str) -> Result<(), String> {
    datatypes::existing_dirpath(path).map(drop)
}

/// Reads the log files in `section`; `check` looks at paths of files that are opened at once.
fn logfiles(
    section: &Section,
    check: fn(&str) -> Result<(), String>,
) -> Result<Vec<LogFileConfig>, ConfigError> {
    let read = |inner: &Section| match inner.kind.as_str() {
        // Here, ZConfig takes the name for the key.
        _ if inner.name.as_deref() == Some("level") => Err(reader::bad_name("level", inner)),
        "logfile" => logfile(inner, check),
        kind if NOT_SUPPORTED.contains(&kind) => Err(reader::section_not_supported(inner)),
        _ => {
            let parent = reader::described(section);
            Err(reader::unknown_section(inner, &parent, vec!["<logfile>"]))
        }
    };
    section.sections.iter().map(read).collect()
}

fn logfile(
    section: &Section,
    check: fn(&str) -> Result<(), String>,
) -> Result<LogFileConfig, ConfigError> {
    let reader = Reader::new(section, &LOGFILE_KEYS)?;
    let target = target(&reader)?;
    if let LogTarget::File { delay: false, .. } = target {
        reader.required("path", check)?;
    }
    let level = reader.optional("level", datatypes::logging_level)?;
    let dates = reader.optional("dateformat", |text| Ok(DateFormat::new(text)))?;
    let style = reader.optional("style", Style::named)?;
    let style = style.unwrap_or(Style::Classic);
    let any_field = reader.optional("arbitrary-fields", datatypes::boolean)?;
    let any_field = any_field.unwrap_or(false);
    let template = reader.optional("format", |text| Template::parse(style, text, any_field))?;
    let template = match template {
        Some(template) => template,
        // Python, too, refuses the default format in the other styles.
        None => Template::parse(style, DEFAULT_FORMAT, any_field)
            .map_err(|problem| reader.conflict(&format!("{problem}; give a format")))?,
    };
    reader.optional("formatter", datatypes::dotted_name)?;
    reader.python_code("formatter", &FORMATTERS, "leave the key out")?;
    reader::no_sections(section)?;
    Ok(LogFileConfig {
        target,
        level: level.unwrap_or(0),
        template,
        dates: dates.unwrap_or_default(),
    })
}

/// Reads all keys that say where lines go.
fn target(reader: &Reader) -> Result<LogTarget, ConfigError> {
    let path = reader.required("path", |text| Ok(text.to_owned()))?;
    let old_files = reader.optional("old-files", datatypes::integer)?;
    let old_files = old_files.unwrap_or(0);
    let max_size = reader.optional("max-size", datatypes::byte_size)?;
    let max_size = max_size.unwrap_or(0);
    let when = reader.optional("when", |text| match text {
        "" => Ok(None),
        text => Unit::named(text).map(Some),
    })?;
    let when = when.flatten();
    let interval = reader.optional("interval", datatypes::integer)?;
    let interval = interval.unwrap_or(0);
    let encoding = reader.optional("encoding", |text| match text {
        "" => Ok(None),
        text => LogEncoding::named(text).map(Some),
    })?;
    let encoding = encoding.flatten();
    let delay = reader
        .optional("delay", datatypes::boolean)?
        .unwrap_or(false);
    if path == "STDOUT" || path == "STDERR" {
        if old_files != 0 || max_size != 0 || when.is_some() {
            return Err(reader.conflict(&format!("cannot rotate {path}")));
        }
        if delay {
            return Err(reader.conflict(&format!("cannot delay opening {path}")));
        }
        if encoding.is_some() {
            return Err(reader.conflict(&format!("cannot specify encoding for {path}")));
        }
        return Ok(match path.as_str() {
            "STDOUT" => LogTarget::Stdout,
            _ => LogTarget::Stderr,
        });
    }
    Ok(LogTarget::File {
        path: path.into(),
        delay,
        encoding: encoding.unwrap_or_default(),
        rotation: rotation(reader, when, interval, max_size, old_files)?,
    })
}

/// When a log file is replaced. Negative numbers mean what they do in Python.
fn rotation(
    reader: &Reader,
    unit: Option<Unit>,
    interval: i64,
    max_size: i64,
    old_files: i64,
) -> Result<Option<Rotation>, ConfigError> {
    let when = match (unit, max_size) {
        (None, 0) if old_files == 0 && interval == 0 => return Ok(None),
        _ if old_files == 0 => {
            return Err(reader.conflict("old-files must be set for log rotation"));
        }
        (Some(_), 1.. | ..0) => return Err(reader.conflict("give max-size or when, not both")),
        (None, 0) => return Err(reader.conflict("max-size or when must be set for log rotation")),
        // Python's server hangs at its first line then.
        (Some(_), 0) if interval < 0 => {
            return Err(reader.conflict("a negative interval is never over"));
        }
        (Some(unit), 0) => When::Every(unit, interval.max(1).try_into().unwrap_or(u32::MAX)),
        // No old file is kept, so the one that there is goes on.
        (None, _) if old_files < 0 => return Ok(None),
        // Only when it is asked for, by a signal.
        (None, ..0) => When::Size(u64::MAX),
        (None, size) => When::Size(size.unsigned_abs()),
    };
    Ok(Some(Rotation {
        when,
        old_files: old_files.try_into().ok(),
    }))
}
