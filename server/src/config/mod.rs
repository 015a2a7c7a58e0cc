//! What a configuration means: the sections and keys that runzeo takes, and their defaults.
//!
//! The source is `schema.xml` and `server.xml` of ZEO, `component.xml` of ZODB, of zdaemon and
//! of `zc.zlibstorage`, and `ZConfig.components.logger`. Three things differ on purpose:
//! transaction-timeout defaults to 30 seconds, as ZEO's manual says and its code does not; what
//! only zdaemon uses need not exist; and all section types are known without `%import`.

mod eventlog;
pub mod open;
mod runner;
mod ssl;
mod zeo;

use zeo_client::served;
use zeo_storage::config::{Openers, StorageConfig, name_the_unnamed};
use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section};

use crate::eventlog::EventLogConfig;

pub use zeo::{ZeoConfig, listen_address, seconds};

/// A server's configuration.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// How to serve.
    pub zeo: ZeoConfig,
    /// What to serve; at least one, each of its own name.
    pub storages: Vec<StorageConfig>,
    /// Where to log; standard error if `None`.
    pub eventlog: Option<EventLogConfig>,
}

impl Config {
    /// Reads the configuration out of a whole file's tree.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is unknown, missing, doubled, bad or not
    /// supported yet.
    pub fn from_tree(root: &Section) -> Result<Config, ConfigError> {
        Reader::new(root, &[])?;
        let (mut zeo, mut eventlog, mut runner) = (None, None, None);
        let openers = openers();
        let mut storages = Vec::new();
        for section in &root.sections {
            match section.kind.as_str() {
                "zeo" => reader::only("zeo", &mut zeo, section)?,
                "eventlog" => reader::only("eventlog", &mut eventlog, section)?,
                "runner" => reader::only("runner", &mut runner, section)?,
                kind if openers.knows(kind) => {
                    storages.push(StorageConfig::from_section(section, root, &openers)?);
                }
                _ => return Err(unknown(section, root, &openers)),
            }
        }
        let missing = |what| ConfigError::MissingSection {
            what,
            file: root.place.file.to_path_buf(),
        };
        let zeo = zeo.ok_or_else(|| missing("<zeo>"))?;
        let zeo = ZeoConfig::from_section(zeo)?;
        if let Some(runner) = runner {
            runner::check(runner)?;
        }
        let eventlog = eventlog.map(eventlog::from_section).transpose()?;
        if storages.is_empty() {
            return Err(missing("storage"));
        }
        name_the_unnamed(&mut storages)?;
        Ok(Config {
            zeo,
            storages,
            eventlog,
        })
    }
}

/// The storages that a server can serve.
fn openers() -> Openers {
    let openers = Openers::default()
        .with("clientstorage", served::read_section)
        .with("zeoclient", served::read_section);
    #[cfg(feature = "postgres")]
    let openers = openers.with("relstorage", zeo_storage::postgres::read_section);
    openers
}

/// Refuses a section that has no place in a server's configuration.
fn unknown(section: &Section, root: &Section, openers: &Openers) -> ConfigError {
    let mut expected = vec!["zeo"];
    expected.extend(openers.names());
    expected.extend(["eventlog", "runner"]);
    reader::unknown_section(section, &reader::described(root), expected)
}

/// The storages of a configuration, be it that of a server or not. What else stands there is not
/// looked at.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong with a storage, and when there is none.
pub fn storages(root: &Section) -> Result<Vec<StorageConfig>, ConfigError> {
    zeo_storage::config::storages(root, &openers(), &["zeo", "eventlog", "runner"])
}

#[cfg(test)]
mod tests;
