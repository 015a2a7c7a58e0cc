//! The leaves of a tree, one after the other, and the items in them.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;

use zeo_proto::Oid;

use super::descent::{MOST_LEVELS, child_of, compare};
use super::error::{Error, Result};
use super::forest::{Grove, damaged};
use super::handle::Handle;
use super::node::{Id, Leaf, Node};
use super::quick::Space;
use crate::record::Value;

/// How many leaves are asked for ahead of the one that is read, at most. Few at first, for those
/// who want only the first items.
const MOST_AHEAD: usize = 256;
const FIRST_AHEAD: usize = 4;

/// From where to where, and in which direction.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub low: Bound<Value>,
    pub high: Bound<Value>,
    pub backwards: bool,
}

/// A walk over the leaves that have keys in a span.
pub(super) struct Walk {
    root: Oid,
    span: Span,
    stack: Vec<Level>,
    begun: bool,
    /// Leaves that are asked for already.
    ahead: VecDeque<Id>,
    window: usize,
    /// The last key of the leaf before, and what it has for its next one.
    before: Option<(Value, Option<Id>)>,
    /// What the leaf before took of memory.
    space: Space,
    /// The tree's changes so far; with more of them there is no going on.
    version: u64,
}

/// An inner node on the way, and which of its children are still to come.
struct Level {
    children: Vec<Id>,
    above_leaves: bool,
    /// Whether the walk begins or ends somewhere within the first or last of these children.
    from: Option<usize>,
    to: Option<usize>,
    next: usize,
    end: usize,
}

impl Walk {
    pub(super) fn new(root: Oid, span: Span, version: u64) -> Self {
        Walk {
            root,
            span,
            stack: Vec::new(),
            begun: false,
            ahead: VecDeque::new(),
            window: FIRST_AHEAD,
            before: None,
            space: Space::default(),
            version,
        }
    }

    /// The items of the next leaf, as far as they are in the span; `None` at the end.
    pub(super) fn next(&mut self, grove: &mut Grove<'_>) -> Result<Option<Leaf>> {
        if grove.forest.version(self.root) != self.version {
            return Err(Error::Changed { oid: self.root });
        }
        if !self.begun {
            self.begun = true;
            match grove.load(Id::Stored(self.root), None)? {
                Node::Leaf(leaf) => {
                    let leaf = leaf.clone();
                    return Ok(Some(self.clip(Id::Stored(self.root), leaf)?));
                }
                Node::Inner(inner) if inner.children.is_empty() => return Ok(None),
                Node::Inner(_) => self.enter(grove, Id::Stored(self.root), true, true)?,
            }
        }
        let Some(id) = self.next_id(grove)? else {
            return Ok(None);
        };
        let leaf = grove.peek_leaf(id, &mut self.space)?;
        self.check(id, &leaf)?;
        Ok(Some(self.clip(id, leaf)?))
    }

    /// The next leaf, after those behind it have been asked for.
    fn next_id(&mut self, grove: &mut Grove<'_>) -> Result<Option<Id>> {
        let first = self.before.is_none();
        let id = match self.ahead.pop_front() {
            Some(id) => Some(id),
            None => self.advance(grove)?,
        };
        // Nothing behind the first leaf: who wants one item reads one leaf.
        if !first && self.ahead.len() < self.window / 2 {
            self.ask(grove)?;
        }
        Ok(id)
    }

    fn ask(&mut self, grove: &mut Grove<'_>) -> Result<()> {
        let mut wanted = Vec::new();
        while self.ahead.len() < self.window {
            let Some(id) = self.advance(grove)? else {
                break;
            };
            self.ahead.push_back(id);
            wanted.extend(grove.missing(id));
        }
        self.window = (self.window * 2).min(MOST_AHEAD);
        if !wanted.is_empty() {
            grove.nodes.prefetch(&wanted);
        }
        Ok(())
    }

    /// The leaf behind those that were asked for.
    fn advance(&mut self, grove: &mut Grove<'_>) -> Result<Option<Id>> {
        let backwards = self.span.backwards;
        loop {
            let Some(level) = self.stack.last_mut() else {
                return Ok(None);
            };
            if level.next >= level.end {
                self.stack.pop();
                continue;
            }
            let at = if backwards { level.end - 1 } else { level.next };
            if backwards {
                level.end -= 1
            } else {
                level.next += 1
            }
            let Some(&child) = level.children.get(at) else {
                return Ok(None);
            };
            if level.above_leaves {
                return Ok(Some(child));
            }
            let (from, to) = (level.from == Some(at), level.to == Some(at));
            // The inner node behind it, so that nobody waits for that; not for the first item.
            let behind = if backwards {
                level.end.checked_sub(1)
            } else {
                Some(level.next)
            };
            let behind = behind.filter(|at| (level.next..level.end).contains(at));
            let behind = behind.and_then(|at| level.children.get(at).copied());
            if let Some(oid) = behind.and_then(|id| grove.missing(id))
                && self.before.is_some()
            {
                grove.nodes.prefetch(&[oid]);
            }
            self.enter(grove, child, from, to)?;
        }
    }

