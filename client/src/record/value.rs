//! The values of a state.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use num_bigint::BigInt;

use super::names::{Class, Reference};
use super::shared;

/// A list, dict, set or instance that stands in several places: where it is changed in one, it is
/// changed in all, as in Python.
pub type Shared = shared::Shared<Value>;

/// A Python value, as a record holds it.
///
/// Text and bytes are parts of the record that they were read from, and tuples are counted: a
/// clone of these copies nothing. What stands once in memory and is written in two places is
/// written once, as by Python.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `None`.
    #[default]
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An `int` of up to 64 bits.
    Int(i64),
    /// An `int` of more.
    BigInt(Box<BigInt>),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Str(ByteString),
    /// A `str` with lone surrogates, in UTF-8 as if these were characters.
    Surrogates(Bytes),
    /// `bytes`.
    Bytes(Bytes),
    /// A tuple.
    Tuple(Tuple),
    /// A list.
    List(Vec<Value>),
    /// A dict.
    Dict(Dict),
    /// A `set`, in the order of the record.
    Set(Vec<Value>),
    /// A `frozenset`, in the order of the record.
    FrozenSet(Vec<Value>),
    /// A class or function.
    Global(Box<Class>),
    /// A class or function by its code in the registry of `copyreg`, which is the application's.
    Extension(u32),
    /// An instance that is no object of the database, but a part of this one.
    Instance(Box<Instance>),
    /// A reference to an object of the database.
    Reference(Box<Reference>),
    /// A persistent id of another form than those of [`Reference`].
    Persistent(Box<Value>),
    /// A list, dict, set or instance that stands in several places.
    Shared(Shared),
}

/// An instance, by the way in which Python would make it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// What would be called: a [`Value::Global`], as a rule.
    pub callable: Value,
    /// The arguments: a tuple.
    pub args: Value,
    /// True when made by `cls.__new__(cls, *args)`, as most; false when by `callable(*args)`, as
    /// by a `__reduce__` of its own.
    pub new: bool,
    /// What `__setstate__` gets: a dict of the attributes, as a rule.
    pub state: Option<Value>,
    /// Items that are appended then.
    pub items: Vec<Value>,
    /// Pairs that are set then.
    pub pairs: Dict,
}

impl Instance {
    /// An instance of a class with these attributes.
    pub fn new(class: Class, attributes: Dict) -> Self {
        Self {
            state: Some(Value::Dict(attributes)),
            ..Self::call(class, Vec::new(), true)
        }
    }

    /// What a class or function returns when it is called, with these arguments.
    pub fn called(callable: Class, args: Vec<Value>) -> Self {
        Self::call(callable, args, false)
    }

    fn call(callable: Class, args: Vec<Value>, new: bool) -> Self {
        Self {
            callable: Value::Global(Box::new(callable)),
            args: Value::Tuple(args.into()),
            new,
            state: None,
            items: Vec::new(),
            pairs: Dict::new(),
        }
    }

    /// The class or function, if it is one by name.
    pub fn class(&self) -> Option<&Class> {
        match &self.callable {
            Value::Global(class) => Some(class),
            _ => None,
        }
    }

    /// An attribute.
    pub fn get(&self, attribute: &str) -> Option<&Value> {
        super::attribute(self.state.as_ref()?, attribute)
    }

    /// The arguments, as far as they are known: none of a tuple that contains itself.
    pub fn args(&self) -> &[Value] {
        match &self.args {
            Value::Tuple(args) => args,
            _ => &[],
        }
    }
}

/// A tuple. A clone is the same tuple.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuple(Arc<[Value]>);

impl Tuple {
    /// The items. They are copied only if the tuple is elsewhere too.
    pub fn into_vec(mut self) -> Vec<Value> {
        match Arc::get_mut(&mut self.0) {
            Some(items) => items.iter_mut().map(std::mem::take).collect(),
            None => self.0.to_vec(),
        }
    }

    /// What tells it from all others while it is there.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl Deref for Tuple {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

impl From<Vec<Value>> for Tuple {
    fn from(items: Vec<Value>) -> Self {
        Self(items.into())
    }
}

impl FromIterator<Value> for Tuple {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl Value {
    /// A tuple of these items.
    pub fn tuple(items: impl IntoIterator<Item = Value>) -> Self {
        Value::Tuple(items.into_iter().collect())
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if it is such.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number, if it is an `int` of up to 64 bits.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The number, if it is a `float`.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(float) => Some(*float),
            _ => None,
        }
    }

