//! From the bytes of a record to its values.
//!
//! `zeo_proto`'s machine runs the two pickles; its nodes become values here, without recursion.
//! Text and bytes are not copied: they become parts of the record's buffer. So what Python's memo
//! made one is one place in memory, and is found again by its address when the record is written.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use bytestring::ByteString;
use num_bigint::BigInt;
use zeo_proto::pickle::{self, Call, Node, NodeId, Policy, Problem, Strings, Unpickler};
use zeo_proto::{Oid, Value as Wire};
use zeo_storage::record::{PLAIN_MAX, decompress, is_compressed};

use super::error::DecodeError;
use super::names::{Class, Reference};
use super::value::{Dict, Instance, Shared, Value};
use super::{MAX_DEPTH, Record};

/// As Python 3, which fails at text of Python 2 that is not ASCII.
const POLICY: Policy = Policy {
    strings: Strings::Ascii,
    max_depth: MAX_DEPTH,
    ..Policy::FILE
};

impl Record {
    /// Reads a record, also one that `zc.zlibstorage` compressed.
    ///
    /// # Errors
    /// [`DecodeError`]: it is not two pickles, or has what could not be written again as it was:
    /// opcodes that no version of Python's `pickle` has, text of Python 2 that is not ASCII,
    /// out-of-band buffers, instances that are filled after they got their state.
    pub fn decode(bytes: impl Into<Bytes>) -> Result<Self, DecodeError> {
        let bytes = plain(bytes.into())?;
        let mut machine = Unpickler::new(&bytes, &POLICY);
        let class = machine.root()?;
        let state = machine.root()?;
        let mut builder = Builder::new(&bytes, &machine);
        let (class, args) = match machine.node(class) {
            Some(Node::Tuple(&[class, args])) if !is_name(&machine, [class, args]) => {
                (builder.build(class)?, Some(builder.build(args)?))
            }
            _ => (builder.build(class)?, None),
        };
        let state = builder.build(state)?;
        Ok(Self { class, args, state })
    }
}

/// A record out of its compression, if it has one.
fn plain(bytes: Bytes) -> Result<Bytes, DecodeError> {
    if !is_compressed(&bytes) {
        return Ok(bytes);
    }
    Ok(match decompress(&bytes, PLAIN_MAX)? {
        Cow::Owned(plain) => plain.into(),
        Cow::Borrowed(_) => bytes,
    })
}

/// Whether two parts are the name of a class, not the class and its arguments.
fn is_name(machine: &Unpickler<'_>, parts: [NodeId; 2]) -> bool {
    let is_text = |part| matches!(machine.node(part), Some(Node::Leaf(Wire::Str(_))));
    parts.into_iter().all(is_text)
}

/// Makes values of the machine's nodes.
struct Builder<'m, 'a> {
    record: &'a Bytes,
    machine: &'m Unpickler<'a>,
    /// The nodes that may stand in several places.
    places: HashMap<NodeId, Place>,
    /// How many values were made.
    made: usize,
}

/// How far a node in several places is.
enum Place {
    /// Nowhere yet.
    New,
    /// Its parts are being made. The value is there already if a part refers to it.
    Open(Option<Shared>),
    Done(Value),
}

/// A node whose parts are being made: those before `next` are done and stand from `start`.
struct Open {
    id: NodeId,
    next: usize,
    start: usize,
    is_set: bool,
}

impl<'m, 'a> Builder<'m, 'a> {
    fn new(record: &'a Bytes, machine: &'m Unpickler<'a>) -> Self {
        let places = machine.shared().iter().map(|&id| (id, Place::New));
        Self {
            record,
            machine,
            places: places.collect(),
            made: 0,
        }
    }

    /// The value of a node.
    fn build(&mut self, root: NodeId) -> Result<Value, DecodeError> {
        let mut done: Vec<Value> = Vec::with_capacity(8);
        let mut open: Vec<Open> = Vec::with_capacity(8);
        let mut next = Some(root);
        loop {
            if let Some(id) = next {
                match self.at_once(id)? {
                    Some(value) => done.push(value),
                    None if open.len() < MAX_DEPTH => open.push(Open {
                        id,
                        next: 0,
                        start: done.len(),
                        is_set: self.items_of_set(id).is_some(),
                    }),
                    None => return Err(DecodeError::TooDeep),
                }
            }
            let Some(last) = open.last_mut() else {
                return done.pop().ok_or_else(missing);
            };
            next = if last.is_set {
                self.items_of_set(last.id)
                    .and_then(|(_, items)| items.get(last.next).copied())
            } else {
                self.machine.part(last.id, last.next)
            };
            last.next += 1;
            if next.is_none()
                && let Some(Open { id, start, .. }) = open.pop()
            {
                let value = self.close(id, done.drain(start..)).ok_or_else(missing)?;
                done.push(self.settle(id, value));
            }
        }
    }

