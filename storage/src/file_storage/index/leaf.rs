//! The positions of 512 neighbouring objects.
//!
//! ```text
//! 4 bytes an object     the lower half of its position; the upper half is one
//!                       for all, as in any file of up to 4 GiB
//! 1 byte more           as soon as upper halves differ: bits 32 to 39
//! 2 bytes more          as soon as one of them needs it: bits 40 to 54
//! ```
//!
//! Nothing that readers see is ever taken away, so they need no lock, and a
//! leaf has no garbage. Parts of one position are kept from being seen with
//! those of another by [`Upper::last`].

use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// How many bits of an oid tell the place in a leaf.
pub(super) const LEAF_BITS: u32 = 9;
const SIZE: usize = 1 << LEAF_BITS;
/// One more than the largest position: one and a number fill a word.
pub(super) const POSITION_END: u64 = 1 << (u64::BITS - LEAF_BITS);

#[derive(Debug)]
pub(super) struct Leaf {
    /// The lower halves of the positions. While there are no upper ones, 0 is
    /// no entry, and `base` is the upper half of all.
    lower: [AtomicU32; SIZE],
    base: u32,
    upper: OnceLock<Box<Upper>>,
}

/// The upper halves of positions; 0 where there is no entry.
#[derive(Debug)]
struct Upper {
    /// The position that was set last (in the upper 55 bits) and the number of
    /// its object. The writer changes this before the parts.
    ///
    /// So a reader who finds the same here before it reads the parts and after
    /// that has no part of a later position. It has all of this one, unless it
    /// is the one that the writer is at; but that stands here in whole. (What
    /// stands here can't have changed there and back: no object gets a
    /// position twice.)
    last: AtomicU64,
    /// Bits 32 to 39 of the positions.
    bytes: [AtomicU8; SIZE],
    /// The bits above those, once there are some.
    rest: OnceLock<Box<[AtomicU16; SIZE]>>,
}

impl Leaf {
    /// An empty leaf for positions like this one.
    pub fn new(position: u64) -> Self {
        Self {
            lower: [const { AtomicU32::new(0) }; SIZE],
            base: (position >> u32::BITS) as u32,
            upper: OnceLock::new(),
        }
    }

    /// The position of the object whose oid ends in these bits; 0 when there
    /// is none.
    pub fn get(&self, number: usize) -> u64 {
        let number = number % SIZE;
        // First: if it is one for which the upper halves were made, they are
        // seen after that.
        let lower = self.lower[number].load(Acquire);
        match self.upper.get() {
            None if lower == 0 => 0,
            None => join(self.base, lower),
            Some(upper) => upper.get(number, &self.lower[number]),
        }
    }

    /// Sets a position: not 0, and below [`POSITION_END`]. One writer at a
    /// time; beside readers, no object gets a position again that it had
    /// before another one. True when there was none.
    pub fn set(&self, number: usize, position: u64) -> bool {
        let number = number % SIZE;
        let old = self.get(number);
        if old == position {
            return false;
        }
        let (high, low) = ((position >> u32::BITS) as u32, position as u32);
        let is_alike = high == self.base && low != 0;
        if !is_alike || self.upper.get().is_some() {
            let last = (position << LEAF_BITS) | number as u64;
            let upper = self
                .upper
                .get_or_init(|| Box::new(Upper::new(&self.lower, self.base, last)));
            upper.last.store(last, Release);
            upper.set(number, high);
        }
        self.lower[number].store(low, Release);
        old == 0
    }

    /// How much memory it takes beside itself, in bytes.
    pub fn memory(&self) -> usize {
        let Some(upper) = self.upper.get() else {
            return 0;
        };
        let rest = upper.rest.get().map_or(0, |rest| size_of_val(&**rest));
        size_of_val(&**upper) + rest
    }

    /// The first object at or behind this one that has an entry.
    pub fn next_from(&self, first: usize) -> Option<(usize, u64)> {
        (first..SIZE)
            .map(|number| (number, self.get(number)))
            .find(|&(_, position)| position != 0)
    }

    /// The last object that has an entry.
    pub fn last(&self) -> Option<usize> {
        (0..SIZE).rev().find(|&number| self.get(number) != 0)
    }
}

impl Upper {
    /// The same upper half for all that have a lower one.
    fn new(lower: &[AtomicU32; SIZE], base: u32, last: u64) -> Self {
        let upper = Self {
            last: AtomicU64::new(last),
            bytes: [const { AtomicU8::new(0) }; SIZE],
            rest: OnceLock::new(),
        };
        for (number, lower) in lower.iter().enumerate() {
            if lower.load(Acquire) != 0 {
                upper.set(number, base);
            }
        }
        upper
    }

