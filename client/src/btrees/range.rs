//! Iterators over the items of a tree.

use std::iter::FusedIterator;
use std::mem::take;
use std::ops::Range;

use super::error::Result;
use super::walk::Leaves;
use crate::record::Value;

/// The items of one leaf after the other.
struct Flat<'a, 't> {
    leaves: Leaves<'a, 't>,
    keys: Vec<Value>,
    values: Vec<Value>,
    /// Those that are still to come.
    left: Range<usize>,
    backwards: bool,
    done: bool,
}

impl Flat<'_, '_> {
    fn next(&mut self) -> Option<Result<(Value, Value)>> {
        loop {
            let at = if self.backwards {
                self.left.next_back()
            } else {
                self.left.next()
            };
            if let Some(at) = at {
                // Taken out of where it stands: through an `Option`, a value is copied in parts.
                return match (self.keys.get_mut(at), self.values.get_mut(at)) {
                    (Some(key), Some(value)) => Some(Ok((take(key), take(value)))),
                    (Some(key), None) => Some(Ok((take(key), Value::None))),
                    (None, _) => None,
                };
            }
            if self.done {
                return None;
            }
            self.leaves
                .take_back(take(&mut self.keys), take(&mut self.values));
            match self.leaves.next() {
                Ok(Some(leaf)) => {
                    self.left = 0..leaf.keys.len();
                    (self.keys, self.values) = (leaf.keys, leaf.values);
                }
                end => {
                    self.done = true;
                    return end.err().map(Err);
                }
            }
        }
    }
}

/// The items of a tree ([`Tree::iter`](super::Tree::iter), [`Tree::range`](super::Tree::range)).
/// After an error it ends.
pub struct Items<'a, 't>(Flat<'a, 't>);

/// The keys of a tree ([`Tree::keys`](super::Tree::keys)). After an error it ends.
pub struct Keys<'a, 't>(Flat<'a, 't>);

/// The values of a tree ([`Tree::values`](super::Tree::values)). After an error it ends.
pub struct Values<'a, 't>(Flat<'a, 't>);

macro_rules! iterator {
    ($name:ident, $item:ty, $of:expr) => {
        impl<'a, 't> $name<'a, 't> {
            pub(super) fn new(leaves: Leaves<'a, 't>) -> Self {
                let backwards = leaves.is_backwards();
                $name(Flat {
                    leaves,
                    keys: Vec::new(),
                    values: Vec::new(),
                    left: 0..0,
                    backwards,
                    done: false,
                })
            }
        }

        impl Iterator for $name<'_, '_> {
            type Item = Result<$item>;

            fn next(&mut self) -> Option<Self::Item> {
                self.0.next().map(|item| item.map($of))
            }
        }

        impl FusedIterator for $name<'_, '_> {}
    };
}

iterator!(Items, (Value, Value), |item| item);
iterator!(Keys, Value, |(key, _)| key);
iterator!(Values, Value, |(_, value)| value);
