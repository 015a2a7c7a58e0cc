//! `<logfile>`: a file or a standard stream.

use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section, datatypes};

use super::handler;
use crate::eventlog::{
    DEFAULT_FORMAT, HandlerConfig, LogEncoding, LogTarget, Rotation, Unit, When,
};

/// The keys of the section.
const KEYS: &[&str] = handler_keys!(
    "path",
    "old-files",
    "max-size",
    "when",
    "interval",
    "encoding",
    "delay"
);

/// Reads the section; `check` looks at the path of a file that is opened at once.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn from_section(
    section: &Section,
    check: fn(&str) -> Result<(), String>,
) -> Result<HandlerConfig, ConfigError> {
    let reader = Reader::new(section, KEYS)?;
    let target = target(&reader)?;
    if let LogTarget::File { delay: false, .. } = target {
        reader.required("path", check)?;
    }
    reader::no_sections(section)?;
    handler(&reader, target, DEFAULT_FORMAT)
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
