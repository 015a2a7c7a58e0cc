//! The values of a running pickle machine.
//!
//! While the machine runs, a value is an index into the arena. So a list
//! that was memoized empty and filled later is one value wherever it is
//! fetched, a deep structure is freed without recursion, and a memo entry
//! costs 4 bytes. At STOP the tree is built from the indexes, and what is
//! shared is copied, within limits.

use std::borrow::Cow;
use std::collections::HashMap;

use super::error::Problem;
use crate::value::{Object, Value};

/// The index of a node.
pub(super) type Id = u32;

/// A value under construction.
pub(super) enum Node<'a> {
    /// A value without parts.
    Leaf(Value<'a>),
    /// A part of [`Arena::parts`].
    Tuple {
        start: usize,
        length: usize,
    },
    List(Vec<Id>),
    /// Keys and values by turns.
    Dict(Vec<Id>),
    Instance(Box<Instance>),
    Persistent(Id),
}

/// [`Object`] under construction.
pub(super) struct Instance {
    pub(super) callable: Id,
    pub(super) args: Id,
    pub(super) new: bool,
    pub(super) state: Option<Id>,
    pub(super) items: Vec<Id>,
    /// Keys and values by turns.
    pub(super) pairs: Vec<Id>,
}

/// All nodes of a run.
pub(super) struct Arena<'a> {
    nodes: Vec<Node<'a>>,
    /// The items of all tuples: they never change, so they need no vectors
    /// of their own.
    parts: Vec<Id>,
}

/// A node whose parts are being built: those before `next` are done and
/// stand from `start`.
struct Open {
    id: Id,
    next: usize,
    start: usize,
}

impl<'a> Arena<'a> {
    /// An arena that holds the usual call without growing.
    pub(super) fn new() -> Self {
        Arena {
            nodes: Vec::with_capacity(16),
            parts: Vec::with_capacity(16),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a node, unless there are `limit` of them.
    #[inline]
    pub(super) fn add(&mut self, node: Node<'a>, limit: usize) -> Result<Id, Problem> {
        let id = self.nodes.len();
        match Id::try_from(id) {
            Ok(id) if (id as usize) < limit => {
                self.nodes.push(node);
                Ok(id)
            }
            _ => Err(Problem::TooManyValues(limit)),
        }
    }

    /// A tuple node of these items, not yet added.
    pub(super) fn tuple(&mut self, items: impl IntoIterator<Item = Id>) -> Node<'a> {
        let start = self.parts.len();
        self.parts.extend(items);
        let length = self.parts.len() - start;
        Node::Tuple { start, length }
    }

    pub(super) fn get(&self, id: Id) -> Option<&Node<'a>> {
        self.nodes.get(id as usize)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Node<'a>> {
        self.nodes.get_mut(id as usize)
    }

    /// The items of a tuple; `None` for anything else.
    pub(super) fn tuple_items(&self, id: Id) -> Option<&[Id]> {
        match *self.get(id)? {
            Node::Tuple { start, length } => self.parts.get(start..start.checked_add(length)?),
            _ => None,
        }
    }

