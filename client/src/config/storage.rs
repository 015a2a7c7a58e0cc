//! `<zeoclient>` and `<clientstorage>`: the settings of one storage.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use zeo_storage::zconfig::datatypes::{boolean, byte_size, integer};
use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section};

use super::ssl;
use crate::address::Address;
use crate::client_storage::Settings;

/// The keys of `<zeoclient>` (ZODB).
static ZEOCLIENT: LazyLock<Vec<&str>> = LazyLock::new(|| {
    with_common(&[
        "client",
        "var",
        "wait",
        "min-disconnect-poll",
        "max-disconnect-poll",
        "username",
        "password",
        "realm",
        "drop-cache-rather-verify",
    ])
});

/// The keys of `<clientstorage>` (ZEO).
static CLIENTSTORAGE: LazyLock<Vec<&str>> =
    LazyLock::new(|| with_common(&["cache-path", "server-sync", "wait-timeout"]));

fn with_common(others: &[&'static str]) -> Vec<&'static str> {
    let common = [
        "server",
        "storage",
        "name",
        "cache-size",
        "blob-dir",
        "shared-blob-dir",
        "blob-cache-size",
        "blob-cache-size-check",
        "read-only",
        "read-only-fallback",
        "client-label",
    ];
    [&common, others].concat()
}

/// The types of sections that are read here.
pub(super) const TYPES: [&str; 2] = ["zeoclient", "clientstorage"];

/// Reads a `<zeoclient>` or `<clientstorage>`. `password` is for the key of the client's
/// certificate, if that is encrypted.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong with it, files of `<ssl>` included.
pub fn from_section(section: &Section, password: Option<&[u8]>) -> Result<Settings, ConfigError> {
    match section.kind.as_str() {
        "zeoclient" => zeoclient(section),
        "clientstorage" => clientstorage(section, password),
        _ => Err(ConfigError::Conflict {
            problem: format!(
                "{} is no client of a ZEO server; expected <zeoclient> or <clientstorage>",
                reader::described(section)
            ),
            place: section.place.clone(),
        }),
    }
}

fn zeoclient(section: &Section) -> Result<Settings, ConfigError> {
    let reader = Reader::with_repeated(section, &ZEOCLIENT, &["server"])?;
    if let Some(inner) = section.sections.iter().find(|inner| inner.kind == "ssl") {
        return Err(ConfigError::Conflict {
            problem: "<ssl> can't stand in a <zeoclient>; a <clientstorage> may have one, with \
                      %import ZEO before it"
                .to_owned(),
            place: inner.place.clone(),
        });
    }
    reader::no_sections(section)?;
    let mut settings = common(&reader)?;
    let client = reader.optional("client", text)?;
    let var = reader.optional("var", text)?.map(PathBuf::from);
    settings.cache = cache_file(client, var.as_deref(), &settings.storage);
    settings.wait = reader.optional("wait", boolean)?.unwrap_or(true);
    let shortest = reader.optional("min-disconnect-poll", seconds)?;
    let longest = reader.optional("max-disconnect-poll", seconds)?;
    set_pauses(&mut settings, shortest, longest);
    // Python's client takes these, too, and does nothing with them.
    for key in ["username", "password", "realm"] {
        reader.optional(key, text)?;
    }
    reader.optional("drop-cache-rather-verify", boolean)?;
    Ok(settings)
}

fn clientstorage(section: &Section, password: Option<&[u8]>) -> Result<Settings, ConfigError> {
    let reader = Reader::with_repeated(section, &CLIENTSTORAGE, &["server"])?;
    let mut settings = common(&reader)?;
    settings.cache = reader
        .optional("cache-path", text)?
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    settings.server_sync = reader.optional("server-sync", boolean)?.unwrap_or(false);
    if let Some(limit) = reader.optional("wait-timeout", seconds)? {
        settings.wait_timeout = wait_timeout(limit);
    }
    let mut found = None;
    for inner in &section.sections {
        match inner.kind.as_str() {
            "ssl" => reader::only("ssl", &mut found, inner)?,
            _ => {
                let parent = reader::described(section);
                return Err(reader::unknown_section(inner, &parent, vec!["ssl"]));
            }
        }
    }
    settings.tls = found
        .map(|section| ssl::from_section(section, password))
        .transpose()?;
    Ok(settings)
}

/// The keys that both have.
fn common(reader: &Reader) -> Result<Settings, ConfigError> {
    reader.required("server", |_| Ok(()))?;
    let mut settings = Settings::new(reader.all("server", address)?);
    if let Some(name) = reader.optional("storage", text)? {
        settings.storage = name;
    }
    reader.optional("name", text)?;
    if let Some(bytes) = reader.optional("cache-size", size)? {
        settings.cache_size = bytes;
    }
    settings.blob_dir = reader
        .optional("blob-dir", text)?
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let shared = reader.optional("shared-blob-dir", boolean)?;
    settings.shared_blob_dir = shared.unwrap_or(false);
    settings.blob_cache_size = reader.optional("blob-cache-size", size)?;
    if let Some(percent) = reader.optional("blob-cache-size-check", percent)? {
        settings.blob_cache_size_check = percent;
    }
    check_percent(&settings).map_err(|problem| reader.conflict(&problem))?;
    let read_only = reader.optional("read-only", boolean)?;
    settings.read_only = read_only.unwrap_or(false);
    let fallback = reader.optional("read-only-fallback", boolean)?;
    settings.read_only_fallback = fallback.unwrap_or(false);
    settings.client_label = reader.optional("client-label", text)?;
    Ok(settings)
}

/// The file of a cache that is kept, as Python names it; none without a `client`.
pub(super) fn cache_file(
    client: Option<String>,
    var: Option<&Path>,
    storage: &str,
) -> Option<PathBuf> {
    let client = client.filter(|client| !client.is_empty())?;
    let file = format!("{client}-{storage}.zec");
    Some(var.unwrap_or(Path::new("")).join(file))
}

/// Pauses between attempts to connect, where they are given: Python's defaults of 5 and 300
/// seconds are not what its client does.
pub(super) fn set_pauses(
    settings: &mut Settings,
    shortest: Option<Duration>,
    longest: Option<Duration>,
) {
    if let Some(pause) = shortest {
        settings.disconnect_poll = pause;
    }
    if let Some(pause) = longest {
        settings.max_disconnect_poll = pause;
    }
    settings.max_disconnect_poll = settings.max_disconnect_poll.max(settings.disconnect_poll);
}

/// 0 stands for the default, as in Python.
pub(super) fn wait_timeout(limit: Duration) -> Duration {
    if limit.is_zero() {
        Settings::new(Vec::new()).wait_timeout
    } else {
        limit
    }
}

pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// A number of bytes, which is not negative.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bytes = byte_size(text)?;
    bytes
        .try_into()
        .map_err(|_| format!("{text:?} is negative"))
}

/// A number of seconds, which is not negative.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = integer(text)?;
    let seconds = seconds.try_into().map(Duration::from_secs);
    seconds.map_err(|_| format!("{text:?} is negative"))
}

pub(super) fn percent(text: &str) -> Result<u32, String> {
    let percent = integer(text)?.try_into();
    percent.map_err(|_| format!("{text:?} is not a percentage"))
}

/// Where there is a size to check, the percentage matters.
pub(super) fn check_percent(settings: &Settings) -> Result<(), String> {
    let percent = settings.blob_cache_size_check;
    if settings.blob_cache_size.is_some() && percent >= 100 {
        return Err(format!(
            "blob-cache-size-check is {percent}; expected less than 100"
        ));
    }
    Ok(())
}

/// One address: several stand in several lines.
fn address(text: &str) -> Result<Address, String> {
    if !text.contains('/') && text.contains(char::is_whitespace) {
        return Err(format!(
            "{text:?} has a space in it; give each address a line"
        ));
    }
    text.parse()
}