    /// The value of a node that has no parts to be made, or has been made. `None`: its parts come
    /// now.
    fn at_once(&mut self, id: NodeId) -> Result<Option<Value>, DecodeError> {
        self.made += 1;
        if self.made > POLICY.max_values {
            return Err(DecodeError::TooLarge(POLICY.max_values));
        }
        match self.machine.node(id).ok_or_else(missing)? {
            Node::Leaf(value) => return Ok(Some(self.leaf(value))),
            Node::Persistent(pid) => {
                if let Some(reference) = self.reference(pid) {
                    return Ok(Some(Value::Reference(Box::new(reference))));
                }
            }
            _ => {}
        }
        if self.places.is_empty() {
            return Ok(None);
        }
        let is_tuple = matches!(self.machine.node(id), Some(Node::Tuple(_)));
        let Some(place) = self.places.get_mut(&id) else {
            return Ok(None);
        };
        Ok(match place {
            Place::New => {
                // Tuples that don't contain themselves need no place: they can't be changed.
                *place = Place::Open((!is_tuple).then(|| Shared::new(Value::None)));
                None
            }
            Place::Open(shared) => {
                let shared = shared.get_or_insert_with(|| Shared::new(Value::None));
                Some(Value::Shared(shared.within()))
            }
            Place::Done(value) => Some(value.clone()),
        })
    }

    /// Puts a value that is made into its place, if it may stand in several.
    fn settle(&mut self, id: NodeId, value: Value) -> Value {
        if self.places.is_empty() {
            return value;
        }
        let Some(place) = self.places.get_mut(&id) else {
            return value;
        };
        let value = match std::mem::replace(place, Place::New) {
            Place::Open(Some(shared)) if !matches!(value, Value::Persistent(_)) => {
                shared.set(value);
                Value::Shared(shared)
            }
            _ if !is_fixed(&value) => Value::Shared(Shared::new(value)),
            _ => value,
        };
        *place = Place::Done(value.clone());
        value
    }

    /// The value of a node, made of its parts.
    fn close(&self, id: NodeId, mut parts: impl Iterator<Item = Value>) -> Option<Value> {
        Some(match self.machine.node(id)? {
            Node::Leaf(value) => self.leaf(value),
            Node::Tuple(_) => Value::Tuple(parts.collect()),
            Node::List(_) => Value::List(parts.collect()),
            Node::Dict(_) => Value::Dict(in_pairs(parts)),
            Node::Persistent(_) => Value::Persistent(Box::new(parts.next()?)),
            Node::Instance(call) => match self.items_of_set(id) {
                Some((true, _)) => Value::FrozenSet(parts.collect()),
                Some((false, _)) => Value::Set(parts.collect()),
                None => Value::Instance(Box::new(instance(call, parts)?)),
            },
        })
    }

    fn leaf(&self, value: &Wire<'a>) -> Value {
        match value {
            Wire::None => Value::None,
            Wire::Bool(bool) => Value::Bool(*bool),
            Wire::Int(int) => match i64::try_from(*int) {
                Ok(int) => Value::Int(int),
                Err(_) => Value::BigInt(Box::new(BigInt::from(*int))),
            },
            Wire::Long(bytes) => Value::BigInt(Box::new(BigInt::from_signed_bytes_le(bytes))),
            Wire::Float(float) => Value::Float(*float),
            Wire::Bytes(bytes) => Value::Bytes(self.bytes(bytes)),
            Wire::Str(text) => Value::Str(self.text(text)),
            Wire::Surrogates(bytes) => Value::Surrogates(self.bytes(bytes)),
            Wire::Global { module, name } => Value::Global(Box::new(Class {
                module: self.text(module),
                name: self.text(name),
            })),
            Wire::Extension(code) => Value::Extension(*code),
            // The machine has these as nodes with parts.
            Wire::Tuple(_) | Wire::List(_) | Wire::Dict(_) => Value::None,
            Wire::Object(_) | Wire::Persistent(_) => Value::None,
        }
    }

    /// A part of the record, or a copy of what is none.
    fn bytes(&self, part: &[u8]) -> Bytes {
        let from = part
            .as_ptr()
            .addr()
            .wrapping_sub(self.record.as_ptr().addr());
        let range = from..from.wrapping_add(part.len());
        match self.record.get(range.clone()) {
            Some(same) if std::ptr::eq(same, part) => self.record.slice(range),
            _ => Bytes::copy_from_slice(part),
        }
    }

