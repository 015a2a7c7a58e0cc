//! Configuration files in ZConfig's syntax.
//!
//! [`load`] reads a file, with everything it includes, into a tree of [`Section`]s in which all
//! substitutions are made and every node knows its [`Place`]. What the sections and keys mean is
//! the business of those who read it by [`reader`]; how single values are written, [`datatypes`]'.
//!
//! Followed is the behaviour of ZConfig 4, as in its manual, chapter "Configuration Syntax".

pub mod datatypes;
mod error;
mod locate;
pub mod overrides;
mod parser;
pub mod reader;
mod substitution;
mod tree;

pub use error::ConfigError;
pub use parser::{load, load_foreign, parse_foreign};
pub use tree::{Entry, Place, Section};

/// Looks up an environment variable; `None` when it is not set or is not Unicode.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether Python's `str` methods and regular expressions take `c` for white space.
///
/// That is Unicode's white space and the four ASCII separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `text` without white space, as Python sees it, at its ends.
fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}