    /// The value of a leaf; `None` for anything else.
    pub(super) fn leaf(&self, id: Id) -> Option<&Value<'a>> {
        match self.get(id)? {
            Node::Leaf(value) => Some(value),
            _ => None,
        }
    }

    /// The ids within the persistent references made since there were
    /// `first` nodes.
    pub(super) fn persistent_since(&self, first: usize) -> impl Iterator<Item = Id> {
        let nodes = self.nodes.get(first..).unwrap_or_default();
        nodes.iter().filter_map(|node| match node {
            Node::Persistent(id) => Some(*id),
            _ => None,
        })
    }

    /// The tree under a node. Takes from `budget` one for each value, and
    /// one for each 64 bytes that must be copied.
    pub(super) fn build(
        &self,
        root: Id,
        max_depth: usize,
        budget: &mut Budget,
    ) -> Result<Value<'a>, Problem> {
        let mut done: Vec<Value<'a>> = Vec::with_capacity(8);
        let mut open: Vec<Open> = Vec::with_capacity(8);
        let mut next = Some(root);
        loop {
            if let Some(id) = next {
                let node = self.get(id).ok_or(Problem::StackUnderflow)?;
                budget.spend(1)?;
                if let Node::Leaf(value) = node {
                    budget.spend(owned_bytes(value) / 64)?;
                    done.push(value.clone());
                } else if open.len() < max_depth {
                    let start = done.len();
                    open.push(Open { id, next: 0, start });
                } else {
                    return Err(too_deep(&open, max_depth));
                }
            }
            let Some(last) = open.last_mut() else {
                return done.pop().ok_or(Problem::StackUnderflow);
            };
            next = self.part(last.id, last.next);
            last.next += 1;
            if next.is_none() {
                let (id, start) = (last.id, last.start);
                open.pop();
                let value = self.close(id, done.drain(start..));
                done.push(value.ok_or(Problem::StackUnderflow)?);
            }
        }
    }

    /// The nth part of a node.
    #[inline]
    pub(super) fn part(&self, id: Id, n: usize) -> Option<Id> {
        match self.get(id)? {
            Node::Leaf(_) => None,
            Node::Tuple { start, length } if n < *length => self.parts.get(start + n).copied(),
            Node::Tuple { .. } => None,
            Node::List(parts) | Node::Dict(parts) => parts.get(n).copied(),
            Node::Persistent(id) => (n == 0).then_some(*id),
            Node::Instance(instance) => instance.part(n),
        }
    }

    /// The value of a node, made of its parts in the order of [`Self::part`].
    fn close(&self, id: Id, mut parts: impl Iterator<Item = Value<'a>>) -> Option<Value<'a>> {
        Some(match self.get(id)? {
            Node::Leaf(value) => value.clone(),
            Node::Tuple { .. } => Value::Tuple(parts.collect()),
            Node::List(_) => Value::List(parts.collect()),
            Node::Dict(_) => Value::Dict(in_pairs(parts)),
            Node::Persistent(_) => Value::Persistent(Box::new(parts.next()?)),
            Node::Instance(instance) => Value::Object(Box::new(Object {
                callable: parts.next()?,
                args: parts.next()?,
                new: instance.new,
                state: match instance.state {
                    Some(_) => Some(parts.next()?),
                    None => None,
                },
                items: parts.by_ref().take(instance.items.len()).collect(),
                pairs: in_pairs(parts),
            })),
        })
    }
}

impl Instance {
    fn part(&self, n: usize) -> Option<Id> {
        let fixed = [Some(self.callable), Some(self.args), self.state];
        let mut parts = fixed.iter().flatten();
        let fixed = 2 + usize::from(self.state.is_some());
        if n < fixed {
            return parts.nth(n).copied();
        }
        let n = n - fixed;
        match self.items.get(n) {
            Some(item) => Some(*item),
            None => self.pairs.get(n - self.items.len()).copied(),
        }
    }
}

/// How many more values a tree may have.
pub(super) struct Budget {
    limit: usize,
    left: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Budget { limit, left: limit }
    }

    #[inline]
    fn spend(&mut self, values: usize) -> Result<(), Problem> {
        match self.left.checked_sub(values) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Problem::TooManyValues(self.limit)),
        }
    }
}

fn owned_bytes(value: &Value<'_>) -> usize {
    match value {
        Value::Bytes(Cow::Owned(bytes))
        | Value::Long(Cow::Owned(bytes))
        | Value::Surrogates(Cow::Owned(bytes)) => bytes.len(),
        Value::Str(Cow::Owned(text)) => text.len(),
        _ => 0,
    }
}

/// Why a path is too deep: a value that contains itself is on it twice.
#[cold]
fn too_deep(open: &[Open], max_depth: usize) -> Problem {
    let mut seen = HashMap::new();
    if open.iter().any(|open| seen.insert(open.id, ()).is_some()) {
        Problem::Recursive
    } else {
        Problem::TooDeep(max_depth)
    }
}

fn in_pairs<'a>(mut parts: impl Iterator<Item = Value<'a>>) -> Vec<(Value<'a>, Value<'a>)> {
    let mut pairs = Vec::with_capacity(parts.size_hint().0 / 2);
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        pairs.push((key, value));
    }
    pairs
}
