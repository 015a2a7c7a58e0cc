//! `<relstorage>` with `<postgresql>`, as RelStorage 4.3 reads it (with `%import relstorage`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::connect::Ways;
use super::dsn::Dsn;
use super::settings::Settings;
use super::storage::PostgresStorage;
use crate::config::{Opener, Openers, Other, StorageKind};
use crate::log::{Level, Log};
use crate::zconfig::datatypes::{boolean, byte_size, float, integer};
use crate::zconfig::reader::{self, Reader};
use crate::zconfig::{ConfigError, Section};
use crate::{Error, Result, Storage};

/// Keys that mean something here.
const USED: [&str; 11] = [
    "name",
    "read-only",
    "blob-dir",
    "blob-cache-size",
    "shared-blob-dir",
    "keep-history",
    "pack-gc",
    "pack-prepack-only",
    "cache-local-mb",
    "commit-lock-timeout",
    "create-schema",
];

/// What is wrong with a value, if anything is.
type Check = fn(&str) -> Option<String>;

/// Keys that have no meaning here, and how their values are checked.
const UNUSED: [(&str, Check); 24] = [
    ("poll-interval", is_any),
    ("blob-cache-size-check", is_any),
    ("blob-cache-size-check-external", is_boolean),
    ("blob-chunk-size", is_size),
    ("replica-conf", is_any),
    ("ro-replica-conf", is_any),
    ("replica-timeout", is_float),
    ("revert_when_stale", is_boolean),
    ("pack-skip-prepack", is_boolean),
    ("pack-batch-timeout", is_float),
    ("pack-commit-busy-delay", is_float),
    ("cache-servers", is_any),
    ("cache-module-name", is_any),
    ("cache-prefix", is_any),
    ("cache-local-storage", is_any),
    ("cache-local-dir", is_any),
    ("cache-local-dir-count", is_integer),
    ("cache-local-dir-read-count", is_integer),
    ("cache-local-dir-compress", is_boolean),
    ("cache-local-dir-write-max-size", is_size),
    ("cache-local-object-max", is_size),
    ("cache-local-compression", is_any),
    ("cache-delta-size-limit", is_integer),
    ("commit-lock-id", is_integer),
];

/// All keys.
static KEYS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let unused = UNUSED.iter().map(|&(key, _)| key);
    USED.into_iter().chain(unused).collect()
});

/// Adapters of RelStorage that this server has not.
const OTHER_ADAPTERS: [&str; 3] = ["mysql", "oracle", "sqlite3"];

fn is_any(_: &str) -> Option<String> {
    None
}
fn is_boolean(text: &str) -> Option<String> {
    boolean(text).err()
}
fn is_size(text: &str) -> Option<String> {
    byte_size(text).err()
}
fn is_float(text: &str) -> Option<String> {
    float(text).err()
}
fn is_integer(text: &str) -> Option<String> {
    integer(text).err()
}

/// A section, as it was read.
#[derive(Clone, Debug)]
struct RelStorage {
    settings: Settings,
    /// Keys that were given and mean nothing here.
    ignored: Vec<&'static str>,
}

