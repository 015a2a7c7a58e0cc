//! Records: what the database keeps of an object, its class and its state, without Python.
//!
//! A record is decoded into a tree of [`Value`]s, that keeps all that Python's `pickle` tells
//! apart: tuples and lists, text and bytes, references of every kind, instances with the name of
//! their class, and what stands in two places once. Nothing is imported or called.
//!
//! ```
//! use zeo_client::record::{Class, Dict, Record, Value};
//!
//! let state = Dict::from([("title", "Home")]);
//! let page = Record::new("app.models.Page".parse()?, state);
//! let bytes = page.encode()?;
//! assert_eq!(bytes, b"\x80\x03capp.models\nPage\nq\0.\
//!     \x80\x03}q\x01X\x05\0\0\0titleq\x02X\x04\0\0\0Homeq\x03s.");
//!
//! let mut page = Record::decode(bytes)?;
//! assert_eq!(page.class(), Some(&Class::new("app.models", "Page")));
//! page.set("visits", 1);
//! assert_eq!(page.get("title").and_then(Value::as_str), Some("Home"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A record is written as ZODB 6.4 writes it: two pickles of protocol 3 with one memo. What was
//! read from such a record, and not changed, is written as the same bytes.
//!
//! Where a program goes through many records, [`class_name`] and [`references`] tell the class of one
//! and the objects that it leads to, without decoding it.
//!
//! # JSON
//!
//! [`Record::to_json`] shows a record to people and to other programs, and [`Record::from_json`]
//! reads it again. What JSON has not is an object of one member whose name begins with `$`, and
//! maybe more:
//!
//! | Python | JSON |
//! |---|---|
//! | `None`, `True`, `'text'`, `[1, 2.5]` | `null`, `true`, `"text"`, `[1, 2.5]` |
//! | `int` of more than 64 bits; `float` that is no number | `{"$int": "18446744073709551616"}`; `{"$float": "nan"}` |
//! | `dict` with keys that are text (and don't begin with `$`) | `{"key": value}` |
//! | any other `dict` | `{"$dict": [[key, value], ...]}` |
//! | `tuple`, `set`, `frozenset` | `{"$tuple": [...]}`, `{"$set": [...]}`, `{"$frozenset": [...]}` |
//! | `bytes` | `{"$bytes": "GIF89a\\x01\\\\"}`: as between the quotes of Python's literal |
//! | text with lone surrogates | `{"$surrogates": "..."}`: the bytes of its UTF-8 |
//! | class or function | `{"$global": "module.name"}`; `{"$extension": code}` |
//! | reference to an object | `{"$ref": "0x2a", "class": "app.Page"}`, with `"weak": true`, `"database": "name"` |
//! | instance | `{"$instance": "app.Part", "state": ...}`, with `args`, `items`, `pairs` if there are any |
//! | what a call returns | `{"$call": "module.function", "args": [...]}`, and the same |
//! | `datetime` without a zone | `{"$datetime": "2020-02-03T04:05:06.000789"}` |
//! | a value in several places | `{"$shared": 1, "value": ...}` once, then `{"$shared": 1}` |
//!
//! A record is `{"class": "app.Page", "args": ..., "state": ...}`, `args` only if it has them.
//! It can be read again ([`Record::from_json`]), and is then the same to Python, though maybe not
//! the same bytes: whether equal texts or tuples are one is not told.

mod datetime;
mod decode;
mod encode;
mod error;
mod from;
mod from_json;
mod from_type;
mod json;
mod names;
mod passing;
mod shared;
mod to_type;
mod value;

pub use datetime::{DateTime, NoDateTime};
pub use error::{DecodeError, EncodeError, TypeError};
pub use from_json::JsonError;
pub use names::{Class, NoClass, Reference};
pub use value::{Dict, Instance, Look, Shared, Tuple, Value};
pub use zeo_storage::record::class_name;
pub use zeo_storage::references::{Unreadable, references};

/// How deep values may be nested. Python's pickler gives up earlier.
pub const MAX_DEPTH: usize = 1000;

/// An object as the database keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The class: a [`Value::Global`], or a tuple of module and name (of persistent classes, and
    /// in old records).
    pub class: Value,
    /// The arguments for the class's `__new__`, of classes that have `__getnewargs__`; `None` in
    /// old records of all classes.
    pub args: Option<Value>,
    /// What `__setstate__` gets: a dict of the attributes, as a rule.
    pub state: Value,
}

impl Record {
    /// An object of a class without `__getnewargs__`.
    pub fn new(class: Class, state: impl Into<Value>) -> Self {
        Self {
            class: Value::Global(Box::new(class)),
            args: None,
            state: state.into(),
        }
    }

    /// The class, if the record has it by name alone.
    pub fn class(&self) -> Option<&Class> {
        match &self.class {
            Value::Global(class) => Some(class),
            _ => None,
        }
    }

    /// The dotted name of the class, for people.
    pub fn class_name(&self) -> String {
        match &self.class {
            Value::Global(class) => class.to_string(),
            class => match class.as_items() {
                Some([Value::Str(module), Value::Str(name)]) => format!("{module}.{name}"),
                _ => class.kind(),
            },
        }
    }

    /// An attribute, of states that are a dict, or a tuple of one and of slots.
    pub fn get(&self, name: &str) -> Option<&Value> {
        attribute(&self.state, name)
    }

    /// An attribute, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        match &mut self.state {
            Value::Dict(attributes) => attributes.get_mut(name),
            _ => None,
        }
    }

    /// Sets an attribute. A state of `None` becomes a dict; false for those that have none.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> bool {
        let value = value.into();
        self.state.edit(|state| {
            if state.is_none() {
                *state = Value::Dict(Dict::new());
            }
            match state {
                Value::Dict(attributes) => {
                    attributes.insert(name, value);
                    true
                }
                _ => false,
            }
        })
    }

    /// Takes an attribute out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.state.edit(|state| match state {
            Value::Dict(attributes) => attributes.remove(name),
            _ => None,
        })
    }
}

/// An attribute in a state.
fn attribute<'v>(state: &'v Value, name: &str) -> Option<&'v Value> {
    match state {
        Value::Dict(attributes) => attributes.get(name),
        Value::Tuple(parts) => match &**parts {
            [attributes, slots] => [attributes, slots]
                .into_iter()
                .find_map(|part| part.as_dict()?.get(name)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
