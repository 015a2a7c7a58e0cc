//! What a configuration file says, before it is known what it means.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where something stands: a line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, by the name it was opened with, or what else it is.
    pub file: Arc<Path>,
    /// The line, counted from 1; 0 if it is no file.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "(in {})", self.file.display()),
            line => write!(f, "(line {line}, in {})", self.file.display()),
        }
    }
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key as written. Most sections ignore its case.
    pub key: String,
    /// The value after substitution, without white space at its ends; may be empty.
    pub value: String,
    /// The key's line.
    pub place: Place,
}

/// A section with all that stands in it. The whole file is a section without a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The type in lower case; empty for the whole file.
    pub kind: String,
    /// The name in lower case, if the section has one.
    pub name: Option<String>,
    /// The line of the opening tag; for the whole file, its first.
    pub place: Place,
    /// The keys in their order, those of included files among them.
    pub entries: Vec<Entry>,
    /// The sections inside in their order, those of included files among them.
    pub sections: Vec<Section>,
}

impl Section {
    /// A section in which nothing stands yet.
    pub(super) fn new(kind: String, name: Option<String>, place: Place) -> Section {
        Section {
            kind,
            name,
            place,
            entries: Vec::new(),
            sections: Vec::new(),
        }
    }
}