    /// The truth value, if it is a `bool`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(bool) => Some(*bool),
            _ => None,
        }
    }

    /// The items, if it is a tuple, list or set that stands in one place.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Value::Tuple(items) => Some(items),
            Value::List(items) | Value::Set(items) | Value::FrozenSet(items) => Some(items),
            _ => None,
        }
    }

    /// The dict, if it is one that stands in one place.
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Value::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// The reference, if it is one.
    pub fn as_reference(&self) -> Option<&Reference> {
        match self {
            Value::Reference(reference) => Some(reference),
            _ => None,
        }
    }

    /// The instance, if it is one that stands in one place.
    pub fn as_instance(&self) -> Option<&Instance> {
        match self {
            Value::Instance(instance) => Some(instance),
            _ => None,
        }
    }

    /// Whether it is `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, Value::None)
    }

    /// The value itself, also if it stands in several places.
    ///
    /// ```
    /// use zeo_client::record::{Shared, Value};
    ///
    /// let tags = Value::Shared(Shared::new(Value::List(vec!["new".into()])));
    /// assert_eq!(tags.look().as_items(), Some(&["new".into()][..]));
    /// ```
    pub fn look(&self) -> Look<'_> {
        match self {
            Value::Shared(shared) => Look::Shared(shared.snapshot().unwrap_or_default()),
            value => Look::Here(value),
        }
    }

    /// Changes the value itself, in all the places where it stands.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Value) -> R) -> R {
        match self {
            Value::Shared(shared) => shared.edit(change),
            value => change(value),
        }
    }

    /// What kind of value it is, for messages to people: `an int`, `a tuple of 3`.
    pub fn kind(&self) -> String {
        match self {
            Value::None => "None".to_owned(),
            Value::Bool(_) => "a bool".to_owned(),
            Value::Int(_) | Value::BigInt(_) => "an int".to_owned(),
            Value::Float(_) => "a float".to_owned(),
            Value::Str(_) | Value::Surrogates(_) => "text".to_owned(),
            Value::Bytes(bytes) => format!("bytes of length {}", bytes.len()),
            Value::Tuple(items) => format!("a tuple of {}", items.len()),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Dict(dict) => format!("a dict of {}", dict.len()),
            Value::Set(items) => format!("a set of {}", items.len()),
            Value::FrozenSet(items) => format!("a frozenset of {}", items.len()),
            Value::Global(class) => format!("the global {class:.80}"),
            Value::Extension(code) => format!("extension code {code}"),
            Value::Instance(instance) => match instance.class() {
                Some(class) => format!("an instance of {class:.80}"),
                None => "an instance".to_owned(),
            },
            Value::Reference(reference) => format!("a reference to {}", reference.oid),
            Value::Persistent(_) => "a persistent id of unknown form".to_owned(),
            Value::Shared(_) => "a value in several places".to_owned(),
        }
    }
}

/// A value, wherever it stands ([`Value::look`]).
#[derive(Clone, Debug)]
pub enum Look<'v> {
    /// In this place only.
    Here(&'v Value),
    /// In several, as it was when it was looked at.
    Shared(Arc<Value>),
}

impl Deref for Look<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        match self {
            Look::Here(value) => value,
            Look::Shared(value) => value,
        }
    }
}

/// A dict, in the order of its items. Keys may be of any kind.
///
/// It is searched from the front, which is fast for attributes, and for as many items as should be
/// in one record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dict {
    pairs: Vec<(Value, Value)>,
}

impl Dict {
    /// An empty dict.
    pub const fn new() -> Self {
        Self { pairs: Vec::new() }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value of a key that is text.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let pair = self.pairs.iter().find(|(k, _)| k.as_str() == Some(key));
        pair.map(|(_, value)| value)
    }

    /// The value of a key that is text, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        let pair = self.pairs.iter_mut().find(|(k, _)| k.as_str() == Some(key));
        pair.map(|(_, value)| value)
    }

    /// The value of any key.
    pub fn get_by(&self, key: &Value) -> Option<&Value> {
        self.position(key).map(|at| &self.pairs[at].1)
    }

    /// Whether there is a key that is this text.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value of a key, and gives the one it had. A new key goes to the end.
    pub fn insert(&mut self, key: impl Into<Value>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.position(&key) {
            Some(at) => Some(std::mem::replace(&mut self.pairs[at].1, value)),
            None => {
                self.pairs.push((key, value));
                None
            }
        }
    }

    /// Takes a key that is text out, with its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.remove_by(&Value::from(key))
    }

    /// Takes any key out, with its value.
    pub fn remove_by(&mut self, key: &Value) -> Option<Value> {
        self.position(key).map(|at| self.pairs.remove(at).1)
    }

    /// Takes all items out.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// The items.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Value, &Value)> + DoubleEndedIterator {
        self.pairs.iter().map(|(key, value)| (key, value))
    }

    /// The items, with values to be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&Value, &mut Value)> {
        self.pairs.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// The items in a row.
    pub fn pairs(&self) -> &[(Value, Value)] {
        &self.pairs
    }

    /// As they stand in a record, where a key may be twice; the last one would win.
    pub(super) fn from_pairs(pairs: Vec<(Value, Value)>) -> Self {
        Self { pairs }
    }

    fn position(&self, key: &Value) -> Option<usize> {
        self.pairs.iter().position(|(k, _)| same_key(k, key))
    }
}

/// Whether two values are one key to Python, to which `1`, `1.0` and `True` are.
fn same_key(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_key(a, b))
        }
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
    }
}

/// An integer, as numbers of all types can be; those that are none are equal to none of another
/// type.
fn number(value: &Value) -> Option<i64> {
    match *value {
        Value::Bool(bool) => Some(bool.into()),
        Value::Int(int) => Some(int),
        Value::Float(float) if float == float.trunc() && float.abs() < 9e15 => Some(float as i64),
        _ => None,
    }
}

impl IntoIterator for Dict {
    type Item = (Value, Value);
    type IntoIter = std::vec::IntoIter<(Value, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.pairs.into_iter()
    }
}
