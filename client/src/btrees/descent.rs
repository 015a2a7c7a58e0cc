//! The way from a tree down to the leaf of a key.

use std::cmp::Ordering;

use super::error::{Error, Result};
use super::forest::{Grove, damaged};
use super::key::{order, shown};
use super::node::{Id, Inner, Node};
use crate::record::Value;

/// How many levels a tree may have: more than any tree has that is not damaged.
pub(super) const MOST_LEVELS: usize = 64;

/// The nodes on the way, and where each goes on.
pub(super) struct Path {
    pub steps: Vec<Step>,
    pub leaf: Id,
}

#[derive(Clone, Copy)]
pub(super) struct Step {
    pub node: Id,
    pub index: usize,
}

/// Where a leaf stands between two separators: the nodes and which of their keys.
#[derive(Clone, Copy, Default)]
struct Bounds {
    low: Option<(Id, usize)>,
    high: Option<(Id, usize)>,
}

/// How an operation treats the nodes that it passes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    Reads,
    /// They must be current when the transaction commits.
    Writes,
}

impl Grove<'_> {
    /// The way to the leaf that has a key, if any has it. `None` if the tree is empty; without a
    /// step if `root` is a bucket alone.
    pub(super) fn descend(
        &mut self,
        root: Id,
        key: &Value,
        passing: Passing,
    ) -> Result<Option<Path>> {
        let mut steps = Vec::new();
        let mut bounds = Bounds::default();
        let mut id = root;
        loop {
            let inner = match self.load(id, None)? {
                Node::Leaf(_) => break,
                Node::Inner(inner) => inner,
            };
            if inner.children.is_empty() {
                return if steps.is_empty() {
                    Ok(None)
                } else {
                    Err(damaged(id, "it is empty, but another node refers to it"))
                };
            }
            let index = child_of(inner, id, key)?;
            let above_leaves = inner.above_leaves;
            let (last, child) = (inner.keys.len(), inner.children.get(index).copied());
            let child = child.ok_or_else(|| damaged(id, "it has fewer children than keys"))?;
            self.check_bounds(id, bounds)?;
            if passing == Passing::Writes {
                self.read_current(id)?;
            }
            if index > 0 {
                bounds.low = Some((id, index - 1));
            }
            if index < last {
                bounds.high = Some((id, index));
            }
            steps.push(Step { node: id, index });
            if steps.len() > MOST_LEVELS {
                return Err(damaged(root, "it is too deep, or contains itself"));
            }
            self.load_child(child, above_leaves)?;
            id = child;
        }
        if !steps.is_empty() {
            if self.leaf(id)?.keys.is_empty() {
                return Err(damaged(id, "it is empty, but another node refers to it"));
            }
            self.check_bounds(id, bounds)?;
        }
        Ok(Some(Path { steps, leaf: id }))
    }

    /// A child, of the kind that its parent says.
    pub(super) fn load_child(&mut self, child: Id, is_leaf: bool) -> Result<()> {
        if is_leaf {
            self.leaf(child).map(|_| ())
        } else {
            self.inner(child).map(|_| ())
        }
    }

    /// Where a key is in a leaf, or where it belongs.
    pub(super) fn search(&mut self, leaf: Id, key: &Value) -> Result<Result<usize, usize>> {
        let keys = &self.leaf(leaf)?.keys;
        let (mut low, mut high) = (0, keys.len());
        while low < high {
            let at = (low + high) / 2;
            let Some(there) = keys.get(at) else { break };
            match compare(leaf, there, key)? {
                Ordering::Less => low = at + 1,
                Ordering::Equal => return Ok(Ok(at)),
                Ordering::Greater => high = at,
            }
        }
        Ok(Err(low))
    }

    /// The last leaf below a node.
    pub(super) fn last_leaf(&mut self, node: Id, is_leaf: bool) -> Result<Id> {
        let (mut id, mut is_leaf) = (node, is_leaf);
        for _ in 0..MOST_LEVELS {
            if is_leaf {
                self.leaf(id)?;
                return Ok(id);
            }
            let inner = self.inner(id)?;
            is_leaf = inner.above_leaves;
            let last = inner.children.last().copied();
            id = last.ok_or_else(|| damaged(id, "it is empty, but another node refers to it"))?;
        }
        Err(damaged(node, "it is too deep, or contains itself"))
    }

    /// That a node's keys are within what its parents say.
    fn check_bounds(&mut self, id: Id, bounds: Bounds) -> Result<()> {
        let ends = match self.load(id, None)? {
            Node::Inner(inner) => (inner.keys.first().cloned(), inner.keys.last().cloned()),
            Node::Leaf(leaf) => (leaf.keys.first().cloned(), leaf.keys.last().cloned()),
        };
        let (Some(first), Some(last)) = ends else {
            return Ok(());
        };
        if let Some((node, at)) = bounds.low
            && let Some(low) = self.inner(node)?.keys.get(at)
            && compare(id, low, &first)? == Ordering::Greater
        {
            return Err(damaged(
                id,
                "it has keys that are too small for its place in the tree",
            ));
        }
        if let Some((node, at)) = bounds.high
            && let Some(high) = self.inner(node)?.keys.get(at)
            && compare(id, high, &last)? != Ordering::Greater
        {
            return Err(damaged(
                id,
                "it has keys that are too large for its place in the tree",
            ));
        }
        Ok(())
    }
}

/// Which child a key is in, if it is there.
pub(super) fn child_of(inner: &Inner, id: Id, key: &Value) -> Result<usize> {
    let (mut low, mut high) = (0, inner.keys.len());
    while low < high {
        let at = (low + high) / 2;
        let Some(there) = inner.keys.get(at) else {
            break;
        };
        match compare(id, there, key)? {
            Ordering::Less => low = at + 1,
            Ordering::Equal => return Ok(at + 1),
            Ordering::Greater => high = at,
        }
    }
    Ok(low)
}

/// The order of a key of a node and another one.
pub(super) fn compare(node: Id, there: &Value, key: &Value) -> Result<Ordering> {
    order(there, key).map_err(|why| Error::NoOrder {
        oid: match node {
            Id::Stored(oid) => oid,
            Id::New(_) => zeo_proto::Oid::MAX,
        },
        given: shown(key),
        why: why.to_string(),
    })
}
