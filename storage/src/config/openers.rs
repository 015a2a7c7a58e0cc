//! Which sections are storages: a table, so that crates above this one can add theirs, and a
//! `<demostorage>` stand over any.

use super::kind::StorageKind;
use crate::zconfig::reader;
use crate::zconfig::{ConfigError, Section};

/// Storages that Python's server can serve and rzeo can't yet.
const NOT_SUPPORTED: [&str; 7] = [
    "clientstorage",
    "fullstorage",
    "minimalstorage",
    "relstorage",
    "temporarystorage",
    "zeoclient",
    "zrs",
];

/// Reads a section. Storages that stand in it are read by the same table.
pub type ReadSection = fn(&Section, &Openers) -> Result<StorageKind, ConfigError>;

/// The types of sections that are storages, and how each is read.
#[derive(Clone, Debug)]
pub struct Openers(Vec<(&'static str, ReadSection)>);

impl Openers {
    pub(super) fn of(types: Vec<(&'static str, ReadSection)>) -> Openers {
        Openers(types)
    }

    /// These openers, and one for sections of the type `name` (in lower case). That may be a type
    /// that is otherwise not supported.
    #[must_use]
    pub fn with(mut self, name: &'static str, read: ReadSection) -> Openers {
        self.0.push((name, read));
        self
    }

    /// The types, as messages list them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|&(name, _)| name)
    }

    /// True for the type of a storage, be it one that is not supported.
    pub fn knows(&self, name: &str) -> bool {
        self.names().any(|known| known == name) || NOT_SUPPORTED.contains(&name)
    }

    /// Reads a storage section that stands in `parent`.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong with it; also when it is no storage.
    pub fn read(&self, section: &Section, parent: &Section) -> Result<StorageKind, ConfigError> {
        let kind = section.kind.as_str();
        match self.0.iter().find(|&&(name, _)| name == kind) {
            Some((_, read)) => read(section, self),
            None if NOT_SUPPORTED.contains(&kind) => Err(reader::section_not_supported(section)),
            None => {
                let parent = reader::described(parent);
                Err(reader::unknown_section(
                    section,
                    &parent,
                    self.names().collect(),
                ))
            }
        }
    }
}
