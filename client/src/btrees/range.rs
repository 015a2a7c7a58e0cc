//! Iterators over the items of a tree.

use std::iter::FusedIterator;
use std::vec;

use super::error::Result;
use super::walk::Leaves;
use crate::record::Value;

/// The items of one leaf after the other.
struct Flat<'a, 't> {
    leaves: Leaves<'a, 't>,
    keys: vec::IntoIter<Value>,
    values: vec::IntoIter<Value>,
    backwards: bool,
    done: bool,
}

impl Flat<'_, '_> {
    fn next(&mut self) -> Option<Result<(Value, Value)>> {
        loop {
            let item = if self.backwards {
                (self.keys.next_back(), self.values.next_back())
            } else {
                (self.keys.next(), self.values.next())
            };
            if let (Some(key), value) = item {
                return Some(Ok((key, value.unwrap_or_default())));
            }
            if self.done {
                return None;
            }
            match self.leaves.next() {
                Ok(Some(leaf)) => {
                    self.keys = leaf.keys.into_iter();
                    self.values = leaf.values.into_iter();
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
                    keys: Vec::new().into_iter(),
                    values: Vec::new().into_iter(),
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
