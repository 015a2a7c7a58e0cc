//! A tree in a transaction.

use std::cell::RefCell;
use std::rc::Rc;

use zeo_proto::Oid;

use super::error::Result;
use super::forest::{Forest, Grove, damaged};
use super::node::{Family, Id, Node};
use super::store::Nodes;

/// What all operations on a tree need.
pub(super) struct Handle<'t> {
    pub nodes: &'t dyn Nodes,
    pub forest: &'t RefCell<Forest>,
    pub family: Rc<Family>,
    pub root: Oid,
}

impl Handle<'_> {
    /// Does something with the tree's nodes, the first of which is there.
    pub(super) fn grove<R>(&self, work: impl FnOnce(&mut Grove<'_>, Id) -> Result<R>) -> Result<R> {
        let mut forest = self.forest.borrow_mut();
        forest.sweep();
        let mut grove = Grove {
            forest: &mut forest,
            nodes: self.nodes,
            family: &self.family,
        };
        let root = Id::Stored(self.root);
        grove.forest.used(self.root);
        let is_leaf = matches!(grove.load(root, None)?, Node::Leaf(_));
        if is_leaf == self.family.kind.is_tree() {
            return Err(damaged(root, "it is a leaf of a tree, not the tree"));
        }
        work(&mut grove, root)
    }
}
