//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

use super::Place;

/// Why a configuration is refused. Each is one line and ends in the place, if there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The configuration file itself can't be read.
    #[error("error opening file {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file named by `%include` can't be read.
    #[error("error opening included file {}: {source} {place}", path.display())]
    Include {
        /// The included file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
        /// The `%include`.
        place: Place,
    },
    /// A line breaks ZConfig's syntax, or a limit of this reader.
    #[error("{problem} {place}")]
    Syntax {
        /// What is wrong.
        problem: String,
        /// The line.
        place: Place,
    },
    /// A section of a type that can't stand where it does.
    #[error("unknown section <{kind}> in {parent}{} {place}", Listed(.expected, "sections"))]
    UnknownSection {
        /// The section's type.
        kind: String,
        /// What it stands in.
        parent: String,
        /// What may stand there.
        expected: Vec<&'static str>,
        /// Its opening tag.
        place: Place,
    },
    /// A section that Python's server knows and this one does not yet.
    #[error("{what} is not supported yet {place}")]
    NotSupported {
        /// The section, or key and value.
        what: String,
        /// Its line.
        place: Place,
    },
    /// A value that names Python code, which this server can't run.
    #[error("{key} {value}: no Python code is run here; {advice} {place}")]
    PythonCode {
        /// The key.
        key: &'static str,
        /// The code.
        value: String,
        /// What to do about it.
        advice: &'static str,
        /// The key's line.
        place: Place,
    },
    /// A second section where only one may stand.
    #[error("only one <{kind}> section may be given; the first is at line {first} {place}")]
    DuplicateSection {
        /// The type of both.
        kind: &'static str,
        /// The first one's line.
        first: usize,
        /// The second one.
        place: Place,
    },
    /// Two sections of one name side by side.
    #[error("section names must not be re-used within the same container: {name:?} {place}")]
    DuplicateName {
        /// The name of both.
        name: String,
        /// The second one.
        place: Place,
    },
    /// A name that a section can't have.
    #[error("{name:?} is not an allowed name for <{kind}> sections {place}")]
    BadName {
        /// The name.
        name: String,
        /// The section's type.
        kind: String,
        /// Its opening tag.
        place: Place,
    },
    /// A section that must be given is not.
    #[error("no {what} section is given (in {})", file.display())]
    MissingSection {
        /// The section, or kind of section.
        what: &'static str,
        /// The configuration file.
        file: PathBuf,
    },
    /// A key that its section does not have.
    #[error("{key:?} is not a known key of {section}{} {place}", Listed(.expected, "keys"))]
    UnknownKey {
        /// The key as written.
        key: String,
        /// Its section.
        section: String,
        /// The keys that the section has.
        expected: Vec<&'static str>,
        /// The key's line.
        place: Place,
    },
    /// A key given twice in one section.
    #[error("{key:?} may be given only once; the first is at line {first} {place}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The first one's line.
        first: usize,
        /// The second one.
        place: Place,
    },
    /// A key that its section must have.
    #[error("{section} needs a value for {key:?} {place}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// The section.
        section: String,
        /// Its opening tag.
        place: Place,
    },
    /// A value that is not what its key takes.
    #[error("bad value for {key}: {problem} {place}")]
    Value {
        /// The key.
        key: String,
        /// The value and what was expected.
        problem: String,
        /// The key's line.
        place: Place,
    },
    /// Values that are good one by one and not together.
    #[error("{problem} {place}")]
    Conflict {
        /// What does not go together.
        problem: String,
        /// The section.
        place: Place,
    },
    /// Two storages without a name.
    #[error("No more than one storage may be unnamed. {place}")]
    UnnamedStorages {
        /// The second one.
        place: Place,
    },
    /// An unnamed storage, which becomes `1`, beside one that is named so.
    #[error("Can't have an unnamed storage and a storage named 1. {place}")]
    UnnamedAndOne {
        /// The unnamed one.
        place: Place,
    },
}

/// Shows what was expected: these words, or nothing of this kind.
struct Listed<'a>(&'a [&'static str], &'static str);

impl std::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => write!(f, ", which has no {}", self.1),
            [only] => write!(f, "; expected {only}"),
            [some @ .., last] => write!(f, "; expected {} or {last}", some.join(", ")),
        }
    }
}
