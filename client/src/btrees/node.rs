//! The nodes of a tree in memory.

use std::collections::HashSet;
use std::rc::Rc;

use zeo_proto::Oid;
use zeo_storage::btrees::Tree;

use crate::record::{Class, Value};

/// Which node: one with a record, or a new one, which gets an oid when its referrer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Id {
    Stored(Oid),
    New(u64),
}

/// What a node has to be, by what refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Inner,
    Leaf,
}

/// The classes of a tree's nodes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Family {
    /// What keys and values are, and how large nodes become.
    pub kind: Tree,
    /// The class of the tree and its inner nodes, or of a bucket alone.
    pub own: Class,
    /// The class of its leaves.
    pub leaf: Class,
    /// What the records of leaves begin with.
    pub leaf_header: Vec<u8>,
    /// What the records of inner nodes begin with.
    pub own_header: Vec<u8>,
}

impl Family {
    pub(super) fn of(kind: Tree) -> Rc<Self> {
        let class = |kind: Tree| Class::new(kind.module(), kind.name());
        let (own, leaf) = (class(kind), class(kind.leaf()));
        let header = |class: &Class| {
            let pickle = format!("c{}\n{}\nq\0.", class.module, class.name);
            let protocol = [0x80, 3];
            [&protocol, pickle.as_bytes(), &protocol].concat()
        };
        Rc::new(Family {
            kind,
            leaf_header: header(&leaf),
            own_header: header(&own),
            own,
            leaf,
        })
    }
}

/// A node with its state.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Inner(Inner),
    Leaf(Leaf),
}

/// A tree, or a part of one: children, and the keys between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Inner {
    /// `keys[i]` separates `children[i]` and `children[i + 1]`: it is at most the latter's
    /// smallest key, and larger than all of the former.
    pub keys: Vec<Value>,
    pub children: Vec<Id>,
    /// Whether the children are leaves.
    pub above_leaves: bool,
    /// The leaf with the smallest keys; none if there are no children.
    pub first: Option<Id>,
}

/// A bucket or a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Leaf {
    pub keys: Vec<Value>,
    /// As many as there are keys; none in a set.
    pub values: Vec<Value>,
    /// The leaf with the next larger keys.
    pub next: Option<Id>,
}

impl Node {
    /// How many children or keys it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Node::Inner(inner) => inner.children.len(),
            Node::Leaf(leaf) => leaf.keys.len(),
        }
    }
}

impl Inner {
    /// Takes the upper half out: what the parent has between both, and the new node. Its `first`
    /// is for the caller to set.
    pub(super) fn split(&mut self) -> (Option<Value>, Inner) {
        let at = self.children.len() / 2;
        let children = self.children.split_off(at);
        let keys = self.keys.split_off(at.min(self.keys.len()));
        let between = self.keys.pop();
        let upper = Inner {
            keys,
            children,
            above_leaves: self.above_leaves,
            first: None,
        };
        (between, upper)
    }

    /// Puts a child behind another one.
    pub(super) fn insert(&mut self, index: usize, key: Value, child: Id) {
        self.keys.insert(index.min(self.keys.len()), key);
        self.children
            .insert((index + 1).min(self.children.len()), child);
    }

    /// Takes a child out, with the key before it; the first one with the key behind it.
    pub(super) fn remove(&mut self, index: usize) {
        if index < self.children.len() {
            self.children.remove(index);
        }
        let key = index.saturating_sub(1);
        if key < self.keys.len() {
            self.keys.remove(key);
        }
    }

    /// Whether no child occurs twice.
    pub(super) fn children_differ(&self) -> bool {
        let mut seen = HashSet::with_capacity(self.children.len());
        self.children.iter().all(|child| seen.insert(child))
    }
}

impl Leaf {
    /// Takes the upper half out; the caller links it.
    pub(super) fn split(&mut self) -> Leaf {
        let at = self.keys.len() / 2;
        Leaf {
            keys: self.keys.split_off(at),
            values: self.values.split_off(at.min(self.values.len())),
            next: self.next,
        }
    }

    /// Takes an item out; the value, if it has one.
    pub(super) fn remove(&mut self, at: usize) -> Option<Value> {
        if at < self.keys.len() {
            self.keys.remove(at);
        }
        (at < self.values.len()).then(|| self.values.remove(at))
    }
}
