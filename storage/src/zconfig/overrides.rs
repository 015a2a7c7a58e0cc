//! Values given beside the file, as by `-X section/key=value` (`ZConfig.cmdline`).
//!
//! Each part of the path but the last is the type or the name of a section, and goes to the first
//! one that fits. Values are taken as they are: there is no substitution in them.

use std::path::Path;
use std::sync::Arc;

use super::{ConfigError, Entry, Place, Section, datatypes};

/// A value for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The types or names of the sections that lead to the key.
    sections: Vec<String>,
    key: String,
    value: String,
    place: Place,
}

impl Override {
    /// Reads `section/key=value`; `option` is how messages call where it stands.
    ///
    /// # Errors
    /// It has no `=`, or an empty name.
    pub fn parse(spec: &str, option: &str) -> Result<Override, ConfigError> {
        let place = Place::beside_the_file(&format!("{option} {spec}"));
        let syntax = |problem: &str| ConfigError::Syntax {
            problem: problem.to_owned(),
            place: place.clone(),
        };
        let Some((path, value)) = spec.split_once('=') else {
            return Err(syntax(
                "invalid configuration specifier; expected SECTION/KEY=VALUE",
            ));
        };
        let mut sections: Vec<_> = path.split('/').map(str::to_lowercase).collect();
        if sections.iter().any(String::is_empty) {
            return Err(syntax("'//' is not allowed in an option path"));
        }
        let key = sections.pop().unwrap_or_default();
        Ok(Override {
            sections,
            key,
            value: value.to_owned(),
            place,
        })
    }
}

impl Place {
    /// Of what stands in no file.
    pub fn beside_the_file(what: &str) -> Place {
        Place {
            file: Arc::from(Path::new(what)),
            line: 0,
        }
    }
}

/// Puts the values into `root`, in place of those that the file has.
///
/// # Errors
/// A section does not exist, or a key is given twice. (That its section has such a key is found
/// when the section is read.)
pub fn apply(root: &mut Section, overrides: &[Override]) -> Result<(), ConfigError> {
    apply_in(root, &overrides.iter().collect::<Vec<_>>(), 0)
}

fn apply_in(
    section: &mut Section,
    overrides: &[&Override],
    depth: usize,
) -> Result<(), ConfigError> {
    let (here, mut inside): (Vec<&Override>, Vec<&Override>) = overrides
        .iter()
        .partition(|one| one.sections.len() == depth);
    for (number, one) in here.iter().enumerate() {
        if here.iter().take(number).any(|other| other.key == one.key) {
            return Err(ConfigError::Syntax {
                problem: format!("{:?} does not support multiple values", one.key),
                place: one.place.clone(),
            });
        }
    }
    let is_given = |entry: &Entry| {
        let key = datatypes::basic_key(&entry.key);
        here.iter().any(|one| Ok(&one.key) == key.as_ref())
    };
    section.entries.retain(|entry| !is_given(entry));
    section.entries.extend(here.iter().map(|one| Entry {
        key: one.key.clone(),
        value: one.value.clone(),
        place: one.place.clone(),
    }));
    for child in &mut section.sections {
        let leads_here = |one: &&Override| {
            let wanted = one.sections.get(depth);
            wanted
                .is_some_and(|wanted| *wanted == child.kind || Some(wanted) == child.name.as_ref())
        };
        let (fitting, others): (Vec<&Override>, Vec<&Override>) =
            inside.into_iter().partition(leads_here);
        inside = others;
        apply_in(child, &fitting, depth + 1)?;
    }
    match inside.first() {
        None => Ok(()),
        Some(lost) => Err(ConfigError::Syntax {
            problem: format!(
                "there is no section of the type or name {:?}",
                lost.sections.get(depth).map_or("", String::as_str)
            ),
            place: lost.place.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Section {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.conf");
        let text = "<zeo>\naddress 1\nRead-Only on\n</zeo>\n<filestorage Main>\npath a\n\
                    </filestorage>\n<filestorage two>\npath b\n</filestorage>\n\
                    <eventlog>\n<logfile>\npath c\n</logfile>\n</eventlog>\n";
        std::fs::write(&path, text).unwrap();
        crate::zconfig::load(&path, &|_| None).unwrap()
    }

    fn applied(specs: &[&str]) -> Result<String, String> {
        let mut root = tree();
        let parsed: Result<Vec<_>, _> = specs.iter().map(|s| Override::parse(s, "-X")).collect();
        let done = parsed.and_then(|overrides| apply(&mut root, &overrides));
        done.map_err(|why| why.to_string())?;
        Ok(shown(&root).join(" "))
    }

    fn shown(section: &Section) -> Vec<String> {
        let entries = section
            .entries
            .iter()
            .map(|e| format!("{}={}", e.key, e.value));
        let inside = section.sections.iter().map(|inner| shown(inner).join(","));
        entries.chain(inside).collect()
    }

    /// As `ZConfig.cmdline` of ZConfig 4.3 does it.
    #[test]
    fn the_first_section_of_that_type_or_name() {
        for (specs, expected) in [
            (
                &["zeo/address=2"][..],
                "Read-Only=on,address=2 path=a path=b path=c",
            ),
            (
                &["ZEO/READ-only=off"],
                "address=1,read-only=off path=a path=b path=c",
            ),
            (
                &["filestorage/path=x"],
                "address=1,Read-Only=on path=x path=b path=c",
            ),
            (
                &["MAIN/path=$x"],
                "address=1,Read-Only=on path=$x path=b path=c",
            ),
            (
                &["two/path=x=y"],
                "address=1,Read-Only=on path=a path=x=y path=c",
            ),
            (
                &["main/path=x", "filestorage/quota=1"],
                "address=1,Read-Only=on path=x,quota=1 path=b path=c",
            ),
            (
                &["two/quota=1", "filestorage/quota=2"],
                "address=1,Read-Only=on path=a,quota=2 path=b,quota=1 path=c",
            ),
            (
                &["eventlog/logfile/path="],
                "address=1,Read-Only=on path=a path=b path=",
            ),
            (
                &["top=1"],
                "top=1 address=1,Read-Only=on path=a path=b path=c",
            ),
        ] {
            assert_eq!(applied(specs).unwrap(), expected, "{specs:?}");
        }
    }

    #[test]
    fn what_fits_nowhere_is_an_error() {
        for (specs, expected) in [
            (
                &["zeo"][..],
                "invalid configuration specifier; expected SECTION/KEY=VALUE (in -X zeo)",
            ),
            (
                &["zeo//a=1"],
                "'//' is not allowed in an option path (in -X zeo//a=1)",
            ),
            (&["=1"], "'//' is not allowed in an option path (in -X =1)"),
            (
                &["x/a=1"],
                "there is no section of the type or name \"x\" (in -X x/a=1)",
            ),
            (
                &["zeo/ssl/a=1"],
                "there is no section of the type or name \"ssl\" (in -X zeo/ssl/a=1)",
            ),
            (
                &["zeo/a=1", "ZEO/A=2"],
                "\"a\" does not support multiple values (in -X ZEO/A=2)",
            ),
        ] {
            assert_eq!(applied(specs).unwrap_err(), expected);
        }
    }
}
