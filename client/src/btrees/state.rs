//! Records of nodes.

use std::cmp::Ordering;

use bytes::Bytes;
use zeo_proto::Oid;
use zeo_storage::btrees::{Class as Known, Kind};

use super::error::{Error, Result};
use super::key::{is_kept, kept, order};
use super::node::{Expected, Family, Id, Inner, Leaf, Node};
use super::quick::{self, Space};
use crate::record::{Class, Record, Reference, Value};

/// What a record holds.
pub(super) enum Read {
    Node(Node),
    /// A tree of this only leaf, which has no record of its own.
    Within(Leaf),
}

/// A node's record, checked by itself: the types of all that it holds, and the order of its keys.
pub(super) fn read(
    family: &Family,
    oid: Oid,
    record: &Bytes,
    expected: Option<Expected>,
) -> Result<Read> {
    let damaged = |what: String| Error::Damaged { oid, what };
    let reader = Reader { family };
    if expected == Some(Expected::Leaf)
        && let Some(leaf) = reader.quick(record, &mut Space::default())
    {
        return leaf
            .map(|leaf| Read::Node(Node::Leaf(leaf)))
            .map_err(damaged);
    }
    if expected == Some(Expected::Inner)
        && let Some(inner) = reader.quick_inner(record)
    {
        return inner
            .map(|inner| Read::Node(Node::Inner(inner)))
            .map_err(damaged);
    }
    let record = Record::decode(record.clone()).map_err(|error| damaged(error.to_string()))?;
    let class = record.class_name();
    let is_leaf = match record.class().and_then(|class| family.expected(class)) {
        Some(kind) => kind == Expected::Leaf,
        None => return Err(damaged(format!("it is of class {class}"))),
    };
    if expected.is_some_and(|expected| (expected == Expected::Leaf) != is_leaf) {
        let what = format!("its parent takes it for another kind of node than {class}");
        return Err(damaged(what));
    }
    if is_leaf {
        reader
            .leaf(record.state)
            .map(|leaf| Read::Node(Node::Leaf(leaf)))
    } else {
        reader.tree(record.state)
    }
    .map_err(damaged)
}

/// A leaf's record, checked in the same way. Its items take the memory of `space`.
pub(super) fn read_leaf(
    family: &Family,
    oid: Oid,
    record: &Bytes,
    space: &mut Space,
) -> Result<Leaf> {
    let damaged = |what: String| Error::Damaged { oid, what };
    if let Some(leaf) = (Reader { family }).quick(record, space) {
        return leaf.map_err(damaged);
    }
    match read(family, oid, record, Some(Expected::Leaf))? {
        Read::Node(Node::Leaf(leaf)) => Ok(leaf),
        _ => Err(damaged("it is no leaf".to_owned())),
    }
}

struct Reader<'f> {
    family: &'f Family,
}

/// Why a state is none of a node.
type Checked<T> = std::result::Result<T, String>;

