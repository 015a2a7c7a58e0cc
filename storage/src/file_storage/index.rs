//! Where the current record of each object stands: oid to file position,
//! read without a lock while one thread writes.
//!
//! A radix tree of pages of 64 atomic words. Oids are given out in sequence,
//! so pages are full and an object costs little more than 8 bytes. Trees of
//! each height stand side by side (an oid belongs to the lowest that can
//! hold it), so that nothing ever moves, no reader needs a lock, and a huge
//! oid costs only its own path.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use zeo_proto::Oid;

const BITS: u32 = 6;
const FANOUT: usize = 1 << BITS;
/// Heights needed for 64 bits: a leaf and ten levels above it.
const HEIGHTS: usize = 64_usize.div_ceil(BITS as usize);

/// The index. Entries are added and moved, and removed only where a pack
/// makes a new index; position 0 is no entry.
#[derive(Debug, Default)]
pub struct Index {
    /// `trees[h]` holds the oids of more than `6 * h` and at most
    /// `6 * (h + 1)` bits (`trees[0]`: also oid 0).
    trees: [OnceLock<Node>; HEIGHTS],
    len: AtomicU64,
}

#[derive(Debug)]
enum Node {
    Leaf(Box<[AtomicU64; FANOUT]>),
    Inner(Box<[OnceLock<Node>; FANOUT]>),
}

impl Node {
    fn new(height: usize) -> Self {
        match height {
            0 => Node::Leaf(Box::new([const { AtomicU64::new(0) }; FANOUT])),
            _ => Node::Inner(Box::new([const { OnceLock::new() }; FANOUT])),
        }
    }
}

/// The slot of `number` in a node of this height.
fn slot(number: u64, height: usize) -> usize {
    (number >> (BITS * height as u32)) as usize % FANOUT
}

fn height_of(number: u64) -> usize {
    let bits = u64::BITS - number.leading_zeros();
    (bits.saturating_sub(1) / BITS) as usize
}

impl Index {
    /// The position of the object's current record.
    pub fn get(&self, oid: Oid) -> Option<u64> {
        let number = oid.as_u64();
        let mut height = height_of(number);
        let mut node = self.trees[height].get()?;
        loop {
            match node {
                Node::Leaf(words) => {
                    let position = words[slot(number, 0)].load(Ordering::Acquire);
                    return (position != 0).then_some(position);
                }
                Node::Inner(children) => node = children[slot(number, height)].get()?,
            }
            height -= 1;
        }
    }

    /// Sets the position (not 0) of an object. One writer at a time.
    pub fn set(&self, oid: Oid, position: u64) {
        let number = oid.as_u64();
        let mut height = height_of(number);
        let mut node = self.trees[height].get_or_init(|| Node::new(height));
        loop {
            match node {
                Node::Leaf(words) => {
                    if words[slot(number, 0)].swap(position, Ordering::AcqRel) == 0 {
                        self.len.fetch_add(1, Ordering::AcqRel);
                    }
                    return;
                }
                Node::Inner(children) => {
                    let child = &children[slot(number, height)];
                    height -= 1;
                    node = child.get_or_init(|| Node::new(height));
                }
            }
        }
    }

    /// Takes an object out.
    pub(crate) fn remove(&mut self, oid: Oid) {
        if self.get(oid).is_some() {
            self.set(oid, 0);
            *self.len.get_mut() -= 1;
        }
    }

