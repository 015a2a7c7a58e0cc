//! `<eventlog>` with its `<logfile>` sections.

use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section, datatypes};

use crate::eventlog::{
    DEFAULT_FORMAT, DateFormat, EventLogConfig, LogFileConfig, LogTarget, Rotation, Style,
    Template, Unit, When,
};

/// Other destinations that Python's logging has.
const NOT_SUPPORTED: [&str; 4] = ["email-notifier", "http-logger", "syslog", "win32-eventlog"];

/// Formatters whose lines look like ours. The second differs in tracebacks, which there are none
/// of here.
const FORMATTERS: [&str; 2] = ["logging.Formatter", "zope.exceptions.log.Formatter"];

/// Reads an eventlog section.
pub fn from_section(section: &Section) -> Result<EventLogConfig, ConfigError> {
    let mut reader = Reader::new(section)?;
    let level = reader.optional("level", datatypes::logging_level)?;
    reader.finish()?;
    Ok(EventLogConfig {
        level: level.unwrap_or(20),
        logfiles: logfiles(section)?,
    })
}

/// Checks a log section that is of no use: an eventlog, or a logger with a name.
pub fn check(section: &Section) -> Result<(), ConfigError> {
    let mut reader = Reader::new(section)?;
    reader.optional("level", datatypes::logging_level)?;
    if section.kind == "logger" {
        reader.optional("propagate", datatypes::boolean)?;
        reader.optional("name", datatypes::dotted_name)?;
    }
    reader.finish()?;
    logfiles(section).map(drop)
}

fn logfiles(section: &Section) -> Result<Vec<LogFileConfig>, ConfigError> {
    let read = |inner: &Section| match inner.kind.as_str() {
        // Here, ZConfig takes the name for the key.
        _ if inner.name.as_deref() == Some("level") => Err(reader::bad_name("level", inner)),
        "logfile" => logfile(inner),
        kind if NOT_SUPPORTED.contains(&kind) => Err(reader::section_not_supported(inner)),
        _ => {
            let parent = reader::described(section);
            Err(reader::unknown_section(inner, &parent, vec!["<logfile>"]))
        }
    };
    section.sections.iter().map(read).collect()
}

fn logfile(section: &Section) -> Result<LogFileConfig, ConfigError> {
    let mut reader = Reader::new(section)?;
    let target = target(&mut reader)?;
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
    let formatter = reader.optional("formatter", datatypes::dotted_name)?;
    if formatter.is_some_and(|name| !FORMATTERS.contains(&name.as_str())) {
        return Err(reader.not_supported("formatter"));
    }
    reader.finish()?;
    reader::no_sections(section)?;
    Ok(LogFileConfig {
        target,
        level: level.unwrap_or(0),
        template,
        dates: dates.unwrap_or_default(),
    })
}

/// Reads all keys that say where lines go.
fn target(reader: &mut Reader) -> Result<LogTarget, ConfigError> {
    let path = reader.required("path", |text| Ok(text.to_owned()))?;
    let old_files = reader.optional("old-files", count)?.unwrap_or(0);
    let max_size = reader.optional("max-size", datatypes::byte_size)?;
    let max_size = max_size.unwrap_or(0);
    let when = reader.optional("when", |text| match text {
        "" => Ok(None),
        text => Unit::named(text).map(Some),
    })?;
    let when = when.flatten();
    let interval = reader.optional("interval", count)?.unwrap_or(0);
    let encoding = reader.optional("encoding", encoding)?;
    let delay = reader
        .optional("delay", datatypes::boolean)?
        .unwrap_or(false);
    if path == "STDOUT" || path == "STDERR" {
        if old_files > 0 || max_size != 0 || when.is_some() {
            return Err(reader.conflict(&format!("cannot rotate {path}")));
        }
        if delay {
            return Err(reader.conflict(&format!("cannot delay opening {path}")));
        }
        if encoding == Some(true) {
            return Err(reader.conflict(&format!("cannot specify encoding for {path}")));
        }
        return Ok(match path.as_str() {
            "STDOUT" => LogTarget::Stdout,
            _ => LogTarget::Stderr,
        });
    }
    let when = match (when, u64::try_from(max_size)) {
        (None, Ok(0)) if old_files == 0 && interval == 0 => None,
        _ if old_files == 0 => {
            return Err(reader.conflict("old-files must be set for log rotation"));
        }
        (Some(unit), Ok(0)) => Some(When::Every(unit, interval.max(1))),
        (Some(_), _) => return Err(reader.conflict("give max-size or when, not both")),
        (None, Ok(size)) if size > 0 => Some(When::Size(size)),
        (None, _) => {
            return Err(reader.conflict("max-size or when must be set for log rotation"));
        }
    };
    Ok(LogTarget::File {
        path: path.into(),
        delay,
        rotation: when.map(|when| Rotation {
            when,
            old_files: old_files as usize,
        }),
    })
}

fn count(text: &str) -> Result<u32, String> {
    let number = datatypes::integer(text)?;
    u32::try_from(number).map_err(|_| format!("{text:?} is not a number that can be counted to"))
}

/// Whether an encoding is named. Lines are always written in UTF-8, of which ASCII is a part.
fn encoding(text: &str) -> Result<bool, String> {
    match text.to_lowercase().replace('_', "-").as_str() {
        "" => Ok(false),
        "utf-8" | "utf8" | "ascii" | "us-ascii" => Ok(true),
        _ => Err(format!(
            "{text:?} is not supported; log files are written in utf-8"
        )),
    }
}