impl Reader<'_> {
    fn tree(&self, state: Value) -> Checked<Read> {
        let malformed = || Err("its state is none of a tree".to_owned());
        let parts = match state {
            Value::None => return Ok(Read::Node(Node::Inner(Inner::default()))),
            Value::Tuple(parts) => parts.into_vec(),
            _ => return malformed(),
        };
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Value::Tuple(only)), None, None) => match only.into_vec().as_slice() {
                [leaf @ Value::Tuple(_)] => {
                    let leaf = self.leaf(leaf.clone())?;
                    match leaf {
                        Leaf { next: Some(_), .. } => {
                            Err("its only leaf has a next one".to_owned())
                        }
                        leaf if leaf.keys.is_empty() => Err("its only leaf is empty".to_owned()),
                        leaf => Ok(Read::Within(leaf)),
                    }
                }
                _ => malformed(),
            },
            (Some(Value::Tuple(items)), Some(first), None) => {
                let inner = self.inner(items.into_vec(), &first)?;
                Ok(Read::Node(Node::Inner(inner)))
            }
            _ => malformed(),
        }
    }

    fn inner(&self, items: Vec<Value>, first: &Value) -> Checked<Inner> {
        if items.len().is_multiple_of(2) {
            return Err("it has as many children as keys".to_owned());
        }
        let mut inner = Inner::default();
        for (at, item) in items.into_iter().enumerate() {
            if at % 2 == 1 {
                inner.keys.push(self.kept(self.family.kind.key, item)?);
                continue;
            }
            let (oid, is_leaf) = self.child(&item)?;
            if at > 0 && is_leaf != inner.above_leaves {
                return Err("its children are of several kinds".to_owned());
            }
            inner.above_leaves = is_leaf;
            inner.children.push(Id::Stored(oid));
        }
        let first = match self.child(first)? {
            (oid, true) => Id::Stored(oid),
            (_, false) => return Err("its first leaf is no leaf".to_owned()),
        };
        inner.first = Some(first);
        if inner.above_leaves && inner.children.first() != Some(&first) {
            return Err("its first leaf is not its first child".to_owned());
        }
        if !inner.children_differ() {
            return Err("a child occurs twice".to_owned());
        }
        ascending(&inner.keys)?;
        Ok(inner)
    }

    /// A reference to a node of the same tree, and whether it is a leaf.
    fn child(&self, value: &Value) -> Checked<(Oid, bool)> {
        match value {
            Value::Reference(reference) if !reference.weak && reference.database.is_none() => {
                match &reference.class {
                    Some(class) => match self.family.expected(class) {
                        Some(kind) => Ok((reference.oid, kind == Expected::Leaf)),
                        None => Err(format!(
                            "it refers to {}, a {class}, as a node",
                            reference.oid
                        )),
                    },
                    None => Err(format!("its reference to {} names no class", reference.oid)),
                }
            }
            other => Err(format!("it has {} for a child", other.kind())),
        }
    }

    fn leaf(&self, state: Value) -> Checked<Leaf> {
        let malformed = || Err("its state is none of a bucket".to_owned());
        let Value::Tuple(parts) = state else {
            return malformed();
        };
        let mut parts = parts.into_vec().into_iter();
        let (items, next) = match (parts.next(), parts.next(), parts.next()) {
            (Some(Value::Tuple(items)), next, None) => (items.into_vec(), next),
            _ => return malformed(),
        };
        self.leaf_of(items, next)
    }

    /// A leaf of these items.
    fn leaf_of(&self, items: Vec<Value>, next: Option<Value>) -> Checked<Leaf> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        if self.family.kind.is_set() {
            keys = items;
        } else {
            if !items.len().is_multiple_of(2) {
                return Err("its last key has no value".to_owned());
            }
            keys.reserve_exact(items.len() / 2);
            values.reserve_exact(items.len() / 2);
            for (at, item) in items.into_iter().enumerate() {
                match at % 2 {
                    0 => keys.push(item),
                    _ => values.push(item),
                }
            }
        }
        self.checked(keys, values, next)
    }

    /// A leaf whose record has the usual form; `None` if it has another one.
    fn quick(&self, record: &Bytes, space: &mut Space) -> Option<Checked<Leaf>> {
        let family = self.family;
        let is_set = family.kind.is_set();
        let items = quick::leaf(record, &family.leaf_header, &family.leaf, is_set, space)?;
        Some(self.checked(items.keys, items.values, items.next))
    }

    /// An inner node whose record has the usual form: a flat tuple, too, and what comes behind it.
    fn quick_inner(&self, record: &Bytes) -> Option<Checked<Inner>> {
        let family = self.family;
        let space = &mut Space::default();
        let items = quick::leaf(record, &family.own_header, &family.own, true, space)?;
        let first = items.next?;
        Some(self.inner(items.keys, &first))
    }

    fn checked(
        &self,
        mut keys: Vec<Value>,
        mut values: Vec<Value>,
        next: Option<Value>,
    ) -> Checked<Leaf> {
        let next = match next {
            None => None,
            Some(next) => match self.child(&next)? {
                (oid, true) => Some(Id::Stored(oid)),
                (_, false) => return Err("its next leaf is no leaf".to_owned()),
            },
        };
        let class = &self.family.kind;
        for (kind, items) in [(class.key, &mut keys), (class.value, &mut values)] {
            for item in items {
                if !is_kept(kind, item) {
                    *item = self.kept(kind, std::mem::take(item))?;
                }
            }
        }
        ascending(&keys)?;
        Ok(Leaf { keys, values, next })
    }

    fn kept(&self, kind: Kind, value: Value) -> Checked<Value> {
        let what = value.kind();
        kept(kind, value).ok_or_else(|| {
            format!(
                "it holds {what}, which no {} takes",
                self.family.kind.name()
            )
        })
    }
}

