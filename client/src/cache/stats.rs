//! Counters, and what a cache holds.

use zeo_proto::{Oid, Tid};

/// What a cache has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records stored.
    pub adds: u64,
    /// Their bytes, with 43 for each record.
    pub added_bytes: u64,
    /// Records that gave way to new ones.
    pub evictions: u64,
    /// Their bytes, with 43 for each record.
    pub evicted_bytes: u64,
    /// Loads that were answered.
    pub hits: u64,
    /// Loads that were not.
    pub misses: u64,
}

/// A revision that a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote the revision.
    pub start: Tid,
    /// The one that wrote the next; none of a current revision.
    pub end: Option<Tid>,
    /// Bytes of its record.
    pub length: u32,
}
