//! Where the current record of each object stands: oid to file position,
//! read without a lock while one thread writes.
//!
//! A tree of leaves of 512 positions (see `leaf`). A leaf stands in the tree
//! where its oids lead, 6 bits a level, at the first place that is free; so
//! nothing ever moves, no reader needs a lock, and a huge oid costs no more than
//! its leaf. Trees of each height stand side by side: an oid belongs to the
//! lowest that can hold it.
//!
//! Oids are given out in sequence, so leaves are full, and an object costs
//! little more than 4 bytes in a file of up to 4 GiB, and 5 in one of up to
//! 1 TiB. An oid alone costs 2 to 3 KiB.

pub(crate) mod file;
mod leaf;
mod pickle;
#[cfg(test)]
mod tests;

use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use zeo_proto::Oid;

use self::leaf::{LEAF_BITS, Leaf};

const BITS: u32 = 6;
const FANOUT: usize = 1 << BITS;
/// Heights needed for 64 bits: a leaf and the levels above it.
const HEIGHTS: usize = 1 + (u64::BITS - LEAF_BITS).div_ceil(BITS) as usize;

/// One more than the largest position that an index holds. No file is that
/// long: see [`END_MAX`](crate::file_storage::format::END_MAX).
pub const POSITION_END: u64 = leaf::POSITION_END;

/// The index. Entries are added and moved, and never removed; position 0 is
/// no entry.
#[derive(Debug, Default)]
pub struct Index {
    /// `trees[h]` holds the oids that do not fit into the trees before it,
    /// and into `9 + 6 * h` bits.
    trees: [OnceLock<Box<Node>>; HEIGHTS],
    len: AtomicU64,
    /// Its size in memory, in bytes.
    memory: AtomicU64,
}

/// A leaf, and the tree below it. In a node of height 0 there is no other.
#[derive(Debug)]
struct Node {
    /// The oids of the leaf without their last bits.
    prefix: u64,
    leaf: Leaf,
    /// For each 6 bits that may follow those that all oids here begin with.
    children: OnceLock<Box<Children>>,
}

type Children = [OnceLock<Box<Node>>; FANOUT];

/// The child for `number` in a node of this height, which is not 0.
fn slot(number: u64, height: usize) -> usize {
    let shift = LEAF_BITS + BITS * (height.saturating_sub(1) as u32);
    (number >> shift) as usize % FANOUT
}

/// The word of `number` in its leaf.
fn word(number: u64) -> usize {
    number as usize % (1 << LEAF_BITS)
}

fn prefix(number: u64) -> u64 {
    number >> LEAF_BITS
}

fn height_of(number: u64) -> usize {
    let bits = u64::BITS - number.leading_zeros();
    bits.saturating_sub(LEAF_BITS).div_ceil(BITS) as usize
}

impl Index {
    /// The position of the object's current record.
    pub fn get(&self, oid: Oid) -> Option<u64> {
        let number = oid.as_u64();
        let mut height = height_of(number);
        let mut node = self.trees[height].get()?;
        while node.prefix != prefix(number) {
            node = node.children.get()?[slot(number, height)].get()?;
            height -= 1;
        }
        let position = node.leaf.get(word(number));
        (position != 0).then_some(position)
    }

    /// Sets the position of an object: not 0, and below [`POSITION_END`]. One
    /// writer at a time. Beside readers, no object may get a position again
    /// that it had before another one; in a file they only grow.
    pub fn set(&self, oid: Oid, position: u64) {
        let number = oid.as_u64();
        let takes = |bytes: usize| self.memory.fetch_add(bytes as u64, Ordering::Relaxed);
        let new = || {
            takes(size_of::<Node>());
            Box::new(Node::new(number, position))
        };
        let mut height = height_of(number);
        let mut node = self.trees[height].get_or_init(new);
        while node.prefix != prefix(number) {
            let children = node.children.get_or_init(|| {
                takes(size_of::<Children>());
                Box::new([const { OnceLock::new() }; FANOUT])
            });
            node = children[slot(number, height)].get_or_init(new);
            height -= 1;
        }
        let before = node.leaf.memory();
        if node.leaf.set(word(number), position) {
            self.len.fetch_add(1, Ordering::AcqRel);
        }
        let more = node.leaf.memory() - before;
        if more > 0 {
            takes(more);
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Its size in memory, in bytes.
    pub fn memory(&self) -> u64 {
        size_of::<Self>() as u64 + self.memory.load(Ordering::Relaxed)
    }

    /// True when there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first object at or after `oid`, with its position.
    pub fn next_from(&self, oid: Oid) -> Option<(Oid, u64)> {
        let number = oid.as_u64();
        let own = height_of(number);
        (own..HEIGHTS).find_map(|height| {
            let from = if height == own { number } else { 0 };
            self.trees[height].get()?.next_from(from, height)
        })
    }

    /// The largest oid there is.
    pub fn max_oid(&self) -> Option<Oid> {
        let mut trees = self.trees.iter().rev();
        trees.find_map(|tree| tree.get()?.last()).map(Oid::new)
    }

    /// All objects with their positions, in the order of oids. Objects added
    /// meanwhile may be met or not.
    pub fn iter(&self) -> impl Iterator<Item = (Oid, u64)> + '_ {
        let mut next = Some(Oid::ZERO);
        std::iter::from_fn(move || {
            let found = self.next_from(next?)?;
            next = found.0.as_u64().checked_add(1).map(Oid::new);
            Some(found)
        })
    }
}

impl Node {
    /// A node with an empty leaf for this number, and positions like this one.
    fn new(number: u64, position: u64) -> Self {
        Self {
            prefix: prefix(number),
            leaf: Leaf::new(position),
            children: OnceLock::new(),
        }
    }

    /// The first object at or after `from`, which belongs to this tree or is 0.
    fn next_from(&self, from: u64, height: usize) -> Option<(Oid, u64)> {
        let in_leaf = match self.prefix.cmp(&prefix(from)) {
            Less => None,
            Equal => self.leaf.next_from(word(from)),
            Greater => self.leaf.next_from(0),
        };
        let in_leaf = in_leaf.map(|(word, position)| (Oid::new(self.number(word)), position));
        let below = self.children.get().and_then(|children| {
            let first = slot(from, height);
            let mut children = children.iter().enumerate().skip(first);
            children.find_map(|(i, child)| {
                let from = if i == first { from } else { 0 };
                child.get()?.next_from(from, height.saturating_sub(1))
            })
        });
        in_leaf.into_iter().chain(below).min()
    }

    /// The last object.
    fn last(&self) -> Option<u64> {
        let in_leaf = self.leaf.last().map(|word| self.number(word));
        let below = self.children.get().and_then(|children| {
            let mut children = children.iter().rev();
            children.find_map(|child| child.get()?.last())
        });
        in_leaf.max(below)
    }

    fn number(&self, word: usize) -> u64 {
        self.prefix << LEAF_BITS | word as u64
    }
}