/// Reads the section; to be given to [`Openers::with`].
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong with it.
pub fn read_section(
    section: &Section,
    _: &Openers,
) -> std::result::Result<StorageKind, ConfigError> {
    let reader = Reader::new(section, &KEYS)?;
    let mut settings = Settings::new(adapter(section, &reader)?);
    let text = |text: &str| Ok(text.to_owned());
    settings.name = reader.optional("name", text)?;
    settings.read_only = reader.optional("read-only", boolean)?.unwrap_or(false);
    settings.keep_history = reader.optional("keep-history", boolean)?.unwrap_or(true);
    settings.create_schema = reader.optional("create-schema", boolean)?.unwrap_or(true);
    settings.pack_gc = reader.optional("pack-gc", boolean)?.unwrap_or(true);
    let only = reader.optional("pack-prepack-only", boolean)?;
    settings.pack_prepack_only = only.unwrap_or(false);
    if let Some(size) = reader.optional("cache-local-mb", byte_size_of_mb)? {
        settings.cache_size = size;
    }
    if let Some(seconds) = reader.optional("commit-lock-timeout", integer)? {
        settings.lock_timeout = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    }
    let mut ignored = Vec::new();
    settings.blob_dir = reader.optional("blob-dir", |text| Ok(PathBuf::from(text)))?;
    let size = reader.optional("blob-cache-size", byte_size)?;
    settings.blob_cache_size = size.and_then(|size| u64::try_from(size).ok());
    if reader.optional("shared-blob-dir", boolean)? == Some(true) {
        return Err(reader.conflict(
            "shared-blob-dir true is not supported: this server keeps blobs in the database",
        ));
    }
    for (key, check) in UNUSED {
        let checked = |text: &str| check(text).map_or(Ok(()), Err);
        ignored.extend(reader.optional(key, checked)?.map(|()| key));
    }
    Ok(StorageKind::Other(Other(Arc::new(RelStorage {
        settings,
        ignored,
    }))))
}

/// A number of megabytes, as RelStorage's `cache-local-mb`.
fn byte_size_of_mb(text: &str) -> std::result::Result<usize, String> {
    let number = integer(text)?;
    let number = usize::try_from(number).map_err(|_| "expected a positive number".to_owned())?;
    Ok(number.saturating_mul(1 << 20))
}

/// The one `<postgresql>` in the section.
fn adapter(section: &Section, reader: &Reader) -> std::result::Result<Dsn, ConfigError> {
    let mut found = None;
    for inner in &section.sections {
        match inner.kind.as_str() {
            "postgresql" => reader::only("postgresql", &mut found, inner)?,
            kind if OTHER_ADAPTERS.contains(&kind) => {
                return Err(reader::section_not_supported(inner));
            }
            _ => {
                let parent = reader::described(section);
                return Err(reader::unknown_section(inner, &parent, vec!["postgresql"]));
            }
        }
    }
    let Some(inner) = found else {
        return Err(reader.conflict("a <postgresql> is missing inside it"));
    };
    let reader = Reader::new(inner, &["driver", "dsn"])?;
    reader::no_sections(inner)?;
    // The name of a Python package.
    reader.optional("driver", |text| Ok(text.to_owned()))?;
    let read = |text: &str| {
        let dsn = Dsn::parse(text)?.with_environment(|name| std::env::var(name).ok())?;
        Ways::read(&dsn)?;
        Ok(dsn)
    };
    let given = reader.optional("dsn", read)?;
    // libpq's variables may say all.
    given.map_or_else(|| read("").map_err(|why| reader.conflict(&why)), Ok)
}

impl Opener for RelStorage {
    fn to_read(&self) -> Option<Arc<dyn Opener>> {
        let mut reading = self.clone();
        (reading.settings.read_only, reading.settings.snapshot) = (true, true);
        Some(Arc::new(reading))
    }

    fn look(&self, log: &Log) -> Result<Option<String>> {
        PostgresStorage::examine(&self.settings, Arc::clone(log)).map(Some)
    }

    fn type_name(&self) -> &'static str {
        "RelStorage"
    }

    fn has_blobs(&self) -> bool {
        self.settings.blob_dir.is_some()
    }

    fn open(&self, blob_dir: Option<&Path>, log: &Log) -> Result<Arc<dyn Storage>> {
        if blob_dir.is_some() {
            return Err(Error::Unsupported(
                "a <relstorage> can't stand in a <blobstorage>".to_owned(),
            ));
        }
        if !self.ignored.is_empty() {
            let keys = self.ignored.join(", ");
            log(
                Level::Warning,
                &format!("these keys of <relstorage> have no meaning here: {keys}"),
            );
        }
        Ok(Arc::new(PostgresStorage::open(
            self.settings.clone(),
            Arc::clone(log),
        )?))
    }
}