    fn text(&self, text: &str) -> ByteString {
        let part = self.bytes(text.as_bytes());
        ByteString::try_from(part).unwrap_or_else(|_| ByteString::from(text))
    }

    /// The items of an instance that is a set in the usual form, and whether it is frozen.
    fn items_of_set(&self, id: NodeId) -> Option<(bool, &'m [NodeId])> {
        let Node::Instance(call) = self.machine.node(id)? else {
            return None;
        };
        let Node::Leaf(Wire::Global { module, name }) = self.machine.node(call.callable)? else {
            return None;
        };
        let frozen = match (&**module, &**name) {
            ("builtins" | "__builtin__", "set") => false,
            ("builtins" | "__builtin__", "frozenset") => true,
            _ => return None,
        };
        if call.new || call.state.is_some() || !call.items.is_empty() || !call.pairs.is_empty() {
            return None;
        }
        let Node::Tuple(&[list]) = self.machine.node(call.args)? else {
            return None;
        };
        let apart = |id: &NodeId| !self.places.contains_key(id);
        match self.machine.node(list)? {
            Node::List(items) if apart(&call.args) && apart(&list) => Some((frozen, items)),
            _ => None,
        }
    }

    /// What a persistent id of one of the usual forms refers to.
    fn reference(&self, pid: NodeId) -> Option<Reference> {
        match self.machine.node(pid)? {
            Node::Leaf(_) => self.oid(pid),
            Node::Tuple(&[oid, class]) => Some(Reference {
                class: Some(self.class(class)?),
                ..self.oid(oid)?
            }),
            Node::List(&[kind, parts]) => {
                let (Node::Leaf(Wire::Str(kind)), Node::Tuple(parts)) =
                    (self.machine.node(kind)?, self.machine.node(parts)?)
                else {
                    return None;
                };
                let weak = |oid| {
                    self.oid(oid).map(|found| Reference {
                        weak: true,
                        ..found
                    })
                };
                let within = |database, found: Reference| {
                    self.database(database).map(|name| found.in_database(name))
                };
                match (&**kind, parts) {
                    ("w", &[oid]) => weak(oid),
                    ("w", &[oid, database]) => within(database, weak(oid)?),
                    ("n", &[database, oid]) => within(database, self.oid(oid)?),
                    ("m", &[database, oid, class]) => {
                        let class = Some(self.class(class)?);
                        let found = self.oid(oid)?;
                        within(database, Reference { class, ..found })
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// A reference without class. Python 2's oids were text.
    fn oid(&self, id: NodeId) -> Option<Reference> {
        let Node::Leaf(value) = self.machine.node(id)? else {
            return None;
        };
        let bytes = match value {
            Wire::Bytes(bytes) => self.bytes(bytes),
            Wire::Str(text) => self.text(text).into_bytes(),
            _ => return None,
        };
        let mut reference = Reference::new(Oid::from_slice(&bytes)?, None);
        reference.bytes = Some(bytes);
        Some(reference)
    }

    fn class(&self, id: NodeId) -> Option<Class> {
        match self.machine.node(id)? {
            Node::Leaf(Wire::Global { module, name }) => Some(Class {
                module: self.text(module),
                name: self.text(name),
            }),
            _ => None,
        }
    }

    fn database(&self, id: NodeId) -> Option<ByteString> {
        match self.machine.node(id)? {
            Node::Leaf(Wire::Str(name)) => Some(self.text(name)),
            _ => None,
        }
    }
}

/// Whether a value can't be changed in any part: so that two places may have it without knowing of
/// each other.
fn is_fixed(value: &Value) -> bool {
    match value {
        Value::Tuple(items) => items.iter().all(is_fixed),
        Value::FrozenSet(items) => items.iter().all(is_fixed),
        Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::Instance(_) => false,
        _ => true,
    }
}

fn instance(call: Call<'_>, mut parts: impl Iterator<Item = Value>) -> Option<Instance> {
    Some(Instance {
        callable: parts.next()?,
        args: parts.next()?,
        new: call.new,
        state: match call.state {
            Some(_) => Some(parts.next()?),
            None => None,
        },
        items: parts.by_ref().take(call.items.len()).collect(),
        pairs: in_pairs(parts),
    })
}

fn in_pairs(mut parts: impl Iterator<Item = Value>) -> Dict {
    let mut pairs = Vec::with_capacity(parts.size_hint().0 / 2);
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        pairs.push((key, value));
    }
    Dict::from_pairs(pairs)
}

/// What the machine never leads to: a node that it has not made.
fn missing() -> DecodeError {
    DecodeError::Pickle(pickle::Error {
        at: 0,
        problem: Problem::StackUnderflow,
    })
}