    /// Puts what `change` makes of it in the place of every position; 0 takes
    /// the object out.
    pub(crate) fn change_all(&mut self, change: impl Fn(u64) -> u64) {
        let trees = self.trees.iter_mut();
        let left = trees.map(|tree| change_in(tree, &change)).sum();
        *self.len.get_mut() = left;
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
    let first = slot(from, height);
    match node {
        Node::Leaf(words) => words.iter().enumerate().skip(first).find_map(|(i, word)| {
            let position = word.load(Ordering::Acquire);
            (position != 0).then(|| (Oid::new(i as u64), position))
        }),
        Node::Inner(children) => children
            .iter()
            .enumerate()
            .skip(first)
            .find_map(|(i, child)| {
                let from = if i == first { from } else { 0 };
                let (oid, position) = first_from(child.get()?, height - 1, from)?;
                Some((
                    Oid::new((i as u64) << (BITS * height as u32) | oid.as_u64()),
                    position,
                ))
            }),
    }
}

/// Changes the positions of a subtree, and frees it if none is left. Gives
/// how many are.
fn change_in(slot: &mut OnceLock<Node>, change: &impl Fn(u64) -> u64) -> u64 {
    let left = match slot.get_mut() {
        None => 0,
        Some(Node::Leaf(words)) => {
            let mut left = 0;
            for word in words.iter_mut().map(AtomicU64::get_mut) {
                if *word != 0 {
                    *word = change(*word);
                }
                left += u64::from(*word != 0);
            }
            left
        }
        Some(Node::Inner(children)) => {
            let children = children.iter_mut();
            children.map(|child| change_in(child, change)).sum()
        }
    };
    if left == 0 {
        slot.take();
    }
    left
}

fn last_in(node: &Node, height: usize) -> Option<Oid> {
    match node {
        Node::Leaf(words) => words
            .iter()
            .rposition(|word| word.load(Ordering::Acquire) != 0)
            .map(|i| Oid::new(i as u64)),
        Node::Inner(children) => children.iter().enumerate().rev().find_map(|(i, child)| {
            let oid = last_in(child.get()?, height - 1)?;
            Some(Oid::new(
                (i as u64) << (BITS * height as u32) | oid.as_u64(),
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Numbers around every boundary of the tree, and a few at random.
    fn numbers() -> Vec<u64> {
        let mut numbers = vec![0, 1, 63, 64, 65, u64::MAX, u64::MAX - 1];
        for bit in 0..64 {
            let power = 1_u64 << bit;
            numbers.extend([power - 1, power, power + 1]);
        }
        let mut state = 1_u64;
        for _ in 0..500 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            numbers.extend([state, state >> 40]);
        }
        numbers
    }

    #[test]
    fn agrees_with_a_map() {
        let index = Index::default();
        let mut model = BTreeMap::new();
        for (i, &number) in numbers().iter().enumerate() {
            index.set(Oid::new(number), i as u64 + 4);
            model.insert(Oid::new(number), i as u64 + 4);
        }
        assert_eq!(index.len(), model.len() as u64);
        assert_eq!(index.max_oid(), Some(Oid::MAX));
        assert!(
            index
                .iter()
                .eq(model.iter().map(|(&oid, &position)| (oid, position)))
        );
        for number in numbers() {
            for probe in [number.saturating_sub(1), number, number.saturating_add(1)] {
                let oid = Oid::new(probe);
                assert_eq!(index.get(oid), model.get(&oid).copied());
                let next = model
                    .range(oid..)
                    .next()
                    .map(|(&oid, &position)| (oid, position));
                assert_eq!(index.next_from(oid), next, "from {probe:#x}");
            }
        }
    }

    #[test]
    fn changed_and_removed() {
        let mut index = Index::default();
        let mut numbers = numbers();
        numbers.sort_unstable();
        numbers.dedup();
        for &number in &numbers {
            index.set(Oid::new(number), 10 + number % 3);
        }
        index.change_all(|position| if position == 10 { 0 } else { position * 2 });
        let left = |number: u64| !number.is_multiple_of(3);
        let expected: Vec<_> = numbers.iter().copied().filter(|&n| left(n)).collect();
        assert_eq!(index.len(), expected.len() as u64);
        for number in numbers {
            let position = left(number).then_some(2 * (10 + number % 3));
            assert_eq!(index.get(Oid::new(number)), position);
        }
        for &number in &expected {
            index.remove(Oid::new(number));
            index.remove(Oid::new(number));
        }
        assert!(index.is_empty() && index.iter().next().is_none());
    }

    #[test]
    fn empty() {
        let index = Index::default();
        assert!(index.is_empty());
        assert_eq!(index.get(Oid::ZERO), None);
        assert_eq!(index.max_oid(), None);
        assert_eq!(index.next_from(Oid::ZERO), None);
    }
}
