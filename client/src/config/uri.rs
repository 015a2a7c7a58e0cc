//! URIs, as zodburi has them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use zeo_storage::zconfig::datatypes::integer;
use zeo_storage::zconfig::{ConfigError, Place};

use super::database::DatabaseConfig;
use super::storage::{
    cache_file, check_percent, percent, seconds, set_pauses, size, text, wait_timeout,
};
use crate::address::Address;
use crate::client_storage::Settings;

/// The port of a URI that has none.
const PORT: u16 = 9991;
/// How many objects a connection keeps if a URI does not say it.
const CACHE_SIZE: u64 = 10_000;
/// The name of a database if a URI does not say it.
const NAME: &str = "unnamed";

/// What a URI means.
pub(super) enum Meant {
    Server(Box<DatabaseConfig>),
    /// The configuration in a file.
    File {
        path: PathBuf,
        database: Option<String>,
    },
}

/// Reads a URI.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong with it. It names the URI without its keys:
/// they may hold a password.
pub(super) fn parse(uri: &str) -> Result<Meant, ConfigError> {
    let (uri, fragment) = uri.split_once('#').unwrap_or((uri, ""));
    let (front, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut query = Query::new(front, query);
    if let Some(rest) = front.strip_prefix("zconfig://") {
        let database = Some(fragment.to_owned()).filter(|name| !name.is_empty());
        let path = PathBuf::from(rest);
        return Ok(Meant::File { path, database });
    }
    let Some(rest) = front.strip_prefix("zeo://") else {
        let problem = "expected zeo://HOST:PORT, zeo:///PATH or zconfig:///PATH".to_owned();
        return Err(query.refused("URI", problem));
    };
    let address = address(rest).map_err(|problem| query.refused("URI", problem))?;
    let mut config = DatabaseConfig::new(settings(&mut query, address)?);
    config.cache_size = CACHE_SIZE;
    config.name = NAME.to_owned();
    database(&mut query, &mut config)?;
    query.is_used_up()?;
    Ok(Meant::Server(Box::new(config)))
}

fn address(text: &str) -> Result<Address, String> {
    let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    if authority.is_empty() {
        return match path.trim_matches('/') {
            "" => Err("expected a host, or the path of a socket".to_owned()),
            _ => Ok(Address::Unix(Path::new(path).components().collect())),
        };
    }
    // A user and password have no meaning.
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let bracket = authority.rfind(']').unwrap_or(0);
    let has_port = authority[bracket..].contains(':');
    let with_port = if has_port {
        authority.trim_end_matches(':').to_owned()
    } else {
        authority.to_owned()
    };
    if has_port && with_port.len() == authority.len() {
        with_port.parse()
    } else {
        format!("{with_port}:{PORT}").parse()
    }
}

fn settings(query: &mut Query, address: Address) -> Result<Settings, ConfigError> {
    let mut settings = Settings::new(vec![address]);
    if let Some(name) = query.take("storage", text)? {
        settings.storage = name;
    }
    if let Some(bytes) = query.take("cache_size", size)? {
        settings.cache_size = bytes;
    }
    let client = query.take("client", text)?;
    let var = query.take("var", text)?.map(PathBuf::from);
    settings.cache = cache_file(client, var.as_deref(), &settings.storage);
    if let Some(wait) = query.take("wait", boolean)? {
        settings.wait = wait;
    }
    if let Some(limit) = query.take("wait_timeout", seconds)? {
        settings.wait_timeout = wait_timeout(limit);
    }
    let shortest = query.take("min_disconnect_poll", seconds)?;
    let longest = query.take("max_disconnect_poll", seconds)?;
    set_pauses(&mut settings, shortest, longest);
    settings.read_only = query.take("read_only", boolean)?.unwrap_or(false);
    let fallback = query.take("read_only_fallback", boolean)?;
    settings.read_only_fallback = fallback.unwrap_or(false);
    settings.blob_dir = query.take("blob_dir", text)?.map(PathBuf::from);
    let shared = query.take("shared_blob_dir", boolean)?;
    settings.shared_blob_dir = shared.unwrap_or(false);
    settings.blob_cache_size = query.take("blob_cache_size", size)?;
    if let Some(percent) = query.take("blob_cache_size_check", percent)? {
        settings.blob_cache_size_check = percent;
    }
    check_percent(&settings).map_err(|problem| query.refused("blob_cache_size_check", problem))?;
    settings.client_label = query.take("client_label", text)?;
    // Of no use, as in Python's client.
    for key in ["name", "username", "password", "realm"] {
        query.take(key, text)?;
    }
    query.take("drop_cache_rather_verify", boolean)?;
    Ok(settings)
}

fn database(query: &mut Query, config: &mut DatabaseConfig) -> Result<(), ConfigError> {
    let number = |text: &str| Ok(integer(text)?.try_into().unwrap_or(0));
    let set = |value: Option<u64>, setting: &mut u64| *setting = value.unwrap_or(*setting);
    if let Some(name) = query.take("database_name", text)? {
        config.name = name;
    }
    set(
        query.take("connection_cache_size", number)?,
        &mut config.cache_size,
    );
    set(
        query.take("connection_cache_size_bytes", size)?,
        &mut config.cache_size_bytes,
    );
    set(
        query.take("connection_pool_size", number)?,
        &mut config.pool_size,
    );
    set(
        query.take("connection_large_record_size", size)?,
        &mut config.large_record_size,
    );
    for key in [
        "connection_pool_timeout",
        "connection_historical_pool_size",
        "connection_historical_cache_size",
        "connection_historical_timeout",
    ] {
        query.take(key, integer)?;
    }
    query.take("connection_historical_cache_size_bytes", size)?;
    Ok(())
}

/// As zodburi has it; other numbers than 0 are true, too.
fn boolean(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "1" | "on" | "true" | "t" | "yes" => Ok(true),
        "0" | "off" | "false" | "f" | "no" => Ok(false),
        _ => match integer(text) {
            Ok(number) => Ok(number != 0),
            Err(_) => Err(format!("{text:?} is not a boolean; expected 1 or 0")),
        },
    }
}

/// The keys of a URI and their values, which are taken one by one. Of a key that is given twice,
/// the last value counts, and an empty one is none.
struct Query {
    place: Place,
    values: HashMap<String, String>,
}

impl Query {
    fn new(front: &str, query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.filter(|(_, value)| !value.is_empty());
        Self {
            place: Place {
                file: Arc::from(Path::new(front)),
                line: 0,
            },
            values: pairs
                .map(|(key, value)| (decoded(key), decoded(value)))
                .collect(),
        }
    }

    fn refused(&self, key: &str, problem: String) -> ConfigError {
        ConfigError::Value {
            key: key.to_owned(),
            problem,
            place: self.place.clone(),
        }
    }

    fn take<T>(
        &mut self,
        key: &str,
        convert: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let value = self.values.remove(key);
        let value = value.map(|value| convert(&value)).transpose();
        value.map_err(|problem| self.refused(key, problem))
    }

    fn is_used_up(&self) -> Result<(), ConfigError> {
        let mut left: Vec<&str> = self.values.keys().map(String::as_str).collect();
        left.sort_unstable();
        match left.first() {
            None => Ok(()),
            Some(key) => Err(ConfigError::Conflict {
                problem: format!("{key:?} is not a known key of a zeo:// URI"),
                place: self.place.clone(),
            }),
        }
    }
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}
