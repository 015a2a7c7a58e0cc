//! A tree as programs use it.

use std::cell::RefCell;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

use zeo_proto::Oid;
use zeo_storage::btrees::{Class as Known, Tree as Class};

use super::descent::Passing;
use super::error::{Error, Result};
use super::forest::Forest;
use super::handle::Handle;
use super::insert::{Existing, Found};
use super::key;
use super::node::Family;
use super::range::{Items, Keys, Values};
use super::store::Nodes;
use super::walk::{Leaves, Span, Walk};
use crate::record::{Record, Reference, Value};

/// A BTree, TreeSet, Bucket or Set, in a transaction.
///
/// Keys and values are [`Value`]s; whatever becomes one can be given: numbers, text, bytes. What
/// a class can't hold is refused, as `II` trees take integers of 32 bits only. Keys have the order
/// that they have in Python. A tree may be used by several of these at once.
pub struct Tree<'t>(Handle<'t>);

impl<'t> Tree<'t> {
    /// The tree of this oid. All trees of a transaction have one `forest`, which is flushed when
    /// the transaction commits, or makes a savepoint.
    ///
    /// # Errors
    /// The object is no tree, or could not be read.
    pub fn open(nodes: &'t dyn Nodes, forest: &'t RefCell<Forest>, root: Oid) -> Result<Self> {
        let known = forest.borrow().family(root);
        let family = match known {
            Some(family) => family,
            None => {
                let record = Record::decode(nodes.read(root)?).map_err(|error| Error::Damaged {
                    oid: root,
                    what: error.to_string(),
                })?;
                family_of(root, &record)?
            }
        };
        Ok(Tree(Handle {
            nodes,
            forest,
            family,
            root,
        }))
    }

    /// The record of an empty tree of a class.
    pub fn empty(class: Class) -> Record {
        let state = if class.is_tree() {
            Value::None
        } else {
            Value::tuple([Value::tuple([])])
        };
        Record::new(
            crate::record::Class::new(class.module(), class.name()),
            state,
        )
    }

    /// The tree's object.
    pub fn oid(&self) -> Oid {
        self.0.root
    }

    /// A reference to it, as other objects hold it.
    pub fn reference(&self) -> Reference {
        Reference::new(self.0.root, Some(self.0.family.own.clone()))
    }

    /// Its class, by the name in its module: `OOBTree`, `IISet`.
    pub fn class_name(&self) -> String {
        self.0.family.kind.name()
    }

    /// Whether it has keys without values.
    pub fn is_set(&self) -> bool {
        self.0.family.kind.is_set()
    }