/// That keys ascend, as far as they can be compared here.
fn ascending(keys: &[Value]) -> Checked<()> {
    for pair in keys.windows(2) {
        if let [a, b] = pair
            && let Ok(Ordering::Equal | Ordering::Greater) = order(a, b)
        {
            return Err("its keys are not in order".to_owned());
        }
    }
    Ok(())
}

impl Family {
    /// What kind of node of this tree a class is.
    pub(super) fn expected(&self, class: &Class) -> Option<Expected> {
        if self.kind.is_tree() && *class == self.own {
            return Some(Expected::Inner);
        }
        if *class == self.leaf {
            return Some(Expected::Leaf);
        }
        // By another of its names: that of the module in C.
        match Known::named(&class.module, &class.name)? {
            Known::Tree(tree) if tree == self.kind.leaf() => Some(Expected::Leaf),
            Known::Tree(tree) if tree == self.kind => Some(Expected::Inner),
            _ => None,
        }
    }
}

/// The record of a node. `oid` gives those of the nodes that it refers to.
pub(super) fn write(
    family: &Family,
    node: &Node,
    mut oid: impl FnMut(Id) -> Result<Oid>,
) -> Result<Record> {
    let (own, leaf_class) = (&family.own, &family.leaf);
    match node {
        Node::Leaf(leaf) => {
            let next = match leaf.next {
                Some(next) => Some(reference(oid(next)?, leaf_class)),
                None => None,
            };
            Ok(Record::new(leaf_class.clone(), leaf_state(leaf, next)))
        }
        Node::Inner(inner) => {
            let Some(first) = inner.first.filter(|_| !inner.children.is_empty()) else {
                return Ok(Record::new(own.clone(), Value::None));
            };
            let of_children = if inner.above_leaves {
                &leaf_class
            } else {
                &own
            };
            let mut items = Vec::with_capacity(2 * inner.children.len());
            for (at, &child) in inner.children.iter().enumerate() {
                if let Some(key) = at.checked_sub(1).and_then(|at| inner.keys.get(at)) {
                    items.push(key.clone());
                }
                items.push(reference(oid(child)?, of_children));
            }
            let first = reference(oid(first)?, leaf_class);
            Ok(Record::new(
                own.clone(),
                Value::tuple([Value::tuple(items), first]),
            ))
        }
    }
}

/// The record of a tree of an only leaf, which gets no record of its own.
pub(super) fn write_within(family: &Family, leaf: &Leaf) -> Record {
    let only = Value::tuple([leaf_state(leaf, None)]);
    Record::new(family.own.clone(), Value::tuple([only]))
}

fn leaf_state(leaf: &Leaf, next: Option<Value>) -> Value {
    let items = if leaf.values.is_empty() {
        leaf.keys.clone()
    } else {
        let pairs = leaf.keys.iter().zip(&leaf.values);
        pairs
            .flat_map(|(key, value)| [key.clone(), value.clone()])
            .collect()
    };
    Value::tuple([Some(Value::tuple(items)), next].into_iter().flatten())
}

fn reference(oid: Oid, class: &Class) -> Value {
    Value::Reference(Box::new(Reference::new(oid, Some(class.clone()))))
}