    /// Goes into an inner node; `from` and `to` tell whether the span may begin and end in it.
    fn enter(&mut self, grove: &mut Grove<'_>, id: Id, from: bool, to: bool) -> Result<()> {
        if self.stack.len() >= MOST_LEVELS {
            return Err(damaged(id, "the tree is too deep, or contains itself"));
        }
        let inner = grove.inner(id)?;
        if inner.children.is_empty() {
            return Err(damaged(id, "it is empty, but another node refers to it"));
        }
        let from = match (&self.span.low, from) {
            (Bound::Included(key) | Bound::Excluded(key), true) => Some(child_of(inner, id, key)?),
            _ => None,
        };
        let to = match (&self.span.high, to) {
            (Bound::Included(key) | Bound::Excluded(key), true) => Some(child_of(inner, id, key)?),
            _ => None,
        };
        self.stack.push(Level {
            next: from.unwrap_or(0),
            end: to.map_or(inner.children.len(), |to| to + 1),
            children: inner.children.clone(),
            above_leaves: inner.above_leaves,
            from,
            to,
        });
        Ok(())
    }

    /// That a leaf follows the one before.
    fn check(&mut self, id: Id, leaf: &Leaf) -> Result<()> {
        let (Some(first), Some(last)) = (leaf.keys.first(), leaf.keys.last()) else {
            return Err(damaged(id, "it is empty, but another node refers to it"));
        };
        let backwards = self.span.backwards;
        if let Some((key, next)) = &self.before {
            let (end, wanted) = if backwards {
                (last, Ordering::Greater)
            } else {
                (first, Ordering::Less)
            };
            // Some classes' instances have no order here.
            if compare(id, key, end).is_ok_and(|order| order != wanted) {
                return Err(damaged(id, "its keys are not in the order of the tree"));
            }
            if !backwards && *next != Some(id) {
                return Err(damaged(
                    id,
                    "it is not what the leaf before has for its next one",
                ));
            }
        }
        let end = if backwards { first } else { last };
        self.before = Some((end.clone(), leaf.next));
        Ok(())
    }

    /// The items that are in the span.
    fn clip(&self, id: Id, mut leaf: Leaf) -> Result<Leaf> {
        let high = match &self.span.high {
            Bound::Unbounded => None,
            Bound::Included(key) => Some((key, false)),
            Bound::Excluded(key) => Some((key, true)),
        };
        if let Some((key, excluded)) = high {
            let end = position(id, &leaf, key, excluded)?;
            leaf.keys.truncate(end);
            leaf.values.truncate(end);
        }
        let low = match &self.span.low {
            Bound::Unbounded => None,
            Bound::Included(key) => Some((key, true)),
            Bound::Excluded(key) => Some((key, false)),
        };
        if let Some((key, included)) = low {
            let begin = position(id, &leaf, key, included)?;
            leaf.keys.drain(..begin);
            leaf.values.drain(..begin.min(leaf.values.len()));
        }
        Ok(leaf)
    }
}

/// A walk, with the tree that it is of.
pub(super) struct Leaves<'a, 't> {
    handle: &'a Handle<'t>,
    walk: Walk,
}

impl<'a, 't> Leaves<'a, 't> {
    pub(super) fn new(handle: &'a Handle<'t>, walk: Walk) -> Self {
        Leaves { handle, walk }
    }

    pub(super) fn is_backwards(&self) -> bool {
        self.walk.span.backwards
    }

    /// Takes back the memory of a leaf's items, for the next one.
    pub(super) fn take_back(&mut self, keys: Vec<Value>, values: Vec<Value>) {
        (self.walk.space.keys, self.walk.space.values) = (keys, values);
    }

    pub(super) fn next(&mut self) -> Result<Option<Leaf>> {
        let walk = &mut self.walk;
        self.handle.grove(|grove, _| walk.next(grove))
    }
}

/// How many keys are less than this one, or at most it.
fn position(id: Id, leaf: &Leaf, key: &Value, less: bool) -> Result<usize> {
    // Most leaves are in the span as they are.
    let (mut low, mut high) = (0, leaf.keys.len());
    while low < high {
        let at = (low + high) / 2;
        let Some(there) = leaf.keys.get(at) else {
            break;
        };
        match compare(id, there, key)? {
            Ordering::Less => low = at + 1,
            Ordering::Equal if !less => low = at + 1,
            _ => high = at,
        }
    }
    Ok(low)
}
