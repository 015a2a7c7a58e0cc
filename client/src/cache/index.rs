//! What is in a cache, in memory: where the records of an oid stand.

use std::collections::BTreeMap;

use zeo_proto::{Oid, Tid};

use super::format::Head;
use super::place::Place;
use super::recent::Recent;
use super::table::Table;

/// The records of a cache.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Current records: at most one of each oid.
    pub current: Table,
    /// The others by their start tids: few in most caches.
    pub noncurrent: BTreeMap<(Oid, Tid), Place>,
    /// Some of the current records, as they stand in the file.
    pub recent: Recent,
}

impl Index {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.current.len() + self.noncurrent.len()
    }

    /// The noncurrent record that was the last to begin before a tid, and its start.
    pub fn last_before(&self, oid: Oid, before: Tid) -> Option<(Tid, Place)> {
        let mut older = self.noncurrent.range((oid, Tid::ZERO)..(oid, before));
        older
            .next_back()
            .map(|(&(_, start), &place)| (start, place))
    }

    /// The start of the youngest noncurrent record.
    pub fn newest_noncurrent(&self, oid: Oid) -> Option<Tid> {
        let mut all = self.noncurrent.range((oid, Tid::ZERO)..=(oid, Tid::MAX));
        all.next_back().map(|(&(_, start), _)| start)
    }

    /// Adds a record. A noncurrent one takes the place of one with the same start, which is
    /// returned.
    pub fn insert(&mut self, head: &Head, offset: u64) -> Option<Place> {
        let place = Place::new(offset, head.size());
        match head.end {
            Some(_) => self.noncurrent.insert((head.oid, head.start), place),
            None => {
                self.current.insert(head.oid, place);
                None
            }
        }
    }

    /// Removes the record that stands at an offset, if it is known.
    pub fn remove(&mut self, head: &Head, offset: u64) -> bool {
        if head.end.is_none() {
            let is_known = self.current.remove(head.oid, offset);
            if is_known {
                self.recent.remove(head.oid);
            }
            return is_known;
        }
        let key = (head.oid, head.start);
        let is_known = self
            .noncurrent
            .get(&key)
            .is_some_and(|place| place.offset() == offset);
        if is_known {
            self.noncurrent.remove(&key);
        }
        is_known
    }

    /// Whether there may be a record of an object that is current now, or was just before a tid;
    /// without a look at the file.
    pub fn may_hold(&self, oid: Oid, before: Tid) -> bool {
        self.current.find(oid).next().is_some() || self.last_before(oid, before).is_some()
    }

    /// Whether the record that stands at an offset is known.
    pub fn knows(&self, head: &Head, offset: u64) -> bool {
        match head.end {
            None => self
                .current
                .find(head.oid)
                .any(|place| place.offset() == offset),
            Some(_) => {
                let place = self.noncurrent.get(&(head.oid, head.start));
                place.is_some_and(|place| place.offset() == offset)
            }
        }
    }
}
