//! `PersistentMapping` and `PersistentList`, and classes derived from them.

use zeo_proto::Oid;

use super::error::{Error, Result};
use super::object::Object;
use crate::record::{Class, Dict, Record, Value};

use super::access::MAPPING;
use super::transaction::Transaction;

const LIST: Class = Class::from_static("persistent.list", "PersistentList");
/// Where the items are, and where those of mappings were before ZODB 3.3.
const DATA: &str = "data";
const OLD_DATA: &str = "_container";

/// A `PersistentMapping`: a dict that is an object of the database. All of it is in one record; for
/// more than some hundred items take a BTree.
#[derive(Clone, Debug)]
pub struct Mapping<'t>(Object<'t>);

/// A `PersistentList`: a list that is an object of the database.
#[derive(Clone, Debug)]
pub struct List<'t>(Object<'t>);

impl Transaction<'_> {
    /// A new `PersistentMapping`.
    pub fn new_mapping(&self, items: Dict) -> Mapping<'_> {
        Mapping(self.new_object(MAPPING, Dict::from([(DATA, items)])))
    }

    /// A new `PersistentList`.
    pub fn new_list(&self, items: Vec<Value>) -> List<'_> {
        List(self.new_object(LIST, Dict::from([(DATA, items)])))
    }
}

impl<'t> Object<'t> {
    /// The object as a mapping: its state must be that of a `PersistentMapping`.
    ///
    /// # Errors
    /// [`Error::Kind`]; and as of [`Transaction::get`].
    pub fn mapping(&self) -> Result<Mapping<'t>> {
        let mapping = Mapping(self.clone());
        mapping.with(|_| ())?;
        Ok(mapping)
    }

    /// The object as a list: its state must be that of a `PersistentList`.
    ///
    /// # Errors
    /// [`Error::Kind`]; and as of [`Transaction::get`].
    pub fn list(&self) -> Result<List<'t>> {
        let list = List(self.clone());
        list.with(|_| ())?;
        Ok(list)
    }
}

impl<'t> Mapping<'t> {
    /// The object itself.
    pub fn object(&self) -> &Object<'t> {
        &self.0
    }

    /// How many items there are.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn len(&self) -> Result<usize> {
        self.with(Dict::len)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn is_empty(&self) -> Result<bool> {
        self.with(Dict::is_empty)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn get(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        let key = key.into();
        self.with(|items| items.get_by(&key).cloned())
    }

    /// The object that the value of a key refers to.
    ///
    /// # Errors
    /// [`Error::Kind`] if there is no such key, or its value is no reference; and as of
    /// [`Transaction::follow`].
    pub fn follow(&self, key: impl Into<Value>) -> Result<Object<'t>> {
        let key = key.into();
        let value = self.with(|items| items.get_by(&key).cloned())?;
        match value.as_ref().and_then(Value::as_reference) {
            Some(reference) => self.0.transaction.follow(reference),
            None => {
                let text = key.as_str().map(|key| format!("{key:?}"));
                let key = text.unwrap_or_else(|| format!("{key:?}"));
                Err(self.0.is_not(match value {
                    None => format!("has no key {key}"),
                    Some(value) => {
                        let kind = value.look().kind();
                        format!("has {kind} at key {key}, not a reference")
                    }
                }))
            }
        }
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn insert(&self, key: impl Into<Value>, value: impl Into<Value>) -> Result<()> {
        let (key, value) = (key.into(), value.into());
        self.edit(|items| {
            items.insert(key, value);
        })
    }

    /// Takes a key out, with its value. A key that is not there changes nothing.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn remove(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        let key = key.into();
        if self.with(|items| items.get_by(&key).is_none())? {
            return Ok(None);
        }
        self.edit(|items| items.remove_by(&key))
    }

    /// The items, as they are now.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn items(&self) -> Result<Dict> {
        self.with(Dict::clone)
    }

    /// Changes the items.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn edit<R>(&self, change: impl FnOnce(&mut Dict) -> R) -> Result<R> {
        let oid = self.0.oid;
        self.0.transaction.edit(oid, |record| {
            rename_old_data(record);
            data_mut(oid, record, |data| match data {
                Value::Dict(items) => Some(change(items)),
                _ => None,
            })
        })
    }

    /// Looks at the items.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn with<R>(&self, look: impl FnOnce(&Dict) -> R) -> Result<R> {
        let record = self.0.record()?;
        let data = record.get(DATA).or_else(|| record.get(OLD_DATA));
        match data.map(Value::look).as_deref() {
            Some(Value::Dict(items)) => Ok(look(items)),
            _ => Err(self
                .0
                .is_not("has not the state of a PersistentMapping".to_owned())),
        }
    }
}

