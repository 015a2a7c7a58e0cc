//! Takes keys out of a section, and finds those that nobody asked for.

use std::collections::HashMap;

use super::{ConfigError, Entry, Section, datatypes};

/// A section whose keys are taken one by one.
pub struct Reader<'a> {
    section: &'a Section,
    /// By key in lower case.
    entries: HashMap<String, &'a Entry>,
    /// All that it may have.
    keys: &'static [&'static str],
}

impl<'a> Reader<'a> {
    /// Begins to read `section`, which may have `keys`.
    ///
    /// # Errors
    /// A key or the name of a section in it is malformed, or given twice; or a key is another one.
    pub fn new(
        section: &'a Section,
        keys: &'static [&'static str],
    ) -> Result<Reader<'a>, ConfigError> {
        Reader::with_repeated(section, keys, &[])
    }

    /// As [`Reader::new`]; those of `keys` that are `repeated` may be given several times, and
    /// [`Reader::all`] takes their values.
    ///
    /// # Errors
    /// As for [`Reader::new`].
    pub fn with_repeated(
        section: &'a Section,
        keys: &'static [&'static str],
        repeated: &[&str],
    ) -> Result<Reader<'a>, ConfigError> {
        let mut entries: HashMap<String, &Entry> = HashMap::new();
        for entry in &section.entries {
            let key = datatypes::basic_key(&entry.key).map_err(|problem| ConfigError::Syntax {
                problem,
                place: entry.place.clone(),
            })?;
            if !keys.contains(&key.as_str()) {
                return Err(ConfigError::UnknownKey {
                    key: entry.key.clone(),
                    section: described(section),
                    expected: keys.to_vec(),
                    place: entry.place.clone(),
                });
            }
            if let Some(first) = entries.get(&key) {
                if repeated.contains(&key.as_str()) {
                    continue;
                }
                return Err(ConfigError::DuplicateKey {
                    key,
                    first: first.place.line,
                    place: entry.place.clone(),
                });
            }
            entries.insert(key, entry);
        }
        check_names(section)?;
        Ok(Reader {
            section,
            entries,
            keys,
        })
    }

    /// Takes the value of `key`, if there is one, as the datatype `convert` reads it.
    ///
    /// # Errors
    /// The value is not of that type.
    pub fn optional<T>(
        &self,
        key: &'static str,
        convert: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        debug_assert!(self.keys.contains(&key), "{key} is not listed");
        let entry = self.entries.get(key);
        entry
            .map(|entry| converted(key, entry, convert))
            .transpose()
    }

    /// Takes all values of a `key` that may be repeated, in the order of the file.
    ///
    /// # Errors
    /// One of them is not of that type.
    pub fn all<T>(
        &self,
        key: &'static str,
        convert: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        debug_assert!(self.keys.contains(&key), "{key} is not listed");
        let entries = self.section.entries.iter();
        let entries =
            entries.filter(|entry| datatypes::basic_key(&entry.key).is_ok_and(|k| k == key));
        entries
            .map(|entry| converted(key, entry, &convert))
            .collect()
    }

    /// Takes the value of `key` as [`Reader::optional`] does.
    ///
    /// # Errors
    /// There is none, or it is not of that type.
    pub fn required<T>(
        &self,
        key: &'static str,
        convert: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let value = self.optional(key, convert)?;
        value.ok_or_else(|| ConfigError::MissingKey {
            key,
            section: described(self.section),
            place: self.section.place.clone(),
        })
    }

    /// Takes the value of `key`, which names Python code, if there is one. An empty one is none,
    /// and those of `known` do what this server does without them.
    ///
    /// # Errors
    /// Any other, since ignoring it may change what is stored: [`ConfigError::PythonCode`] with
    /// `advice`.
    pub fn python_code(
        &self,
        key: &'static str,
        known: &[&str],
        advice: &'static str,
    ) -> Result<(), ConfigError> {
        debug_assert!(self.keys.contains(&key), "{key} is not listed");
        match self.entries.get(key) {
            Some(entry) if !entry.value.is_empty() && !known.contains(&entry.value.as_str()) => {
                Err(ConfigError::PythonCode {
                    key,
                    value: entry.value.clone(),
                    advice,
                    place: entry.place.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Refuses values that don't go together.
    pub fn conflict(&self, problem: &str) -> ConfigError {
        ConfigError::Conflict {
            problem: format!("{}: {problem}", described(self.section)),
            place: self.section.place.clone(),
        }
    }
}

/// The value of `entry`, whose key is `key`, as the datatype `convert` reads it.
fn converted<T>(
    key: &str,
    entry: &Entry,
    convert: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    convert(&entry.value).map_err(|problem| ConfigError::Value {
        key: key.to_owned(),
        problem,
        place: entry.place.clone(),
    })
}

/// Puts `section` into `place`, where only one may stand.
///
/// # Errors
/// There is one already.
pub fn only<'a>(
    kind: &'static str,
    place: &mut Option<&'a Section>,
    section: &'a Section,
) -> Result<(), ConfigError> {
    match place.replace(section) {
        None => Ok(()),
        Some(first) => Err(ConfigError::DuplicateSection {
            kind,
            first: first.place.line,
            place: section.place.clone(),
        }),
    }
}

/// Checks that no section stands in `section`.
///
/// # Errors
/// One does.
pub fn no_sections(section: &Section) -> Result<(), ConfigError> {
    match section.sections.first() {
        None => Ok(()),
        Some(inner) => Err(unknown_section(inner, &described(section), Vec::new())),
    }
}

/// Refuses `section`, since its type is unknown in `parent`.
pub fn unknown_section(
    section: &Section,
    parent: &str,
    expected: Vec<&'static str>,
) -> ConfigError {
    ConfigError::UnknownSection {
        kind: section.kind.clone(),
        parent: parent.to_owned(),
        expected,
        place: section.place.clone(),
    }
}

/// Refuses `section`, since it is not supported yet.
pub fn section_not_supported(section: &Section) -> ConfigError {
    ConfigError::NotSupported {
        what: described(section),
        place: section.place.clone(),
    }
}

/// A section as it is called in messages.
pub fn described(section: &Section) -> String {
    match (section.kind.as_str(), &section.name) {
        ("", _) => "the configuration".to_owned(),
        (kind, None) => format!("<{kind}>"),
        (kind, Some(name)) => format!("<{kind} {name}>"),
    }
}

/// Checks the names of the sections in `parent`: sections of all types share them.
fn check_names(parent: &Section) -> Result<(), ConfigError> {
    let mut names: Vec<&str> = Vec::new();
    for section in &parent.sections {
        let Some(name) = section.name.as_deref() else {
            continue;
        };
        if name == "*" || name == "+" {
            return Err(bad_name(name, section));
        }
        if names.contains(&name) {
            return Err(ConfigError::DuplicateName {
                name: name.to_owned(),
                place: section.place.clone(),
            });
        }
        names.push(name);
    }
    Ok(())
}

/// Refuses the name of `section`.
pub fn bad_name(name: &str, section: &Section) -> ConfigError {
    ConfigError::BadName {
        name: name.to_owned(),
        kind: section.kind.clone(),
        place: section.place.clone(),
    }
}
