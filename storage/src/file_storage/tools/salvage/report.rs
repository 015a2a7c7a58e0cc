//! What a salvage tells of its work.

use std::ops::Range;
use std::path::PathBuf;

use zeo_proto::{Oid, Tid};

use super::resolve::Resolved;
use crate::observer::Cancelled;

/// What is told while the copy goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum SalvageEvent<'a> {
    /// A transaction was copied, whole or not.
    Copied(&'a Copied),
    /// The record of a blob was copied, and its file was not.
    NoBlob(&'a LostBlob),
    /// Something was wrong.
    Damage(&'a Damage),
}

/// Hears of what is copied and damaged, and may cancel the salvage.
pub type OnEvent<'a> = &'a mut dyn FnMut(SalvageEvent<'_>) -> Result<(), Cancelled>;

/// A transaction in the new file.
#[derive(Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where it was in the damaged file.
    pub position: u64,
    /// Its tid in the new file.
    pub tid: Tid,
    /// Its status in the new file.
    pub status: u8,
    /// Its records: the object, and the length of the data; `None` for an
    /// object that is gone.
    pub records: Vec<(Oid, Option<u64>)>,
}

/// A blob whose file could not be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBlob {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote it.
    pub tid: Tid,
    /// Where its file should be.
    pub path: PathBuf,
    /// Why it can't be read.
    pub why: String,
}

/// What was wrong at a place, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub position: u64,
    /// What, in words.
    pub what: String,
    /// The bytes that this is about: a transaction, or several.
    pub range: Range<u64>,
    /// How many of those bytes are not in the new file.
    pub lost: u64,
    /// The records that are not in the new file, as far as they are known.
    pub records: Vec<(Oid, Tid)>,
    /// Records that are in the new file, but may not be what was written.
    pub doubtful: Vec<(Oid, Tid)>,
}

/// How it went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Transactions that were copied.
    pub transactions: u64,
    /// Their records.
    pub records: u64,
    /// How often something was wrong.
    pub damages: u64,
    /// Bytes that were lost.
    pub lost: u64,
    /// Bytes of undone transactions, which are left out.
    pub undone: u64,
    /// Blob files that were copied.
    pub blobs: u64,
    /// Blob files that could not be.
    pub lost_blobs: u64,
}

impl Damage {
    /// The records of a transaction that was copied are in doubt.
    pub(super) fn doubt(&mut self, copied: &[Resolved], tid: Tid) {
        self.doubtful
            .extend(copied.iter().map(|record| (record.oid, tid)));
    }
}
