//! How the data files of backups are named: by the times of the backups.

use std::fmt;
use std::str::FromStr;

pub(super) const TIME_LEN: usize = 19;

/// The name of a data file: the time of its backup, and an extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

/// A time in UTC, or a beginning of one: `yyyy-mm-dd[-hh[-mm[-ss]]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time(String);

/// A text that is no [`Time`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not yyyy-mm-dd[-hh[-mm[-ss]]]")]
pub struct NoTime;

impl FromStr for Time {
    type Err = NoTime;

    fn from_str(text: &str) -> std::result::Result<Self, NoTime> {
        let mut lengths = [10, 13, 16, TIME_LEN].into_iter();
        if lengths.any(|length| is_time(text, length)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoTime)
        }
    }
}

impl Time {
    /// The time as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Name {
    /// The name, if a file with it is a data file.
    pub fn parse(name: &str) -> Option<Self> {
        let (root, extension) = name.split_once('.')?;
        let known = matches!(extension, "fs" | "fsz" | "deltafs" | "deltafsz");
        (known && is_time(root, TIME_LEN)).then(|| Self(name.to_owned()))
    }

    /// The name of a new file.
    pub fn new(root: &str, is_full: bool, is_zipped: bool) -> Self {
        let delta = if is_full { "" } else { "delta" };
        let zipped = if is_zipped { "z" } else { "" };
        Self(format!("{root}.{delta}fs{zipped}"))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its extension: the time.
    pub fn root(&self) -> &str {
        self.0.get(..TIME_LEN).unwrap_or(&self.0)
    }

    /// Whether it is a full backup.
    pub fn is_full(&self) -> bool {
        !self.0.contains(".delta")
    }

    /// Whether it is compressed.
    pub fn is_zipped(&self) -> bool {
        self.0.ends_with('z')
    }
}

/// Whether it has the shape of a time of this length.
pub(super) fn is_time(text: &str, length: usize) -> bool {
    let shape = "dddd-dd-dd-dd-dd-dd".bytes();
    text.len() == length
        && text.bytes().zip(shape).all(|(byte, shape)| match shape {
            b'-' => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
