//! `<zodb>` and `<zodb_db>`: which database of a file is meant, and its settings.

use std::sync::Arc;

use zeo_storage::zconfig::datatypes::{boolean, byte_size, integer, time_interval};
use zeo_storage::zconfig::reader::Reader;
use zeo_storage::zconfig::{ConfigError, Place, Section};

use super::storage;
use crate::client_storage::{ClientStorage, Error, Settings};
use crate::db::{CacheSize, Db, Sizes};

/// The types of sections that are databases: ZODB's, and Zope's.
const TYPES: [&str; 2] = ["zodb", "zodb_db"];
/// The database of Zope itself.
const MAIN: &str = "main";

/// The keys of `<zodb>`, and behind them, those that Zope adds.
const KEYS: [&str; 15] = [
    "cache-size",
    "cache-size-bytes",
    "large-record-size",
    "pool-size",
    "pool-timeout",
    "historical-pool-size",
    "historical-cache-size",
    "historical-cache-size-bytes",
    "historical-timeout",
    "database-name",
    "allow-implicit-cross-references",
    "class-factory",
    "mount-point",
    "connection-class",
    "container-class",
];

/// A database, as a configuration describes it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DatabaseConfig {
    /// Its name among several; may be empty.
    pub name: String,
    /// How many objects a connection keeps in its object cache. Default: 5,000; in a URI 10,000.
    pub cache_size: u64,
    /// The estimated size of the objects that a connection keeps, in bytes; 0, which is the
    /// default: no limit.
    pub cache_size_bytes: u64,
    /// How many connections are expected to be open at once: so many are kept when they are
    /// dropped, with the objects that they know. There may be more. Default: 7.
    pub pool_size: u64,
    /// From which length on, in bytes, a record is warned of: it had better be a blob. Default:
    /// 16 MiB.
    pub large_record_size: u64,
    /// Its storage.
    pub storage: Settings,
}

impl DatabaseConfig {
    /// The default settings, with this storage.
    pub fn new(storage: Settings) -> Self {
        Self {
            name: String::new(),
            cache_size: 5000,
            cache_size_bytes: 0,
            pool_size: 7,
            large_record_size: 16 << 20,
            storage,
        }
    }

    /// Connects, and opens the database.
    ///
    /// # Errors
    ///
    /// As of [`ClientStorage::open`].
    pub fn open(self) -> Result<Db, Error> {
        let at_most = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let bytes = match self.cache_size_bytes {
            0 => usize::MAX,
            bytes => at_most(bytes),
        };
        let storage = ClientStorage::open(self.storage)?;
        let sizes = Sizes {
            cache: CacheSize {
                objects: at_most(self.cache_size),
                bytes,
            },
            pool: at_most(self.pool_size),
            large_record: at_most(self.large_record_size),
        };
        Ok(Db::with_sizes(Arc::new(storage), sizes))
    }
}

/// Reads one database of a file: that with the name `wanted`, or else the one that is called
/// `main`, or else the first. What else stands in the file is not looked at.
///
/// # Errors
/// [`ConfigError`] if there is none, or for the first thing that is wrong with it.
pub(super) fn from_tree(
    root: &Section,
    wanted: Option<&str>,
    password: Option<&[u8]>,
) -> Result<DatabaseConfig, ConfigError> {
    if let Some(section) = choose(root, &TYPES, wanted)? {
        return from_section(section, password);
    }
    let Some(section) = choose(root, &storage::TYPES, wanted)? else {
        return Err(ConfigError::MissingSection {
            what: "<zodb>, <zodb_db>, <zeoclient> or <clientstorage>",
            file: root.place.file.to_path_buf(),
        });
    };
    let mut config = DatabaseConfig::new(storage::from_section(section, password)?);
    config.name = section.name.clone().unwrap_or_default();
    Ok(config)
}

/// The section that is meant among those of some types; none if there are none.
fn choose<'a>(
    root: &'a Section,
    types: &[&str],
    wanted: Option<&str>,
) -> Result<Option<&'a Section>, ConfigError> {
    let all = root.sections.iter();
    let all: Vec<&Section> = all
        .filter(|section| types.contains(&section.kind.as_str()))
        .collect();
    let named = |name: &str| {
        let mut all = all.iter();
        all.find(|section| name_of(section).eq_ignore_ascii_case(name))
            .copied()
    };
    let Some(wanted) = wanted.filter(|_| !all.is_empty()) else {
        return Ok(named(MAIN).or(all.first().copied()));
    };
    if let Some(found) = named(wanted) {
        return Ok(Some(found));
    }
    let names: Vec<String> = all.iter().map(|section| name_of(section)).collect();
    let place = Place {
        line: 0,
        ..root.place.clone()
    };
    Err(ConfigError::Conflict {
        problem: format!("there is no database {wanted:?}; there are {names:?}"),
        place,
    })
}

/// The name of a database: that of the key, or else of the section. In Zope, it is always that of
/// the section.
fn name_of(section: &Section) -> String {
    let mut entries = section.entries.iter();
    let key = entries.find(|entry| entry.key.eq_ignore_ascii_case("database-name"));
    let key = key.map(|entry| entry.value.as_str());
    let key = key.filter(|name| section.kind == "zodb" && !name.is_empty());
    key.or(section.name.as_deref())
        .unwrap_or_default()
        .to_owned()
}

fn from_section(section: &Section, password: Option<&[u8]>) -> Result<DatabaseConfig, ConfigError> {
    let keys: &'static [&'static str] = match section.kind.as_str() {
        "zodb" => KEYS.split_at(KEYS.len() - 3).0,
        _ => &KEYS,
    };
    let reader = Reader::with_repeated(section, keys, &["mount-point"])?;
    if section.kind == "zodb_db" {
        reader.required("mount-point", |_| Ok(()))?;
    }
    let storage = match section.sections.as_slice() {
        [storage] => storage::from_section(storage, password)?,
        [] => return Err(reader.conflict("a storage section is missing inside it")),
        _ => return Err(reader.conflict("only one storage section is allowed inside it")),
    };
    let mut config = DatabaseConfig::new(storage);
    config.name = name_of(section);
    let objects = |text: &str| Ok(integer(text)?.try_into().unwrap_or(0));
    let bytes = |text: &str| Ok(byte_size(text)?.try_into().unwrap_or(0));
    let set = |value: Option<u64>, setting: &mut u64| *setting = value.unwrap_or(*setting);
    set(
        reader.optional("cache-size", objects)?,
        &mut config.cache_size,
    );
    set(
        reader.optional("cache-size-bytes", bytes)?,
        &mut config.cache_size_bytes,
    );
    set(
        reader.optional("pool-size", objects)?,
        &mut config.pool_size,
    );
    set(
        reader.optional("large-record-size", bytes)?,
        &mut config.large_record_size,
    );
    // What has no meaning here must be right all the same: the application reads it, too.
    for key in ["historical-pool-size", "historical-cache-size"] {
        reader.optional(key, integer)?;
    }
    reader.optional("historical-cache-size-bytes", byte_size)?;
    for key in ["pool-timeout", "historical-timeout"] {
        reader.optional(key, time_interval)?;
    }
    reader.optional("allow-implicit-cross-references", boolean)?;
    Ok(config)
}
