//! Deleting items: separators that go with their keys, and leaves and nodes that become empty.

use std::cmp::Ordering;

use super::descent::{Passing, Path, Step, compare};
use super::error::Result;
use super::forest::{Grove, damaged};
use super::node::{Id, Inner, Leaf, Node};
use crate::record::Value;

/// What deleting the last key of a leaf changes around it.
struct Unlinked {
    /// The leaf before it, if it is not the tree's first.
    before: Option<Id>,
    /// The leaf behind it.
    next: Option<Id>,
    /// That one's smallest key.
    next_key: Option<Value>,
}

impl Grove<'_> {
    /// Takes an item out, and gives it back: the value, if it is no set's. `None` if it is not
    /// there.
    pub(super) fn delete(&mut self, root: Id, key: &Value) -> Result<Option<Option<Value>>> {
        let Some(path) = self.descend(root, key, Passing::Writes)? else {
            return Ok(None);
        };
        let Ok(at) = self.search(path.leaf, key)? else {
            return Ok(None);
        };
        let is_last = self.leaf(path.leaf)?.keys.len() == 1;
        // Nothing is changed before all is read that is needed.
        let unlinked = if is_last && !path.steps.is_empty() {
            Some(self.neighbours(&path)?)
        } else {
            None
        };
        let separators = self.separators(&path, key)?;
        let value = self.leaf(path.leaf)?.remove(at);
        self.touch_leaf(&path)?;
        match unlinked {
            Some(unlinked) => self.unlink(&path, &separators, unlinked)?,
            None => {
                let smallest = self.leaf(path.leaf)?.keys.first().cloned();
                for (level, key) in separators.into_iter().zip(smallest.into_iter().cycle()) {
                    self.set_separator(&path, level, key)?;
                }
            }
        }
        Ok(Some(value))
    }

    /// The levels, from the lowest on, whose separator before the path is this key.
    fn separators(&mut self, path: &Path, key: &Value) -> Result<Vec<usize>> {
        let mut levels = Vec::new();
        for (level, &Step { node, index }) in path.steps.iter().enumerate().rev() {
            if index > 0
                && let Some(separator) = self.inner(node)?.keys.get(index - 1)
                && compare(node, separator, key)? == Ordering::Equal
            {
                levels.push(level);
            }
        }
        Ok(levels)
    }

    fn set_separator(&mut self, path: &Path, level: usize, key: Value) -> Result<()> {
        let Some(&Step { node, index }) = path.steps.get(level) else {
            return Ok(());
        };
        if let Some(separator) = self.inner(node)?.keys.get_mut(index.saturating_sub(1)) {
            *separator = key;
            self.touch(node);
        }
        Ok(())
    }

    /// The leaves around that of a path, which is to be unlinked.
    fn neighbours(&mut self, path: &Path) -> Result<Unlinked> {
        let next = self.leaf(path.leaf)?.next;
        let (mut before, mut behind) = (None, None);
        for &Step { node, index } in path.steps.iter().rev() {
            let inner = self.inner(node)?;
            let above_leaves = inner.above_leaves;
            let around = [index.checked_sub(1), Some(index + 1)];
            let [left, right] = around.map(|at| at.and_then(|at| inner.children.get(at).copied()));
            if let (Some(left), None) = (left, before) {
                before = Some(self.last_leaf(left, above_leaves)?);
            }
            if let (Some(right), None) = (right, behind) {
                behind = if above_leaves {
                    Some(right)
                } else {
                    self.inner(right)?.first
                };
            }
        }
        if next != behind {
            return Err(damaged(
                path.leaf,
                "the next leaf is not the one that the tree has next",
            ));
        }
        if let Some(before) = before
            && self.leaf(before)?.next != Some(path.leaf)
        {
            return Err(damaged(
                before,
                "the next leaf is not the one that the tree has next",
            ));
        }
        let next_key = match next {
            Some(next) => self.leaf(next)?.keys.first().cloned(),
            None => None,
        };
        Ok(Unlinked {
            before,
            next,
            next_key,
        })
    }

    /// Takes the path's leaf, which has become empty, out of the tree, and all nodes above it that
    /// become so.
    fn unlink(&mut self, path: &Path, separators: &[usize], unlinked: Unlinked) -> Result<()> {
        let mut is_empty = true;
        // Whether nodes further up may have the leaf for their first.
        let mut is_first = true;
        for (level, &Step { node, index }) in path.steps.iter().enumerate().rev() {
            if let (false, true, Some(key)) =
                (is_empty, separators.contains(&level), &unlinked.next_key)
            {
                self.set_separator(path, level, key.clone())?;
            }
            if is_first && index > 0 {
                is_first = false;
                if let Some(before) = unlinked.before {
                    self.leaf(before)?.next = unlinked.next;
                    self.touch(before);
                }
            } else if is_first {
                self.inner(node)?.first = unlinked.next;
                self.touch(node);
            }
            if is_empty {
                let inner = self.inner(node)?;
                inner.remove(index);
                is_empty = inner.children.is_empty();
                self.touch(node);
            }
            if !is_empty && !is_first && separators.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Empties a tree; whether it was not empty. Its other nodes stay as they are, for nobody.
    pub(super) fn clear(&mut self, root: Id) -> Result<bool> {
        let node = self.load(root, None)?;
        if node.len() == 0 {
            return Ok(false);
        }
        match node {
            Node::Inner(inner) => *inner = Inner::default(),
            Node::Leaf(leaf) => *leaf = Leaf::default(),
        }
        self.touch(root);
        Ok(true)
    }
}