    /// The position whose lower half stands there. Tries again only when
    /// another one was set meanwhile.
    fn get(&self, number: usize, lower: &AtomicU32) -> u64 {
        loop {
            let last = self.last.load(Acquire);
            if last as usize % SIZE == number {
                return last >> LEAF_BITS;
            }
            let rest = self.rest.get().map_or(0, |rest| rest[number].load(Acquire));
            let high = u32::from(rest) << u8::BITS | u32::from(self.bytes[number].load(Acquire));
            let position = join(high, lower.load(Acquire));
            if self.last.load(Acquire) == last {
                return position;
            }
        }
    }

    fn set(&self, number: usize, high: u32) {
        let rest = (high >> u8::BITS) as u16;
        if rest != 0 || self.rest.get().is_some() {
            let all = self
                .rest
                .get_or_init(|| Box::new([const { AtomicU16::new(0) }; SIZE]));
            all[number].store(rest, Release);
        }
        self.bytes[number].store(high as u8, Release);
    }
}

fn join(high: u32, low: u32) -> u64 {
    u64::from(high) << u32::BITS | u64::from(low)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    /// Positions at every edge, and others.
    fn positions() -> Vec<u64> {
        let mut positions = vec![1, 4, 1000];
        for bits in [31, 32, 33, 39, 40, 41, 48, 54] {
            let edge = 1_u64 << bits;
            positions.extend([edge - 1, edge, edge + 1, edge + (1 << 31)]);
        }
        positions.push(POSITION_END - 1);
        positions
    }

    #[test]
    fn near_and_far() {
        let positions = positions();
        for &first in &positions {
            let leaf = Leaf::new(first);
            let mut model = [0; SIZE];
            for round in 0..5 * SIZE {
                let position = match round {
                    0 => first,
                    _ => positions[(round + round / SIZE) % positions.len()],
                };
                let number = round * 7 % SIZE;
                assert_eq!(leaf.set(number, position), model[number] == 0);
                model[number] = position;
                assert_eq!(leaf.get(number), position);
                assert_eq!(leaf.get(0), model[0], "set {position:#x} of {number}");
            }
            let found: Vec<u64> = (0..SIZE).map(|number| leaf.get(number)).collect();
            assert_eq!(found, model);
        }
    }

    #[test]
    fn size() {
        let filled = |first: u64, step: u64| {
            let leaf = Leaf::new(first);
            for number in 0..SIZE as u64 {
                leaf.set(number as usize, first + step * number);
            }
            leaf
        };
        let upper = |leaf: &Leaf| leaf.upper.get().map(|upper| upper.rest.get().is_some());
        assert_eq!(upper(&filled(4, 1000)), None);
        assert_eq!(upper(&filled(4, (1 << 23) - 1)), None);
        assert_eq!(upper(&filled((7 << 40) + 1, 1000)), None);
        assert_eq!(upper(&filled(4, 1 << 25)), Some(false));
        assert_eq!(upper(&filled(1 << 32, 1)), Some(false));
        assert_eq!(upper(&filled(4, 1 << 31)), Some(false));
        assert_eq!(upper(&filled(4, 1 << 32 | 1 << 25)), Some(true));
        assert_eq!(Leaf::new(4).next_from(0), None);
        assert_eq!(Leaf::new(4).last(), None);
        let bytes = |count| size_of::<Leaf>() + count;
        assert!(bytes(size_of::<Upper>()) <= 5 * SIZE + 64);
    }

    /// The upper half tells the lower one, so a position that was put together
    /// of two shows. Each round begins without upper halves.
    #[test]
    fn readers_see_no_halves() {
        const ROUNDS: u64 = 100;
        const LAST: u64 = 1 << 12;
        const OBJECTS: u64 = 3;
        let position = |time: u64| (time >> 3) << 32 | time;
        for _ in 0..ROUNDS {
            let leaf = Leaf::new(1);
            let (started, ended) = (AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !started.load(Acquire) {
                        thread::yield_now();
                    }
                    for time in 1..=LAST {
                        leaf.set((time % OBJECTS) as usize, position(time));
                        if let before @ 1.. = time - 1 {
                            leaf.set((before % OBJECTS) as usize, position(before));
                        }
                    }
                    ended.store(true, Release);
                });
                let mut seen = [0; OBJECTS as usize];
                while !ended.load(Acquire) {
                    for (number, seen) in seen.iter_mut().enumerate() {
                        let found = leaf.get(number);
                        assert_eq!(found, position(found % (1 << 32)), "{found:#x}");
                        assert!(found >= *seen, "{found:#x} after {seen:#x}");
                        *seen = found;
                    }
                    started.store(true, Release);
                }
            });
            assert_eq!(leaf.get((LAST % OBJECTS) as usize), position(LAST));
        }
    }
}
