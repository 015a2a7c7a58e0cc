//! `<eventlog>`, ZConfig's logger component: a level, and handlers.

use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section, datatypes};

use crate::eventlog::{DateFormat, EventLogConfig, HandlerConfig, LogTarget, Style, Template};

/// The keys of a handler's section: its own, and then those that all handlers have.
macro_rules! handler_keys {
    ($($own:literal),*) => {
        &[
            $($own,)*
            "level", "dateformat", "style", "arbitrary-fields", "format", "formatter",
        ]
    };
}

mod logfile;
mod remote;

/// The handlers.
const HANDLERS: [&str; 5] = [
    "<logfile>",
    "<syslog>",
    "<http-logger>",
    "<email-notifier>",
    "<win32-eventlog>",
];

/// Formatters whose lines look like ours. The second one formats tracebacks differently, which this
/// server never logs.
pub(super) const FORMATTERS: [&str; 2] = ["logging.Formatter", "zope.exceptions.log.Formatter"];

/// Reads an eventlog section.
///
/// # Errors
/// The first thing that is wrong with the section.
pub fn from_section(section: &Section) -> Result<EventLogConfig, ConfigError> {
    let reader = Reader::new(section, &["level"])?;
    let level = reader.optional("level", datatypes::logging_level)?;
    Ok(EventLogConfig {
        level: level.unwrap_or(20),
        handlers: handlers(section, existing_dirpath)?,
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
    handlers(section, |_| Ok(())).map(drop)
}

/// A directory that is not there is a mistake in the configuration, and told as one.
fn existing_dirpath(path: &str) -> Result<(), String> {
    datatypes::existing_dirpath(path).map(drop)
}

/// Reads the handlers in `section`; `check` looks at paths of files that are opened at once.
fn handlers(
    section: &Section,
    check: fn(&str) -> Result<(), String>,
) -> Result<Vec<HandlerConfig>, ConfigError> {
    let read = |inner: &Section| match inner.kind.as_str() {
        // Here, ZConfig takes the name for the key.
        _ if inner.name.as_deref() == Some("level") => Err(reader::bad_name("level", inner)),
        "logfile" => logfile::from_section(inner, check),
        "syslog" => remote::syslog(inner),
        "http-logger" => remote::http_logger(inner),
        "email-notifier" => remote::email_notifier(inner),
        "win32-eventlog" => remote::win32_eventlog(inner),
        _ => {
            let parent = reader::described(section);
            Err(reader::unknown_section(inner, &parent, HANDLERS.to_vec()))
        }
    };
    section.sections.iter().map(read).collect()
}

/// Reads the keys that all handlers have; `format` is the default one.
fn handler(reader: &Reader, target: LogTarget, format: &str) -> Result<HandlerConfig, ConfigError> {
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
        None => Template::parse(style, format, any_field)
            .map_err(|problem| reader.conflict(&format!("{problem}; give a format")))?,
    };
    reader.optional("formatter", datatypes::dotted_name)?;
    reader.python_code("formatter", &FORMATTERS, "leave the key out")?;
    Ok(HandlerConfig {
        target,
        level: level.unwrap_or(0),
        template,
        dates: dates.unwrap_or_default(),
    })
}