impl<'t> List<'t> {
    /// The object itself.
    pub fn object(&self) -> &Object<'t> {
        &self.0
    }

    /// How many items there are.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn len(&self) -> Result<usize> {
        self.with(<[Value]>::len)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn is_empty(&self) -> Result<bool> {
        self.with(<[Value]>::is_empty)
    }

    /// The item at this place, from 0.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn get(&self, at: usize) -> Result<Option<Value>> {
        self.with(|items| items.get(at).cloned())
    }

    /// The object that the item at this place refers to.
    ///
    /// # Errors
    /// [`Error::Kind`] if there is no such item, or it is no reference; and as of
    /// [`Transaction::follow`].
    pub fn follow(&self, at: usize) -> Result<Object<'t>> {
        let item = self.get(at)?;
        match item.as_ref().and_then(Value::as_reference) {
            Some(reference) => self.0.transaction.follow(reference),
            None => {
                let kind = item.map_or("nothing".to_owned(), |item| item.look().kind());
                Err(self
                    .0
                    .is_not(format!("has {kind} at {at}, not a reference")))
            }
        }
    }

    /// Appends an item.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn push(&self, item: impl Into<Value>) -> Result<()> {
        let item = item.into();
        self.edit(|items| items.push(item))
    }

    /// The items, as they are now.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn items(&self) -> Result<Vec<Value>> {
        self.with(<[Value]>::to_vec)
    }

    /// Changes the items.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn edit<R>(&self, change: impl FnOnce(&mut Vec<Value>) -> R) -> Result<R> {
        let oid = self.0.oid;
        self.0.transaction.edit(oid, |record| {
            data_mut(oid, record, |data| match data {
                Value::List(items) => Some(change(items)),
                _ => None,
            })
        })
    }

    /// Looks at the items.
    ///
    /// # Errors
    /// As of [`Transaction::get`].
    pub fn with<R>(&self, look: impl FnOnce(&[Value]) -> R) -> Result<R> {
        let record = self.0.record()?;
        match record.get(DATA).map(Value::look).as_deref() {
            Some(Value::List(items)) => Ok(look(items)),
            _ => Err(self
                .0
                .is_not("has not the state of a PersistentList".to_owned())),
        }
    }
}

/// A mapping that was written before ZODB 3.3 is written as those of today, as by Python.
fn rename_old_data(record: &mut Record) {
    if record.get(DATA).is_none()
        && let Some(items) = record.remove(OLD_DATA)
    {
        record.set(DATA, items);
    }
}

fn data_mut<R>(
    oid: Oid,
    record: &mut Record,
    change: impl FnOnce(&mut Value) -> Option<R>,
) -> Result<R> {
    let changed = record.get_mut(DATA).and_then(|data| data.edit(change));
    changed.ok_or_else(|| Error::Kind {
        oid,
        class: record.class_name(),
        what: "has not the state of a mapping or list".to_owned(),
    })
}

impl From<&Mapping<'_>> for Value {
    /// A reference to it.
    fn from(mapping: &Mapping<'_>) -> Self {
        mapping.object().into()
    }
}

impl From<&List<'_>> for Value {
    /// A reference to it.
    fn from(list: &List<'_>) -> Self {
        list.object().into()
    }
}
