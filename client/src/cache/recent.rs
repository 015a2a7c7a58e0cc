//! Records that were read lately, in memory, so that the file is not asked for them again.
//!
//! A record comes here when it is wanted for the second time, having come from the server counted:
//! a program that reads all objects once takes no memory for that.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use zeo_proto::{Oid, Tid};

/// How many bytes of records are kept at most.
const MOST: usize = 16 << 20;
/// A larger record would take the place of too many others.
const LARGEST: usize = MOST / 64;
/// What a record takes besides its data, about.
const OVERHEAD: usize = 100;

/// Current records, each as it stands in the file. Those used least recently go first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    records: HashMap<Oid, Copy, RandomState>,
    bytes: usize,
    clock: u64,
    wanted: Wanted,
}

/// Which objects were wanted lately, by their hashes: now and then one that was not is taken for one
/// that was.
#[derive(Debug, Default)]
struct Wanted {
    /// A bit for each hash; none at first.
    bits: Vec<u64>,
    /// How many are set.
    count: usize,
}

/// How many hashes there are, and how many of them are noted before all are forgotten.
const HASHES: usize = 1 << 19;
const NOTED: usize = HASHES / 8;

/// A record, and where in the file it stands.
#[derive(Debug)]
pub(super) struct Copy {
    pub offset: u64,
    /// The transaction that wrote it.
    pub start: Tid,
    pub data: Box<[u8]>,
    used: u64,
}

impl Recent {
    /// The record of an object.
    pub fn get(&mut self, oid: Oid) -> Option<&Copy> {
        let copy = self.records.get_mut(&oid)?;
        self.clock += 1;
        copy.used = self.clock;
        Some(copy)
    }

    /// Notes that an object was wanted; whether it was noted before.
    pub fn note(&mut self, oid: Oid) -> bool {
        let hash = self.records.hasher().hash_one(oid) as usize % HASHES;
        self.wanted.note(hash)
    }

    /// Adds a record that was read, unless it is very large, or wanted for the first time.
    pub fn insert(&mut self, oid: Oid, offset: u64, start: Tid, data: &[u8]) {
        self.remove(oid);
        if data.len() > LARGEST || !self.note(oid) {
            return;
        }
        self.clock += 1;
        self.bytes += data.len() + OVERHEAD;
        let copy = Copy {
            offset,
            start,
            data: data.into(),
            used: self.clock,
        };
        self.records.insert(oid, copy);
        if self.bytes > MOST {
            self.shrink();
        }
    }

    pub fn remove(&mut self, oid: Oid) {
        if let Some(copy) = self.records.remove(&oid) {
            self.bytes -= copy.data.len() + OVERHEAD;
        }
    }

    /// Lets a quarter go, so that this is seldom done.
    fn shrink(&mut self) {
        let mut used: Vec<u64> = self.records.values().map(|copy| copy.used).collect();
        let quarter = used.len() / 4;
        let (_, &mut last, _) = used.select_nth_unstable(quarter);
        self.records.retain(|_, copy| copy.used > last);
        let kept = self.records.values().map(|copy| copy.data.len() + OVERHEAD);
        self.bytes = kept.sum();
    }
}

impl Wanted {
    fn note(&mut self, hash: usize) -> bool {
        if self.bits.is_empty() || self.count >= NOTED {
            self.bits = vec![0; HASHES / 64];
            self.count = 0;
        }
        let Some(bits) = self.bits.get_mut(hash / 64) else {
            return false;
        };
        let bit = 1 << (hash % 64);
        let was_noted = *bits & bit != 0;
        *bits |= bit;
        self.count += usize::from(!was_noted);
        was_noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_used_last_and_no_more_than_it_may() {
        let mut recent = Recent::default();
        let sum = |recent: &Recent| {
            let sizes = recent
                .records
                .values()
                .map(|copy| copy.data.len() + OVERHEAD);
            sizes.sum::<usize>()
        };
        for oid in 0..40_000 {
            recent.note(Oid::new(oid));
            recent.insert(Oid::new(oid), oid, Tid::new(1), &[oid as u8; 900]);
            assert_eq!(recent.get(Oid::new(0)).map(|copy| copy.offset), Some(0));
            assert!(recent.bytes <= MOST);
        }
        assert_eq!(sum(&recent), recent.bytes);
        assert!(recent.bytes > MOST / 2);
        let last = recent.get(Oid::new(39_999)).unwrap();
        assert_eq!((&*last.data, last.start), (&[63; 900][..], Tid::new(1)));
        assert!(recent.get(Oid::new(1)).is_none());
        // Another one of the same object, and one that is too large.
        recent.insert(Oid::new(0), 5, Tid::new(2), b"x");
        assert_eq!(recent.get(Oid::new(0)).unwrap().offset, 5);
        recent.insert(Oid::new(0), 6, Tid::new(3), &vec![0; LARGEST + 1]);
        assert!(recent.get(Oid::new(0)).is_none());
        // Wanted for the first time.
        recent.insert(Oid::new(1 << 40), 7, Tid::new(3), b"x");
        let once = (0..10_u64).filter(|oid| {
            let oid = Oid::new((1 << 40) + oid);
            recent.insert(oid, 7, Tid::new(3), b"x");
            recent.get(oid).is_some()
        });
        assert!(once.count() < 9);
        (0..11).for_each(|oid| recent.remove(Oid::new((1 << 40) + oid)));
        (0..40_000).for_each(|oid| recent.remove(Oid::new(oid)));
        assert_eq!((recent.bytes, recent.records.len()), (0, 0));
    }
}
