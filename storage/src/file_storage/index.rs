//! Where the current record of each object stands: oid to file position,
//! read without a lock while one thread writes.
//!
//! A radix tree of pages of 64 pointers, and leaves of 256 positions (see
//! `leaf`). Oids are given out in sequence, so leaves are full and an object
//! costs little more than 4 bytes in a file of up to 4 GiB, and 5 in one of up
//! to 1 TiB. Trees of each height stand side by side (an oid belongs to the
//! lowest that can hold it), so that nothing ever moves, no reader needs a
//! lock, and a huge oid costs only its own path.

mod leaf;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use zeo_proto::Oid;

use self::leaf::{LEAF_BITS, Leaf};

const BITS: u32 = 6;
const FANOUT: usize = 1 << BITS;
/// Heights needed for 64 bits: a leaf and the levels above it.
const HEIGHTS: usize = 1 + (u64::BITS - LEAF_BITS).div_ceil(BITS) as usize;

/// One more than the largest position that an index holds. No file is that
/// long: see [`END_MAX`](super::format::END_MAX).
pub const POSITION_END: u64 = leaf::POSITION_END;

/// The index. Entries are added and moved, and never removed; position 0 is
/// no entry.
#[derive(Debug, Default)]
pub struct Index {
    /// `trees[h]` holds the oids that do not fit into the trees before it,
    /// and into `8 + 6 * h` bits.
    trees: [OnceLock<Node>; HEIGHTS],
    len: AtomicU64,
}

#[derive(Debug)]
enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<[OnceLock<Node>; FANOUT]>),
}

impl Node {
    /// A node for positions like this one.
    fn new(height: usize, position: u64) -> Self {
        match height {
            0 => Node::Leaf(Box::new(Leaf::new(position))),
            _ => Node::Inner(Box::new([const { OnceLock::new() }; FANOUT])),
        }
    }
}

/// How far the bits of a node of this height, not a leaf, stand to the left.
fn shift(height: usize) -> u32 {
    LEAF_BITS + BITS * (height.saturating_sub(1) as u32)
}

/// The slot of `number` in a node of this height, not a leaf.
fn slot(number: u64, height: usize) -> usize {
    (number >> shift(height)) as usize % FANOUT
}

/// The word of `number` in its leaf.
fn word(number: u64) -> usize {
    number as usize % (1 << LEAF_BITS)
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
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let position = leaf.get(word(number));
                    return (position != 0).then_some(position);
                }
                Node::Inner(children) => node = children[slot(number, height)].get()?,
            }
            height -= 1;
        }
    }

    /// Sets the position of an object: not 0, and below [`POSITION_END`]. One
    /// writer at a time. Beside readers, no object may get a position again
    /// that it had before another one; in a file they only grow.
    pub fn set(&self, oid: Oid, position: u64) {
        let number = oid.as_u64();
        let mut height = height_of(number);
        let mut node = self.trees[height].get_or_init(|| Node::new(height, position));
        loop {
            match node {
                Node::Leaf(leaf) => {
                    if leaf.set(word(number), position) {
                        self.len.fetch_add(1, Ordering::AcqRel);
                    }
                    return;
                }
                Node::Inner(children) => {
                    let child = &children[slot(number, height)];
                    height -= 1;
                    node = child.get_or_init(|| Node::new(height, position));
                }
            }
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
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
            first_from(self.trees[height].get()?, height, from)
        })
    }

    /// The largest oid there is.
    pub fn max_oid(&self) -> Option<Oid> {
        (0..HEIGHTS)
            .rev()
            .find_map(|height| last_in(self.trees[height].get()?, height))
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

/// The first entry of the subtree whose number is at least `from` in the
/// bits that the subtree covers.
fn first_from(node: &Node, height: usize, from: u64) -> Option<(Oid, u64)> {
    match node {
        Node::Leaf(leaf) => {
            let (number, position) = leaf.next_from(word(from))?;
            Some((Oid::new(number as u64), position))
        }
        Node::Inner(children) => children
            .iter()
            .enumerate()
            .skip(slot(from, height))
            .find_map(|(i, child)| {
                let from = if i == slot(from, height) { from } else { 0 };
                let (oid, position) = first_from(child.get()?, height - 1, from)?;
                let above = (i as u64) << shift(height);
                Some((Oid::new(above | oid.as_u64()), position))
            }),
    }
}

fn last_in(node: &Node, height: usize) -> Option<Oid> {
    match node {
        Node::Leaf(leaf) => leaf.last().map(|number| Oid::new(number as u64)),
        Node::Inner(children) => children.iter().enumerate().rev().find_map(|(i, child)| {
            let oid = last_in(child.get()?, height - 1)?;
            let above = (i as u64) << shift(height);
            Some(Oid::new(above | oid.as_u64()))
        }),
    }
}
