//! How single values are written: ZConfig's stock datatypes, with Python's number syntax.
//!
//! Every function takes the value's text and gives the value or a sentence that names the text
//! and says what was expected.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::{is_space, trim};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// A host name or an IPv4 or IPv6 address, in lower case; all interfaces if `None`.
        host: Option<String>,
        /// A port; one of the system's choice if `None`.
        port: Option<u16>,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Tcp { host, port } => {
                let host = host.as_deref().unwrap_or("");
                let port = port.unwrap_or(0);
                if host.contains(':') {
                    write!(f, "[{host}]:{port}")
                } else {
                    write!(f, "{host}:{port}")
                }
            }
        }
    }
}

/// A boolean: `yes`, `true`, `on`, `no`, `false` or `off` in any case.
///
/// # Errors
/// Anything else.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" => Ok(true),
        "no" | "false" | "off" => Ok(false),
        _ => Err(format!(
            "{text:?} is not a boolean; expected yes, true, on, no, false or off"
        )),
    }
}

/// An integer of any length; one beyond 64 bits becomes the nearest that has them.
///
/// # Errors
/// Not a decimal integer, with an optional sign and single underscores between digits.
pub fn integer(text: &str) -> Result<i64, String> {
    let expected = || format!("{text:?} is not an integer");
    let number = trim(text);
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let digits = without_underscores(digits).ok_or_else(expected)?;
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(expected());
    }
    let limit = if negative { i64::MIN } else { i64::MAX };
    let sign = if negative { "-" } else { "" };
    Ok(format!("{sign}{digits}").parse().unwrap_or(limit))
}

/// A number with or without a fraction or an exponent; also `inf` and `nan`.
///
/// # Errors
/// Not such a number.
pub fn float(text: &str) -> Result<f64, String> {
    without_underscores(trim(text))
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("{text:?} is not a number"))
}

/// A number of bytes: an integer, with `kb`, `mb` or `gb` (of 1024) behind it or not.
///
/// # Errors
/// Not such a size.
pub fn byte_size(text: &str) -> Result<i64, String> {
    let units = [("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30)];
    with_unit(text, &units)
        .ok_or_else(|| format!("{text:?} is not a size; expected bytes, such as 512 or 10mb"))
}

/// A number of seconds: an integer, with `s`, `m`, `h` or `d` behind it or not.
///
/// # Errors
/// Not such an interval.
pub fn time_interval(text: &str) -> Result<i64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
    with_unit(text, &units).ok_or_else(|| {
        format!("{text:?} is not a time interval; expected seconds, such as 90 or 5m")
    })
}

/// An address to listen at: `port`, `host:port`, `:port`, `host`, `[ipv6]:port`, an IPv6 address
/// alone, or a path, which has a slash.
///
/// # Errors
/// A port that is none, or white space in a host name that stands alone.
pub fn socket_binding_address(text: &str) -> Result<Address, String> {
    if text.contains('/') {
        return Ok(Address::Unix(PathBuf::from(text)));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => host_and_port(text, host, port)?,
        None => match port_number(text) {
            Ok(port) => ("", Some(port)),
            Err(_) if text.split(is_space).filter(|w| !w.is_empty()).count() == 1 => (text, None),
            Err(_) => {
                return Err(format!(
                    "{text:?} is not an address; expected PORT, HOST:PORT or a path with a slash"
                ));
            }
        },
    };
    let host = Some(host.to_lowercase()).filter(|host| !host.is_empty());
    Ok(Address::Tcp { host, port })
}

/// A directory that exists.
///
/// # Errors
/// It does not.
pub fn existing_directory(text: &str) -> Result<PathBuf, String> {
    let path = expand_user(text);
    if path.is_dir() {
        return Ok(path);
    }
    Err(format!("{text:?} is not an existing directory"))
}

/// A path in a directory that exists.
///
/// # Errors
/// The directory does not.
pub fn existing_dirpath(text: &str) -> Result<PathBuf, String> {
    let path = expand_user(text);
    if directory_of(&path).is_none_or(|directory| directory.is_dir()) {
        return Ok(path);
    }
    Err(format!("the directory in the path {text:?} does not exist"))
}

/// A file, in a directory that exists.
///
/// # Errors
/// There is no name, or the directory does not exist.
pub fn file_path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the name of a file is missing".to_owned()),
        text => existing_dirpath(text),
    }
}

