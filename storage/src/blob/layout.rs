//! How blob files lie in their directory (`ZODB.blob`: `BushyLayout`,
//! `LawnLayout`, `auto_layout_select`).
//!
//! ```text
//! bushy   0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x2a/0x03f0c2a4b1d5e6f7.blob
//! lawn    0x012a/0x03f0c2a4b1d5e6f7.blob
//! ```
//!
//! A file `.layout` names the layout. Without one, a directory that does not
//! exist or holds nothing but hidden files becomes bushy, and any other one is
//! taken for lawn, which was the only layout before there were marks.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeo_proto::{Oid, Tid};

use crate::disk::backend::open_file;

/// The name of the mark.
pub const MARK: &str = ".layout";
/// That of a mark that is being written. Hidden, so that it counts for nothing.
pub(super) const MARK_BEGUN: &str = ".layout.rzeo";
/// How much of it is read.
const MARK_MAX: u64 = 64;
/// What the name of a blob file ends in.
pub const SUFFIX: &str = ".blob";

/// A layout of a blob directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// A level for each byte of the oid: what new directories get.
    Bushy,
    /// One level: a directory for each object.
    Lawn,
}

impl Layout {
    /// The name that stands in the mark.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Bushy => "bushy",
            Layout::Lawn => "lawn",
        }
    }

    /// The layout that a directory has, or is to get.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a mark that names no layout, and whatever reading
    /// the directory brings.
    pub fn detect(directory: &Path) -> io::Result<Self> {
        match read_mark(&directory.join(MARK)) {
            Ok(mark) => match mark.trim_ascii() {
                b"bushy" => Ok(Layout::Bushy),
                b"lawn" => Ok(Layout::Lawn),
                other => {
                    let what = format!(
                        "{MARK} names the unknown layout {:.40}; expected bushy or lawn",
                        other.escape_ascii()
                    );
                    Err(io::Error::new(io::ErrorKind::InvalidData, what))
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::without_mark(directory),
            Err(error) => Err(error),
        }
    }

    fn without_mark(directory: &Path) -> io::Result<Self> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Layout::Bushy),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            if !name.as_encoded_bytes().starts_with(b".") {
                return Ok(Layout::Lawn);
            }
        }
        Ok(Layout::Bushy)
    }

    /// The directory of an object's blob files, below the blob directory.
    pub fn directory_of(self, oid: Oid) -> PathBuf {
        match self {
            Layout::Bushy => oid
                .to_bytes()
                .iter()
                .map(|byte| format!("0x{byte:02x}"))
                .collect(),
            Layout::Lawn => short_hex(oid.as_u64()).into(),
        }
    }

    /// The object whose blob files lie in this directory, a path below the
    /// blob directory; `None` when none do.
    pub fn oid_of(self, directory: &Path) -> Option<Oid> {
        let names: Option<Vec<&str>> = directory.iter().map(|name| name.to_str()).collect();
        let names = names?;
        match self {
            Layout::Bushy => {
                let bytes: Option<Vec<u8>> = names
                    .iter()
                    .map(|name| {
                        let digits = name.strip_prefix("0x").filter(|hex| hex.len() == 2)?;
                        parse_hex(digits).and_then(|byte| u8::try_from(byte).ok())
                    })
                    .collect();
                Oid::from_slice(&bytes?)
            }
            Layout::Lawn => match names[..] {
                [name] => name.strip_prefix("0x").and_then(parse_hex).map(Oid::new),
                _ => None,
            },
        }
    }
}

/// What stands in a mark: of one that is too long, the beginning.
fn read_mark(path: &Path) -> io::Result<Vec<u8>> {
    let mut mark = Vec::new();
    open_file(path)?.take(MARK_MAX).read_to_end(&mut mark)?;
    Ok(mark)
}

/// The name of the file of a revision.
pub fn file_name(serial: Tid) -> String {
    short_hex(serial.as_u64()) + SUFFIX
}

/// The revision that a file of this name belongs to; `None` for another file.
pub fn serial_of(name: &str) -> Option<Tid> {
    let digits = name.strip_suffix(SUFFIX)?.strip_prefix("0x")?;
    parse_hex(digits).map(Tid::new)
}

/// The number as ZODB writes ids: without leading bytes that are zero.
fn short_hex(number: u64) -> String {
    let digits = format!("{number:x}");
    let zero = if digits.len() % 2 == 1 { "0" } else { "" };
    format!("0x{zero}{digits}")
}

fn parse_hex(digits: &str) -> Option<u64> {
    let mut bytes = digits.bytes();
    let is_hex = bytes.all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex && matches!(digits.len(), 1..=16) {
        u64::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `FilesystemHelper.getBlobFilename`.
    #[test]
    fn paths_are_those_of_python() {
        for (layout, oid, serial, expected) in [
            (
                Layout::Bushy,
                0x12a,
                0x03f0_c2a4_b1d5_e6f7,
                "0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x2a/0x03f0c2a4b1d5e6f7.blob",
            ),
            (
                Layout::Bushy,
                u64::MAX,
                1,
                "0xff/0xff/0xff/0xff/0xff/0xff/0xff/0xff/0x01.blob",
            ),
            (
                Layout::Lawn,
                0x12a,
                0x03f0_c2a4_b1d5_e6f7,
                "0x012a/0x03f0c2a4b1d5e6f7.blob",
            ),
            (Layout::Lawn, 0, 0, "0x00/0x00.blob"),
        ] {
            let (oid, serial) = (Oid::new(oid), Tid::new(serial));
            let directory = layout.directory_of(oid);
            assert_eq!(directory.join(file_name(serial)), Path::new(expected));
            assert_eq!(layout.oid_of(&directory), Some(oid));
            assert_eq!(serial_of(&file_name(serial)), Some(serial));
        }
    }

    #[test]
    fn other_names_belong_to_nothing() {
        for name in [
            "tmp",
            "",
            "0x",
            "0x00/0x01",
            "0xZZ",
            "0x+1",
            "0x11223344556677889",
        ] {
            let found = [Layout::Bushy, Layout::Lawn].map(|layout| layout.oid_of(Path::new(name)));
            assert_eq!(found, [None, None], "{name}");
        }
        for name in ["0x01.tmp", "01.blob", "0x01", ".blob", "0x-1.blob"] {
            assert_eq!(serial_of(name), None, "{name}");
        }
    }

    #[test]
    fn layouts_are_detected_as_in_python() {
        let base = tempfile::tempdir().unwrap();
        let at = base.path();
        assert_eq!(Layout::detect(&at.join("none")).unwrap(), Layout::Bushy);
        assert_eq!(Layout::detect(at).unwrap(), Layout::Bushy);
        fs::write(at.join(".hidden"), "").unwrap();
        assert_eq!(Layout::detect(at).unwrap(), Layout::Bushy);
        fs::create_dir(at.join("tmp")).unwrap();
        assert_eq!(Layout::detect(at).unwrap(), Layout::Lawn);
        for (mark, expected) in [
            ("bushy", Some(Layout::Bushy)),
            ("lawn\n", Some(Layout::Lawn)),
            ("x", None),
        ] {
            fs::write(at.join(MARK), mark).unwrap();
            assert_eq!(Layout::detect(at).ok(), expected);
        }
    }
}
