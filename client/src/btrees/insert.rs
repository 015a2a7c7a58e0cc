//! Setting items: growth and splits.

use super::descent::{Passing, Path, Step};
use super::error::Result;
use super::forest::{Grove, damaged};
use super::key::same;
use super::node::{Id, Inner, Leaf, Node};
use crate::record::Value;

/// What becomes of an item that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Replace,
    Keep,
}

/// What an insert found.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// The key is new.
    Nothing,
    /// The key was there, with this value if it is no set's.
    Item(Option<Value>),
}

impl Grove<'_> {
    /// Sets an item; key and value are such as the class keeps them.
    pub(super) fn set(
        &mut self,
        root: Id,
        key: Value,
        value: Option<Value>,
        existing: Existing,
    ) -> Result<Found> {
        let Some(path) = self.descend(root, &key, Passing::Writes)? else {
            self.plant(root, key, value)?;
            return Ok(Found::Nothing);
        };
        let at = match self.search(path.leaf, &key)? {
            Ok(at) => return self.replace(&path, at, value, existing),
            Err(at) => at,
        };
        // Nothing is changed before all is read that may be needed.
        self.read_middles(&path)?;
        let leaf = self.leaf(path.leaf)?;
        leaf.keys.insert(at.min(leaf.keys.len()), key);
        if let Some(value) = value {
            leaf.values.insert(at.min(leaf.values.len()), value);
        }
        self.touch_leaf(&path)?;
        for &Step { node, index } in path.steps.iter().rev() {
            self.split_if_full(node, index)?;
        }
        Ok(Found::Nothing)
    }

    /// The first item of an empty tree.
    fn plant(&mut self, root: Id, key: Value, value: Option<Value>) -> Result<()> {
        self.read_current(root)?;
        self.inner(root)?;
        let leaf = self.add(Node::Leaf(Leaf {
            keys: vec![key],
            values: value.into_iter().collect(),
            next: None,
        }));
        *self.inner(root)? = Inner {
            keys: Vec::new(),
            children: vec![leaf],
            above_leaves: true,
            first: Some(leaf),
        };
        self.touch(root);
        Ok(())
    }

    fn replace(
        &mut self,
        path: &Path,
        at: usize,
        value: Option<Value>,
        existing: Existing,
    ) -> Result<Found> {
        let kind = self.family.kind.value;
        let leaf = self.leaf(path.leaf)?;
        let (Some(there), Some(value)) = (leaf.values.get_mut(at), value) else {
            return Ok(Found::Item(None));
        };
        if existing == Existing::Keep || same(kind, there, &value) {
            return Ok(Found::Item(Some(there.clone())));
        }
        let was = std::mem::replace(there, value);
        self.touch_leaf(path)?;
        Ok(Found::Item(Some(was)))
    }

    /// Notes that a leaf has changed: it is written within its tree if it is the only one and has
    /// no oid.
    pub(super) fn touch_leaf(&mut self, path: &Path) -> Result<()> {
        self.touch(path.leaf);
        if let (Id::New(_), Some(step)) = (path.leaf, path.steps.last())
            && self.inner(step.node)?.children.len() == 1
        {
            self.touch(step.node);
        }
        Ok(())
    }

    /// Reads what the upper halves of nodes begin with, for those that may be split: such a half
    /// has to know its first leaf.
    fn read_middles(&mut self, path: &Path) -> Result<()> {
        let most = self.family.kind.inner_max();
        for &Step { node, .. } in &path.steps {
            let inner = self.inner(node)?;
            if inner.above_leaves || inner.children.len() < most {
                continue;
            }
            let middle = inner.children.len().div_ceil(2);
            let around = middle.saturating_sub(1)..=middle;
            let children: Vec<_> = around
                .filter_map(|at| inner.children.get(at).copied())
                .collect();
            for child in children {
                self.inner(child)?;
            }
        }
        Ok(())
    }

    /// Splits a child that has become too large.
    fn split_if_full(&mut self, node: Id, index: usize) -> Result<()> {
        let class = self.family.kind;
        let inner = self.inner(node)?;
        let Some(&child) = inner.children.get(index) else {
            return Ok(());
        };
        let most = if inner.above_leaves {
            class.leaf_max()
        } else {
            class.inner_max()
        };
        if self.load(child, None)?.len() > most {
            self.split(node, index, child)?;
            self.touch(node);
        }
        Ok(())
    }

    /// Splits a child in the middle; then the node itself in two, if it has twice as many children
    /// as others may have: it is the tree, then, and stays the one at the top.
    fn split(&mut self, node: Id, index: usize, child: Id) -> Result<()> {
        let (key, upper) = match self.load(child, None)? {
            Node::Leaf(leaf) => {
                let upper = leaf.split();
                let key = upper.keys.first().cloned();
                let upper = self.add(Node::Leaf(upper));
                self.leaf(child)?.next = Some(upper);
                (key, upper)
            }
            Node::Inner(inner) => {
                let (key, mut upper) = inner.split();
                let first = upper.children.first().copied();
                upper.first = match (first, upper.above_leaves) {
                    (Some(first), false) => self.inner(first)?.first,
                    (first, _) => first,
                };
                (key, self.add(Node::Inner(upper)))
            }
        };
        self.touch(child);
        let key = key.ok_or_else(|| damaged(child, "it is too small to be split"))?;
        let most = self.family.kind.inner_max();
        let inner = self.inner(node)?;
        inner.insert(index, key, upper);
        if inner.children.len() < 2 * most {
            return Ok(());
        }
        let first = inner.first;
        let all = std::mem::take(inner);
        let child = self.add(Node::Inner(all));
        *self.inner(node)? = Inner {
            keys: Vec::new(),
            children: vec![child],
            above_leaves: false,
            first,
        };
        self.split(node, 0, child)
    }
}