/// A path at which something exists.
///
/// # Errors
/// Nothing does.
pub fn existing_path(text: &str) -> Result<PathBuf, String> {
    let path = expand_user(text);
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{text:?} is not an existing path"))
}

/// A key: a letter of ASCII, then letters, digits, `-`, `.` and `_`. Given in lower case.
///
/// # Errors
/// Not such a key.
pub fn basic_key(text: &str) -> Result<String, String> {
    let rest = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(rest) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!(
        "{text:?} is not a key; expected letters, digits, '-', '.' and '_'"
    ))
}

/// An identifier: a letter of ASCII or `_`, then letters, digits and `_`.
///
/// # Errors
/// Not such an identifier.
pub fn identifier(text: &str) -> Result<String, String> {
    if super::substitution::is_name(text) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not an identifier"))
}

/// Identifiers with dots between.
///
/// # Errors
/// Not such a name.
pub fn dotted_name(text: &str) -> Result<String, String> {
    if text.split('.').all(super::substitution::is_name) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a dotted name"))
}

/// A level of Python's logging, 0 to 50: a name of `ZConfig.components.logger`, or a number.
///
/// # Errors
/// Another name, or a number beyond the range.
pub fn logging_level(text: &str) -> Result<u8, String> {
    let lower = text.to_lowercase();
    let level = match lower.as_str() {
        "critical" | "fatal" => 50,
        "error" => 40,
        "warn" | "warning" => 30,
        "info" => 20,
        "blather" => 15,
        "debug" => 10,
        "trace" => 5,
        "all" => 1,
        "notset" => 0,
        number => integer(number).unwrap_or(-1),
    };
    let level = u8::try_from(level).ok().filter(|level| *level <= 50);
    level.ok_or_else(|| {
        format!(
            "{text:?} is not a log level; expected critical, fatal, error, warn, warning, info, \
             blather, debug, trace, all, notset or a number from 0 to 50"
        )
    })
}

fn host_and_port<'a>(
    text: &'a str,
    host: &'a str,
    port: &str,
) -> Result<(&'a str, Option<u16>), String> {
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return Ok((text, None));
    }
    let host = bracketed.unwrap_or(host);
    if port.is_empty() {
        return Ok((host, None));
    }
    Ok((host, Some(port_number(port)?)))
}

fn port_number(text: &str) -> Result<u16, String> {
    let number = integer(text).ok().and_then(|n| u16::try_from(n).ok());
    number.ok_or_else(|| format!("{text:?} is not a port; expected a number from 0 to 65535"))
}

/// An integer times the unit behind it, saturating.
fn with_unit(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    let lower = text.to_lowercase();
    let unit = units
        .iter()
        .find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((&lower, 1));
    Some(integer(number).ok()?.saturating_mul(factor))
}

/// `text` without its underscores, if each stands between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('_').collect();
    let good = parts.windows(2).all(|pair| {
        matches!(pair, [before, after]
            if before.ends_with(|c: char| c.is_ascii_digit())
                && after.starts_with(|c: char| c.is_ascii_digit()))
    });
    good.then(|| text.replace('_', ""))
}

/// The part of `path` before its last slash; `None` if it has none.
fn directory_of(path: &Path) -> Option<PathBuf> {
    let text = path.to_str()?;
    let directory = text.rsplit_once('/')?.0;
    Some(PathBuf::from(if directory.is_empty() {
        "/"
    } else {
        directory
    }))
}

/// `text` as a path, with a leading `~` or `~user` replaced by that user's home directory.
fn expand_user(text: &str) -> PathBuf {
    let Some(rest) = text.strip_prefix('~') else {
        return PathBuf::from(text);
    };
    let (user, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let home = match user {
        "" => env::home_dir(),
        user => home_of(user, &fs::read_to_string("/etc/passwd").unwrap_or_default()),
    };
    match home {
        Some(home) => home.join(rest.trim_start_matches('/')),
        None => PathBuf::from(text),
    }
}

fn home_of(user: &str, passwd: &str) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then(|| fields.nth(4).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests;
