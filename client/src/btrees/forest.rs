//! The nodes of all trees that a transaction has used, and those that it changed.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use foldhash::quality::RandomState;
use zeo_proto::Oid;

use super::error::{Error, Result};
use super::node::{Expected, Family, Id, Inner, Leaf, Node};
use super::quick::Space;
use super::state;
use super::store::Nodes;

/// How many nodes that were only read are kept.
const KEPT_NODES: usize = 2048;

/// The nodes in memory of one transaction.
///
/// Changes stay here until [`Forest::flush`], since what is written of a tree depends on what
/// becomes of it by the end of the transaction: a bucket that has no record of its own by then is
/// written within its tree.
#[derive(Default)]
pub struct Forest {
    entries: HashMap<Id, Entry, RandomState>,
    /// The changed nodes with records, in the order of their first changes.
    changed: Vec<Oid>,
    /// How many new nodes there were; never less, so that none is taken for another.
    new: u64,
    /// The trees that keys were inserted into or deleted from, and how often.
    versions: HashMap<Oid, u64>,
    /// Those of them that were not written since.
    unwritten: HashSet<Oid>,
    /// The nodes that programs have used as trees: not parts of one.
    trees: HashSet<Oid>,
    /// At how many nodes those that were only read are forgotten.
    sweep_at: usize,
    /// The nodes that the transaction has been asked to check.
    checked: HashSet<Oid>,
}

struct Entry {
    node: Node,
    family: Rc<Family>,
    changed: bool,
    /// For a leaf that was read within its tree's record: the tree.
    owner: Option<Id>,
}

/// One tree as an operation sees it.
pub(super) struct Grove<'f> {
    pub forest: &'f mut Forest,
    pub nodes: &'f dyn Nodes,
    pub family: &'f Rc<Family>,
}

impl Forest {
    /// Whether there is something to be written.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether the record of an object is to be written.
    pub fn has_changed(&self, oid: Oid) -> bool {
        let entry = self.entries.get(&Id::Stored(oid));
        entry.is_some_and(|entry| entry.changed)
    }

    /// Forgets everything, changes too.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.changed.clear();
        self.trees.clear();
        self.checked.clear();
        self.sweep_at = 0;
        for tree in self.unwritten.drain() {
            *self.versions.entry(tree).or_default() += 1;
        }
    }

    /// What kind of tree this is, if it is in memory.
    pub(super) fn family(&self, tree: Oid) -> Option<Rc<Family>> {
        let entry = self.entries.get(&Id::Stored(tree))?;
        Some(Rc::clone(&entry.family))
    }

    /// How often keys of a tree were inserted or deleted.
    pub(super) fn version(&self, tree: Oid) -> u64 {
        self.versions.get(&tree).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes that a node is a tree, not a part of one.
    pub(super) fn used(&mut self, tree: Oid) {
        self.trees.insert(tree);
    }

    /// Notes that keys of a tree were inserted or deleted.
    pub(super) fn restructured(&mut self, tree: Oid) {
        *self.versions.entry(tree).or_default() += 1;
        self.unwritten.insert(tree);
    }

    /// Writes all changed nodes, and the new ones that they lead to; then forgets all.
    ///
    /// # Errors
    /// A record could not be written; then the changes are lost, and some may have been written.
    pub fn flush(&mut self, nodes: &dyn Nodes) -> Result<()> {
        let written = self.write(nodes);
        self.clear();
        written
    }

    fn write(&self, nodes: &dyn Nodes) -> Result<()> {
        let mut oids: HashMap<u64, Oid> = HashMap::new();
        for &oid in &self.changed {
            let mut waiting = vec![(Id::Stored(oid), oid)];
            while let Some((id, oid)) = waiting.pop() {
                let Some(entry) = self.entries.get(&id) else {
                    return Err(lost(oid));
                };
                let within = match (id, &entry.node) {
                    (Id::Stored(oid), Node::Inner(inner)) if self.trees.contains(&oid) => {
                        self.leaf_within(inner, &oids)
                    }
                    _ => None,
                };
                let record = match within {
                    Some(leaf) => state::write_within(&entry.family, leaf),
                    None => state::write(&entry.family, &entry.node, |child| match child {
                        Id::Stored(oid) => Ok(oid),
                        Id::New(new) => match oids.get(&new) {
                            Some(&oid) => Ok(oid),
                            None => {
                                let oid = nodes.allocate()?;
                                oids.insert(new, oid);
                                waiting.push((child, oid));
                                Ok(oid)
                            }
                        },
                    })?,
                };
                nodes.write(oid, record)?;
            }
        }
        Ok(())
    }

    /// The leaf that is written within its tree: the only one, if it has no oid.
    ///
    /// BTrees do this in every inner node that is left with one; but others may refer to the leaf
    /// then (that before it, the tree for its first), and have it in another record.
    fn leaf_within(&self, tree: &Inner, oids: &HashMap<u64, Oid>) -> Option<&Leaf> {
        match tree.children.as_slice() {
            &[leaf @ Id::New(new)] if tree.above_leaves && !oids.contains_key(&new) => {
                match &self.entries.get(&leaf)?.node {
                    Node::Leaf(leaf) => Some(leaf),
                    Node::Inner(_) => None,
                }
            }
            _ => None,
        }
    }

    /// Keeps what was only read in bounds. Between operations only: they go on with what they found.
    pub(super) fn sweep(&mut self) {
        if self.entries.len() < self.sweep_at.max(KEPT_NODES) {
            return;
        }
        let is_changed = |id: Id| self.entries.get(&id).is_some_and(|entry| entry.changed);
        let unchanged = |(&id, entry): (&Id, &Entry)| {
            let keeps = match (id, entry.owner) {
                (Id::Stored(_), _) => entry.changed,
                // Of a tree that is not changed, or else of some that are.
                (Id::New(_), owner) => owner.is_none_or(is_changed),
            };
            (!keeps).then_some(id)
        };
        let unchanged: Vec<_> = self.entries.iter().filter_map(unchanged).collect();
        for id in unchanged {
            self.entries.remove(&id);
        }
        self.sweep_at = 2 * self.entries.len();
    }
}

