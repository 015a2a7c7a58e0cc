//! The objects that a connection keeps from one transaction to the next.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::quality::RandomState;
use zeo_proto::{Oid, Tid};

use super::pending::Changes;
use crate::record::Record;

/// How many objects are kept, and how many bytes of records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheSize {
    pub(crate) objects: usize,
    pub(crate) bytes: usize,
}

/// Records by oid, current as of the connection's snapshot. Those used least recently go first.
pub(super) struct ObjectCache {
    size: CacheSize,
    entries: HashMap<Oid, Entry, RandomState>,
    bytes: usize,
    clock: u64,
    /// Those that a later snapshot must load again.
    old: Vec<Oid>,
}

/// An object as it is in the database.
pub(super) struct Entry {
    pub(super) bytes: Bytes,
    pub(super) serial: Tid,
    /// The record, once somebody has read it.
    pub(super) record: Option<Arc<Record>>,
    used: u64,
}

/// What an object costs besides its bytes.
const OVERHEAD: usize = 200;

impl ObjectCache {
    pub(super) fn new(size: CacheSize) -> Self {
        Self {
            size,
            entries: HashMap::default(),
            bytes: 0,
            clock: 0,
            old: Vec::new(),
        }
    }

    pub(super) fn get(&mut self, oid: Oid) -> Option<&mut Entry> {
        self.clock += 1;
        let entry = self.entries.get_mut(&oid)?;
        entry.used = self.clock;
        Some(entry)
    }

    /// Adds an object. What `is_old` is no more current: a later snapshot has to load it again.
    pub(super) fn insert(&mut self, oid: Oid, bytes: Bytes, serial: Tid, is_old: bool) {
        self.remove(oid);
        if is_old {
            self.old.push(oid);
        }
        self.clock += 1;
        self.bytes += bytes.len() + OVERHEAD;
        let used = self.clock;
        let entry = Entry {
            bytes,
            serial,
            record: None,
            used,
        };
        self.entries.insert(oid, entry);
        if self.entries.len() > self.size.objects || self.bytes > self.size.bytes {
            self.shrink();
        }
    }

    pub(super) fn remove(&mut self, oid: Oid) {
        if let Some(entry) = self.entries.remove(&oid) {
            self.bytes -= entry.bytes.len() + OVERHEAD;
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.old.clear();
        self.bytes = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Moves on to a snapshot behind these changes.
    pub(super) fn apply(&mut self, changes: &Changes) {
        if changes.everything {
            self.clear();
            return;
        }
        for (&oid, &tid) in &changes.objects {
            // Not what this connection has committed itself.
            if self
                .entries
                .get(&oid)
                .is_some_and(|entry| entry.serial < tid)
            {
                self.remove(oid);
            }
        }
        for oid in std::mem::take(&mut self.old) {
            self.remove(oid);
        }
    }

    /// Lets a quarter go, so that this is seldom done.
    fn shrink(&mut self) {
        let mut used: Vec<(u64, Oid)> = { self.entries.iter() }
            .map(|(&oid, entry)| (entry.used, oid))
            .collect();
        let (objects, bytes) = (self.size.objects / 4 * 3, self.size.bytes / 4 * 3);
        // Those that go for their number, in any order; then others, for their bytes.
        let excess = used.len().saturating_sub(objects.max(1));
        if excess > 0 {
            used.select_nth_unstable(excess - 1);
        }
        let rest = used.split_off(excess);
        used.into_iter().for_each(|(_, oid)| self.remove(oid));
        if self.bytes > bytes {
            self.shrink_to(bytes, rest);
        }
    }

    fn shrink_to(&mut self, bytes: usize, mut used: Vec<(u64, Oid)>) {
        used.sort_unstable();
        for (_, oid) in used {
            if self.bytes <= bytes {
                break;
            }
            self.remove(oid);
        }
    }
}
