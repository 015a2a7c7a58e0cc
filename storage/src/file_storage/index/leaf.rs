//! The positions of 256 neighbouring objects, 4 bytes each.
//!
//! Most objects are written together with their neighbours and seldom again,
//! so their positions lie near each other. A word holds how far behind the
//! leaf's base the record stands; or, for a record that is too far away for
//! that, the number of a slot with the whole position. An object that has a
//! slot keeps it.
//!
//! ```text
//! word    0                 no entry
//!         1..2^31           the position is base + word - 1
//!         2^31 + number     the position is in that slot (0: no entry)
//! ```

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many bits of an oid tell the word in a leaf.
pub(super) const LEAF_BITS: u32 = 8;
const WORDS: usize = 1 << LEAF_BITS;
/// Slots come in three parts, each made when those before it are full: an
/// object far from the others costs little, and none is many steps away.
const FEW: usize = 16;
const MORE: usize = 64;
/// The word holds the number of a slot.
const FAR: u32 = 1 << 31;
/// So far before the first position that comes in lies the base: an index is
/// loaded in the order of oids, so others may stand before it.
const BEFORE: u64 = 1 << 29;

#[derive(Debug)]
pub(super) struct Leaf {
    base: u64,
    words: [AtomicU32; WORDS],
    /// How many slots are taken. Only the writer looks at it.
    taken: AtomicU32,
    slots: OnceLock<Box<Slots>>,
}

/// Whole positions.
#[derive(Debug)]
struct Slots {
    few: [AtomicU64; FEW],
    more: OnceLock<Box<[AtomicU64; MORE - FEW]>>,
    all: OnceLock<Box<[AtomicU64; WORDS - MORE]>>,
}

fn empty<const COUNT: usize>() -> [AtomicU64; COUNT] {
    [const { AtomicU64::new(0) }; COUNT]
}

impl Leaf {
    /// An empty leaf for positions like this one.
    pub fn new(position: u64) -> Self {
        Self {
            base: position.saturating_sub(BEFORE),
            words: [const { AtomicU32::new(0) }; WORDS],
            taken: AtomicU32::new(0),
            slots: OnceLock::new(),
        }
    }

    /// The position of the object whose oid ends in these bits; 0 when there
    /// is none.
    pub fn get(&self, number: usize) -> u64 {
        let word = self.words[number % WORDS].load(Ordering::Acquire);
        match word & FAR {
            0 if word == 0 => 0,
            0 => self.base + u64::from(word - 1),
            _ => self.slot(word & !FAR).load(Ordering::Acquire),
        }
    }

    /// Sets a position (not 0). One writer at a time. True when there was
    /// none.
    pub fn set(&self, number: usize, position: u64) -> bool {
        let place = &self.words[number % WORDS];
        let word = place.load(Ordering::Acquire);
        if word & FAR != 0 {
            self.slot(word & !FAR).store(position, Ordering::Release);
            return false;
        }
        let new = self.near(position).unwrap_or_else(|| self.take(position));
        place.store(new, Ordering::Release);
        word == 0
    }

    /// The first object at or behind this one that has an entry.
    pub fn next_from(&self, first: usize) -> Option<(usize, u64)> {
        (first..WORDS)
            .map(|number| (number, self.get(number)))
            .find(|&(_, position)| position != 0)
    }

    /// The last object that has an entry.
    pub fn last(&self) -> Option<usize> {
        (0..WORDS).rev().find(|&number| self.get(number) != 0)
    }

    fn near(&self, position: u64) -> Option<u32> {
        let word = u32::try_from(position.checked_sub(self.base)?.checked_add(1)?).ok()?;
        (word < FAR).then_some(word)
    }

    /// Puts a position into a new slot; gives the word that leads to it.
    fn take(&self, position: u64) -> u32 {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        self.slot(number).store(position, Ordering::Release);
        FAR | number
    }

    fn slot(&self, number: u32) -> &AtomicU64 {
        let slots = self.slots.get_or_init(|| {
            Box::new(Slots {
                few: empty(),
                more: OnceLock::new(),
                all: OnceLock::new(),
            })
        });
        match number as usize {
            number if number < FEW => &slots.few[number],
            number if number < MORE => &slots.more.get_or_init(|| Box::new(empty()))[number - FEW],
            number => &slots.all.get_or_init(|| Box::new(empty()))[number - MORE],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        const FIRST: u64 = 70 << 30;
        let edge = FIRST - BEFORE + u64::from(FAR);
        let positions = [
            FIRST,
            FIRST + 1,
            FIRST - BEFORE,
            FIRST - BEFORE - 1,
            edge - 2,
            edge - 1,
            4,
            u64::MAX,
        ];
        let leaf = Leaf::new(FIRST);
        let mut model = [0; WORDS];
        for round in 0..5 * WORDS {
            let (number, position) = (round * 7 % WORDS, positions[(round + round / WORDS) % 8]);
            assert_eq!(leaf.set(number, position), model[number] == 0);
            model[number] = position;
            assert_eq!(leaf.get(number), position);
        }
        let found: Vec<u64> = (0..WORDS).map(|number| leaf.get(number)).collect();
        assert_eq!(found, model);
        let taken = leaf.taken.load(Ordering::Relaxed);
        assert_eq!(taken, WORDS as u32, "one slot an object");
    }

    #[test]
    fn neighbours_need_no_slots() {
        for first in [4, 1 << 29, 1 << 40] {
            let leaf = Leaf::new(first);
            for number in 0..WORDS {
                leaf.set(number, first + 1000 * number as u64);
            }
            assert!(leaf.slots.get().is_none());
        }
        assert_eq!(Leaf::new(4).next_from(0), None);
        assert_eq!(Leaf::new(4).last(), None);
    }
}
