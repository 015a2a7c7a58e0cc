//! The names of blob files between vote and commit, from which an opening
//! storage can tell whose they are.

use std::fmt;
use std::path::Path;

use zeo_proto::{Oid, Tid};

/// What the names of our files in `tmp` begin with; those of clients of a shared
/// directory are theirs.
pub(super) const OURS: &str = "rzeo-";
const SUFFIX: &str = ".tmp";

/// What the name of a staged file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StagedName {
    /// The blob.
    pub oid: Oid,
    /// The revision that it follows, zero for none. No other follows it, since
    /// the object was locked.
    pub before: Tid,
    /// Larger than that of files that were staged before. If several follow
    /// one revision, all but the last one were given up.
    pub number: u64,
}

impl StagedName {
    /// What the name of this path tells, if it is one.
    pub fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let parts = name.strip_prefix(OURS)?.strip_suffix(SUFFIX)?;
        let (oid, rest) = parts.split_once('-')?;
        let (before, number) = rest.split_once('-')?;
        let id = |digits| u64::from_str_radix(digits, 16).ok();
        let found = Self {
            oid: Oid::new(id(oid)?),
            before: Tid::new(id(before)?),
            number: number.parse().ok()?,
        };
        // Numbers have several spellings, of which one is right.
        (found.to_string() == name).then_some(found)
    }
}

impl fmt::Display for StagedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (oid, before) = (self.oid.as_u64(), self.before.as_u64());
        write!(f, "{OURS}{oid:016x}-{before:016x}-{}{SUFFIX}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let name = StagedName {
            oid: Oid::new(0x12a),
            before: Tid::new(0x03f0_c2a4_b1d5_e6f7),
            number: 10,
        };
        let written = name.to_string();
        assert_eq!(written, "rzeo-000000000000012a-03f0c2a4b1d5e6f7-10.tmp");
        let path = Path::new("blobs/tmp").join(&written);
        assert_eq!(StagedName::parse(&path), Some(name));
        for other in [
            "rzeo-Ab3x9Z.tmp",
            "rzeo-12a-3f0c2a4b1d5e6f7-10.tmp",
            "rzeo-000000000000012a-03f0c2a4b1d5e6f7-010.tmp",
            "rzeo-000000000000012a-03f0c2a4b1d5e6f7-.tmp",
            "rzeo-000000000000012A-03f0c2a4b1d5e6f7-10.tmp",
            "rzeo-000000000000012a-03f0c2a4b1d5e6f7-10",
            "rzeo-+00000000000012a-03f0c2a4b1d5e6f7-10.tmp",
            "",
        ] {
            assert_eq!(StagedName::parse(Path::new(other)), None, "{other}");
        }
    }
}
