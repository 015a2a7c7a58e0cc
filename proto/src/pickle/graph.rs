//! What a pickle holds as it stands in the machine: what is shared is one node, and a node may
//! contain itself. For those who keep what [`Unpickler::value`] copies or refuses.

use super::arena;
use super::decode::{Result, Unpickler};
use crate::value::Value;

/// The number of a node, from 0 in the order in which they were made. Those of the pickles that
/// one [`Unpickler`] reads go on from each other.
pub type NodeId = u32;

/// A value, with its parts by their numbers.
#[derive(Clone, Copy, Debug)]
pub enum Node<'r, 'a> {
    /// A value without parts.
    Leaf(&'r Value<'a>),
    /// A tuple of these items.
    Tuple(&'r [NodeId]),
    /// A list of these items.
    List(&'r [NodeId]),
    /// A dict of these keys and values, by turns.
    Dict(&'r [NodeId]),
    /// An instance.
    Instance(Call<'r>),
    /// A persistent reference, with its id.
    Persistent(NodeId),
}

/// An instance, by the way it would be rebuilt (as [`crate::value::Object`]).
#[derive(Clone, Copy, Debug)]
pub struct Call<'r> {
    /// What would be called.
    pub callable: NodeId,
    /// The arguments: a [`Node::Tuple`].
    pub args: NodeId,
    /// True when rebuilt by `cls.__new__(cls, *args)` (NEWOBJ), false when by `callable(*args)`.
    pub new: bool,
    /// The state given to BUILD, if any.
    pub state: Option<NodeId>,
    /// Items appended.
    pub items: &'r [NodeId],
    /// Keys and values set, by turns.
    pub pairs: &'r [NodeId],
}

impl<'a> Unpickler<'a> {
    /// Runs the next pickle, and gives the number of its value. What the pickle adds to an
    /// instance must come before its state, as Python writes it: so an instance says by itself
    /// what order they had.
    ///
    /// # Errors
    /// [`Error`](super::Error), with the position: the pickle is cut off, malformed or beyond the
    /// policy (whose limit of depth is not applied here).
    pub fn root(&mut self) -> Result<NodeId> {
        self.ordered = true;
        let root = self.run();
        self.ordered = false;
        root
    }

    /// A node; `None` if there is none of this number.
    #[inline]
    pub fn node(&self, id: NodeId) -> Option<Node<'_, 'a>> {
        Some(match self.arena.get(id)? {
            arena::Node::Leaf(value) => Node::Leaf(value),
            arena::Node::Tuple { .. } => Node::Tuple(self.arena.tuple_items(id)?),
            arena::Node::List(items) => Node::List(items),
            arena::Node::Dict(items) => Node::Dict(items),
            arena::Node::Persistent(id) => Node::Persistent(*id),
            arena::Node::Instance(instance) => Node::Instance(Call {
                callable: instance.callable,
                args: instance.args,
                new: instance.new,
                state: instance.state,
                items: &instance.items,
                pairs: &instance.pairs,
            }),
        })
    }

    /// The nth part of a node, in the order: callable, arguments, state, items, pairs.
    #[inline]
    pub fn part(&self, id: NodeId, n: usize) -> Option<NodeId> {
        self.arena.part(id, n)
    }

    /// The nodes that may stand in several places: all that [`Self::root`] met again, but leaves
    /// and in no order.
    pub fn shared(&self) -> &[NodeId] {
        &self.fetched
    }
}