fn lost(oid: Oid) -> Error {
    Error::Damaged {
        oid,
        what: "a node that refers to it is in memory, but it is not".to_owned(),
    }
}

impl Grove<'_> {
    /// The node of an oid, read if it is not in memory.
    pub(super) fn load(&mut self, id: Id, expected: Option<Expected>) -> Result<&mut Node> {
        let is_there = self.forest.entries.contains_key(&id);
        if let (Id::Stored(oid), false) = (id, is_there) {
            let record = self.nodes.read(oid)?;
            let read = state::read(self.family, oid, &record, expected)?;
            let node = match read {
                state::Read::Node(node) => node,
                state::Read::Within(leaf) => {
                    let leaf = self.put_new(Node::Leaf(leaf), Some(id));
                    Node::Inner(Inner {
                        keys: Vec::new(),
                        children: vec![leaf],
                        above_leaves: true,
                        first: Some(leaf),
                    })
                }
            };
            let entry = Entry {
                node,
                family: Rc::clone(self.family),
                changed: false,
                owner: None,
            };
            self.forest.entries.insert(id, entry);
        }
        match self.forest.entries.get_mut(&id) {
            Some(entry) => match (expected, &entry.node) {
                (Some(Expected::Inner), Node::Leaf(_)) | (Some(Expected::Leaf), Node::Inner(_)) => {
                    Err(damaged(id, "its parent takes it for another kind of node"))
                }
                _ => Ok(&mut entry.node),
            },
            None => Err(damaged(id, "it is not in memory")),
        }
    }

    pub(super) fn inner(&mut self, id: Id) -> Result<&mut Inner> {
        match self.load(id, Some(Expected::Inner))? {
            Node::Inner(inner) => Ok(inner),
            Node::Leaf(_) => Err(damaged(id, "it is a leaf")),
        }
    }

    pub(super) fn leaf(&mut self, id: Id) -> Result<&mut Leaf> {
        match self.load(id, Some(Expected::Leaf))? {
            Node::Leaf(leaf) => Ok(leaf),
            Node::Inner(_) => Err(damaged(id, "it is no leaf")),
        }
    }

    /// A copy of a leaf, which is not kept in memory if it was not there.
    pub(super) fn peek_leaf(&mut self, id: Id, space: &mut Space) -> Result<Leaf> {
        if let Some(oid) = self.missing(id) {
            let record = self.nodes.read(oid)?;
            return state::read_leaf(self.family, oid, &record, space);
        }
        self.leaf(id).map(|leaf| leaf.clone())
    }

    /// The oid of a node that is still to be read.
    pub(super) fn missing(&self, id: Id) -> Option<Oid> {
        match id {
            Id::Stored(oid) if !self.forest.entries.contains_key(&id) => Some(oid),
            _ => None,
        }
    }

    /// A new node, without an oid as long as nothing that is written refers to it.
    pub(super) fn add(&mut self, node: Node) -> Id {
        self.put_new(node, None)
    }

    fn put_new(&mut self, node: Node, owner: Option<Id>) -> Id {
        self.forest.new += 1;
        let id = Id::New(self.forest.new);
        let entry = Entry {
            node,
            family: Rc::clone(self.family),
            changed: false,
            owner,
        };
        self.forest.entries.insert(id, entry);
        id
    }

    /// Has the transaction check a node when it commits.
    pub(super) fn read_current(&mut self, id: Id) -> Result<()> {
        if let Id::Stored(oid) = id
            && !self.forest.checked.contains(&oid)
        {
            self.nodes.read_current(oid)?;
            self.forest.checked.insert(oid);
        }
        Ok(())
    }

    /// Notes that a node is to be written. New ones are when they are referred to.
    pub(super) fn touch(&mut self, id: Id) {
        let Id::Stored(oid) = id else { return };
        if let Some(entry) = self.forest.entries.get_mut(&id)
            && !entry.changed
        {
            entry.changed = true;
            self.forest.changed.push(oid);
        }
    }
}

/// An error about a node; new ones have no oid, and are not damaged.
pub(super) fn damaged(id: Id, what: impl Into<String>) -> Error {
    let oid = match id {
        Id::Stored(oid) => oid,
        Id::New(_) => Oid::MAX,
    };
    Error::Damaged {
        oid,
        what: what.into(),
    }
}
