//! The value tree between the wire and typed messages: what Python's
//! protocol peers put into pickles and msgpack.

use std::borrow::Cow;

use crate::ids::{Oid, Tid};

/// A Python value as the protocol carries it. Byte strings and text borrow
/// from the message they were decoded from.
///
/// With msgpack, tuples and lists are one type; they decode as `Tuple`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of up to 128 bits.
    Int(i128),
    /// An integer of more: little-endian two's complement, no byte longer
    /// than it must be. Msgpack has none.
    Long(Cow<'a, [u8]>),
    /// A float.
    Float(f64),
    /// `bytes` (and `zodbpickle.binary`).
    Bytes(Cow<'a, [u8]>),
    /// `str`.
    Str(Cow<'a, str>),
    /// `str` with lone surrogates, in UTF-8 as if these were characters
    /// (Python's `surrogatepass`). Msgpack has none.
    Surrogates(Cow<'a, [u8]>),
    /// A tuple.
    Tuple(Vec<Value<'a>>),
    /// A list.
    List(Vec<Value<'a>>),
    /// A dict, in the order of its items.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// A class or function, by name; never looked up.
    Global {
        /// Dotted module name.
        module: Cow<'a, str>,
        /// Name in the module.
        name: Cow<'a, str>,
    },
    /// A class or function by its code in the registry of `copyreg`, which
    /// is the application's (`add_extension`): 1 to 0x7fff_ffff.
    Extension(u32),
    /// An instance: what pickle would call and with what; never called.
    Object(Box<Object<'a>>),
    /// A persistent reference (only in records, never on the wire).
    Persistent(Box<Value<'a>>),
}

/// An instance in a pickle, by the way it would be rebuilt.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<'a> {
    /// What would be called: a [`Value::Global`] or [`Value::Extension`].
    pub callable: Value<'a>,
    /// The arguments: a [`Value::Tuple`].
    pub args: Value<'a>,
    /// True when rebuilt by `cls.__new__(cls, *args)` (NEWOBJ), false when
    /// by `callable(*args)` (REDUCE).
    pub new: bool,
    /// The state given to BUILD, if any.
    pub state: Option<Value<'a>>,
    /// Items appended (APPENDS) after creation.
    pub items: Vec<Value<'a>>,
    /// Pairs set (SETITEMS) after creation.
    pub pairs: Vec<(Value<'a>, Value<'a>)>,
}

impl<'a> Value<'a> {
    /// A borrowed byte string.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Value::Bytes(Cow::Borrowed(bytes))
    }

    /// A borrowed text.
    pub fn str(text: &'a str) -> Self {
        Value::Str(Cow::Borrowed(text))
    }

    /// The byte string, if it is one.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub fn as_items(&self) -> Option<&[Value<'a>]> {
        match self {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The items of a tuple or list, taken out of it.
    pub fn into_items(self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The oid in an 8-byte string.
    pub fn as_oid(&self) -> Option<Oid> {
        self.as_bytes().and_then(Oid::from_slice)
    }

    /// The tid in an 8-byte string.
    pub fn as_tid(&self) -> Option<Tid> {
        self.as_bytes().and_then(Tid::from_slice)
    }

    /// What kind of value it is, for messages to people: `an int`, `a tuple
    /// of 3`.
    pub fn kind(&self) -> String {
        match self {
            Value::None => "None".to_owned(),
            Value::Bool(_) => "a bool".to_owned(),
            Value::Int(_) | Value::Long(_) => "an int".to_owned(),
            Value::Float(_) => "a float".to_owned(),
            Value::Bytes(bytes) => format!("bytes of length {}", bytes.len()),
            Value::Str(_) => "text".to_owned(),
            Value::Tuple(items) => format!("a tuple of {}", items.len()),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Dict(_) => "a dict".to_owned(),
            Value::Global { module, name } => format!("the global {module:.80}.{name:.80}"),
            Value::Object(_) => "an instance".to_owned(),
            Value::Persistent(_) => "a persistent reference".to_owned(),
            Value::Extension(code) => format!("extension code {code}"),
            Value::Surrogates(text) => {
                format!("text of {} bytes, with lone surrogates", text.len())
            }
        }
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let held = match self {
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
            Value::Extension(_) => 0,
            Value::Bytes(bytes) | Value::Long(bytes) | Value::Surrogates(bytes) => bytes.len(),
            Value::Str(text) => text.len(),
            Value::Tuple(items) | Value::List(items) => items.iter().map(Value::weight).sum(),
            Value::Dict(pairs) => weight_of_pairs(pairs),
            Value::Global { module, name } => module.len() + name.len(),
            Value::Object(object) => object.weight(),
            Value::Persistent(id) => id.weight(),
        };
        size_of::<Self>() + held
    }

    /// The value with every borrowed part copied.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::None => Value::None,
            Value::Bool(b) => Value::Bool(b),
            Value::Int(i) => Value::Int(i),
            Value::Long(b) => Value::Long(Cow::Owned(b.into_owned())),
            Value::Float(f) => Value::Float(f),
            Value::Bytes(b) => Value::Bytes(Cow::Owned(b.into_owned())),
            Value::Str(s) => Value::Str(Cow::Owned(s.into_owned())),
            Value::Surrogates(s) => Value::Surrogates(Cow::Owned(s.into_owned())),
            Value::Tuple(items) => Value::Tuple(owned(items)),
            Value::List(items) => Value::List(owned(items)),
            Value::Dict(pairs) => Value::Dict(owned_pairs(pairs)),
            Value::Global { module, name } => Value::Global {
                module: Cow::Owned(module.into_owned()),
                name: Cow::Owned(name.into_owned()),
            },
            Value::Extension(code) => Value::Extension(code),
            Value::Object(object) => Value::Object(Box::new(object.into_owned())),
            Value::Persistent(id) => Value::Persistent(Box::new(id.into_owned())),
        }
    }
}

impl Object<'_> {
    fn weight(&self) -> usize {
        let state = self.state.as_ref().map_or(0, Value::weight);
        let items: usize = self.items.iter().map(Value::weight).sum();
        let pairs = weight_of_pairs(&self.pairs);
        self.callable.weight() + self.args.weight() + state + items + pairs
    }

    fn into_owned(self) -> Object<'static> {
        Object {
            callable: self.callable.into_owned(),
            args: self.args.into_owned(),
            new: self.new,
            state: self.state.map(Value::into_owned),
            items: owned(self.items),
            pairs: owned_pairs(self.pairs),
        }
    }
}

fn weight_of_pairs(pairs: &[(Value<'_>, Value<'_>)]) -> usize {
    pairs.iter().map(|(k, v)| k.weight() + v.weight()).sum()
}

fn owned(items: Vec<Value<'_>>) -> Vec<Value<'static>> {
    items.into_iter().map(Value::into_owned).collect()
}

fn owned_pairs(pairs: Vec<(Value<'_>, Value<'_>)>) -> Vec<(Value<'static>, Value<'static>)> {
    pairs
        .into_iter()
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect()
}

impl From<Oid> for Value<'static> {
    fn from(oid: Oid) -> Self {
        Value::Bytes(Cow::Owned(oid.to_bytes().to_vec()))
    }
}

impl From<Tid> for Value<'static> {
    fn from(tid: Tid) -> Self {
        Value::Bytes(Cow::Owned(tid.to_bytes().to_vec()))
    }
}