    /// The value of a key; `None` if it is not there. For sets, see [`Tree::contains`].
    ///
    /// # Errors
    /// The key is none of this class, or has no order with those that are there; a node is
    /// damaged or could not be read.
    pub fn get(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        self.refuse(self.is_set())?;
        Ok(self.look_up(key.into())?.flatten())
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// As for [`Tree::get`].
    pub fn contains(&self, key: impl Into<Value>) -> Result<bool> {
        Ok(self.look_up(key.into())?.is_some())
    }

    /// Sets the value of a key, and gives the one it had (`tree[key] = value`).
    ///
    /// The transaction is then committed only if the inner nodes on the way to the key are still
    /// the same, as Python does.
    ///
    /// # Errors
    /// Key or value are none of this class; see also [`Tree::get`]. Nothing is changed then.
    pub fn insert(&self, key: impl Into<Value>, value: impl Into<Value>) -> Result<Option<Value>> {
        match self.set(key.into(), Some(value.into()), Existing::Replace)? {
            Found::Item(was) => Ok(was),
            Found::Nothing => Ok(None),
        }
    }

    /// Sets the value of a key if that is not there; whether it was not (`tree.insert`).
    ///
    /// # Errors
    /// As for [`Tree::insert`].
    pub fn insert_new(&self, key: impl Into<Value>, value: impl Into<Value>) -> Result<bool> {
        let found = self.set(key.into(), Some(value.into()), Existing::Keep)?;
        Ok(found == Found::Nothing)
    }

    /// Adds a key to a set; whether it is new.
    ///
    /// # Errors
    /// As for [`Tree::insert`].
    pub fn add(&self, key: impl Into<Value>) -> Result<bool> {
        Ok(self.set(key.into(), None, Existing::Keep)? == Found::Nothing)
    }

    /// Sets the values of many keys (`tree.update`).
    ///
    /// # Errors
    /// As for [`Tree::insert`]; what came before stays set.
    pub fn extend<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> Result<()>
    where
        K: Into<Value>,
        V: Into<Value>,
    {
        for (key, value) in items {
            self.insert(key, value)?;
        }
        Ok(())
    }

    /// Takes an item out, and gives its value (`tree.pop(key, None)`). For sets, see
    /// [`Tree::delete`].
    ///
    /// # Errors
    /// As for [`Tree::get`]. Nothing is changed then.
    pub fn remove(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        self.refuse(self.is_set())?;
        let key = key.into();
        match self.look_up(key.clone())? {
            Some(_) => Ok(self.take(key)?.flatten()),
            None => Ok(None),
        }
    }

    /// Takes a key out, with its value; whether it was there (`del tree[key]`). If it was not, the
    /// transaction is still committed only if the inner nodes on the way are the same.
    ///
    /// # Errors
    /// As for [`Tree::get`]. Nothing is changed then.
    pub fn delete(&self, key: impl Into<Value>) -> Result<bool> {
        Ok(self.take(key.into())?.is_some())
    }

    /// Takes all items out.
    ///
    /// # Errors
    /// The tree's own node is damaged or could not be read.
    pub fn clear(&self) -> Result<()> {
        let changed = self.0.grove(|grove, root| grove.clear(root))?;
        if changed {
            self.0.forest.borrow_mut().restructured(self.0.root);
        }
        Ok(())
    }

    /// All items, in the order of their keys. Sets have `None` for values; see [`Tree::keys`].
    pub fn iter(&self) -> Items<'_, 't> {
        Items::new(self.walk_all(false))
    }

    /// All keys, in order.
    pub fn keys(&self) -> Keys<'_, 't> {
        Keys::new(self.walk_all(false))
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> Values<'_, 't> {
        Values::new(self.walk_all(false))
    }

    /// The items with keys in a range: `tree.range("a".."b")`, `tree.range(10..=20)`.
    ///
    /// # Errors
    /// The keys are none of this class.
    pub fn range<K: Into<Value> + Clone>(
        &self,
        range: impl RangeBounds<K>,
    ) -> Result<Items<'_, 't>> {
        Ok(Items::new(self.walk(&range, false)?))
    }

    /// The items with keys in a range, the last one first.
    ///
    /// # Errors
    /// The keys are none of this class.
    pub fn range_back<K: Into<Value> + Clone>(
        &self,
        range: impl RangeBounds<K>,
    ) -> Result<Items<'_, 't>> {
        Ok(Items::new(self.walk(&range, true)?))
    }

    /// The item with the smallest key.
    ///
    /// # Errors
    /// A node is damaged or could not be read.
    pub fn first(&self) -> Result<Option<(Value, Value)>> {
        self.iter().next().transpose()
    }

    /// The item with the largest key.
    ///
    /// # Errors
    /// A node is damaged or could not be read.
    pub fn last(&self) -> Result<Option<(Value, Value)>> {
        Items::new(self.walk_all(true)).next().transpose()
    }

    /// How many keys there are. All leaves are read for that: programs in need of it keep a
    /// [`Length`](super::Length) beside.
    ///
    /// # Errors
    /// A node is damaged or could not be read.
    pub fn len(&self) -> Result<usize> {
        let mut leaves = self.walk_all(false);
        let mut count = 0;
        while let Some(leaf) = leaves.next()? {
            count += leaf.keys.len();
        }
        Ok(count)
    }

    /// Whether there are no keys.
    ///
    /// # Errors
    /// The tree's own node is damaged or could not be read.
    pub fn is_empty(&self) -> Result<bool> {
        self.0
            .grove(|grove, root| Ok(grove.load(root, None)?.len() == 0))
    }

    fn look_up(&self, key: Value) -> Result<Option<Option<Value>>> {
        let key = key::key(&self.0.family.kind, key)?;
        self.0.grove(|grove, root| {
            let Some(path) = grove.descend(root, &key, Passing::Reads)? else {
                return Ok(None);
            };
            match grove.search(path.leaf, &key)? {
                Ok(at) => Ok(Some(grove.leaf(path.leaf)?.values.get(at).cloned())),
                Err(_) => Ok(None),
            }
        })
    }

    fn set(&self, key: Value, value: Option<Value>, existing: Existing) -> Result<Found> {
        let class = &self.0.family.kind;
        match value {
            None if !class.is_set() => {
                return Err(Error::NeedsValues {
                    class: class.name(),
                });
            }
            Some(_) => self.refuse(class.is_set())?,
            None => {}
        }
        let key = key::key(class, key)?;
        let value = value.map(|value| key::value(class, value)).transpose()?;
        let found = self
            .0
            .grove(|grove, root| grove.set(root, key, value, existing))?;
        if found == Found::Nothing {
            self.0.forest.borrow_mut().restructured(self.0.root);
        }
        Ok(found)
    }

    fn take(&self, key: Value) -> Result<Option<Option<Value>>> {
        let key = key::key(&self.0.family.kind, key)?;
        let taken = self.0.grove(|grove, root| grove.delete(root, &key))?;
        if taken.is_some() {
            self.0.forest.borrow_mut().restructured(self.0.root);
        }
        Ok(taken)
    }

    fn refuse(&self, is_set: bool) -> Result<()> {
        if is_set {
            Err(Error::NoValues {
                class: self.class_name(),
            })
        } else {
            Ok(())
        }
    }

    fn walk_all(&self, backwards: bool) -> Leaves<'_, 't> {
        self.leaves(Span {
            low: Bound::Unbounded,
            high: Bound::Unbounded,
            backwards,
        })
    }

    fn walk<K: Into<Value> + Clone>(
        &self,
        range: &impl RangeBounds<K>,
        backwards: bool,
    ) -> Result<Leaves<'_, 't>> {
        let end = |bound: Bound<&K>| -> Result<Bound<Value>> {
            let kept = |key: &K| key::key(&self.0.family.kind, key.clone().into());
            Ok(match bound {
                Bound::Included(key) => Bound::Included(kept(key)?),
                Bound::Excluded(key) => Bound::Excluded(kept(key)?),
                Bound::Unbounded => Bound::Unbounded,
            })
        };
        Ok(self.leaves(Span {
            low: end(range.start_bound())?,
            high: end(range.end_bound())?,
            backwards,
        }))
    }

    fn leaves(&self, span: Span) -> Leaves<'_, 't> {
        let version = self.0.forest.borrow().version(self.0.root);
        Leaves::new(&self.0, Walk::new(self.0.root, span, version))
    }
}

/// What kind of tree a record is of.
fn family_of(oid: Oid, record: &Record) -> Result<Rc<Family>> {
    let class = record.class_name();
    let known = record
        .class()
        .and_then(|class| Known::named(&class.module, &class.name));
    match known {
        Some(Known::Tree(tree)) if tree.python => Err(Error::InPython { oid, class }),
        Some(Known::Tree(tree)) => Ok(Family::of(tree)),
        _ => Err(Error::NotATree { oid, class }),
    }
}
