//! The entries of `history`, `undoLog` and `undoInfo`: dicts that Python's
//! programs get as they are, with what applications put into the extension
//! among the rest.

use std::borrow::Cow;

use crate::ids::Tid;
use crate::marshal::{Decode, Encode, EncodeError, Encoder, Mismatch};
use crate::value::Value;

/// The items of a dict.
type Pairs<'a> = Vec<(Value<'a>, Value<'a>)>;

/// What such an entry is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary<'a> {
    /// The transaction.
    pub tid: Tid,
    /// Its time, in seconds since 1970.
    pub time: f64,
    /// Its user.
    pub user: Cow<'a, [u8]>,
    /// Its description.
    pub description: Cow<'a, [u8]>,
    /// The size of the record or of the transaction, in bytes.
    pub size: u64,
    /// Its extension: a dict; what is none counts as an empty one where the
    /// items of the extension stand among the others.
    pub extension: Value<'a>,
}

/// `history`: a revision of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry<'a>(Pairs<'a>);

/// `undoLog`, `undoInfo`: a transaction that may be undone.
#[derive(Clone, Debug, PartialEq)]
pub struct UndoEntry<'a>(Pairs<'a>);

impl<'a> HistoryEntry<'a> {
    /// As Python's FileStorage tells it: the items of the extension come
    /// first, and give way to the others.
    pub fn flat(summary: Summary<'a>) -> Self {
        Self::behind(items(summary.extension.clone()), summary)
    }

    /// As Python's MappingStorage tells it: the extension is one item.
    pub fn nested(summary: Summary<'a>) -> Self {
        let pairs = vec![
            (Value::str("serial"), summary.tid.into()),
            (Value::str("extension"), summary.extension.clone()),
        ];
        Self::behind(pairs, summary)
    }

    fn behind(mut pairs: Pairs<'a>, summary: Summary<'a>) -> Self {
        set(&mut pairs, "time", Value::Float(summary.time));
        set(&mut pairs, "user_name", Value::Bytes(summary.user));
        set(&mut pairs, "description", Value::Bytes(summary.description));
        set(&mut pairs, "tid", summary.tid.into());
        set(&mut pairs, "size", Value::Int(summary.size.into()));
        Self(pairs)
    }

    /// The transaction; none if the entry does not tell it.
    pub fn tid(&self) -> Option<Tid> {
        find(&self.0, "tid")?.as_tid()
    }
}

impl<'a> UndoEntry<'a> {
    /// As Python's FileStorage tells it: the items of the extension take the
    /// place of the others. `id` is what `undoa` calls the transaction by.
    pub fn new(id: Cow<'a, [u8]>, summary: Summary<'a>) -> Self {
        let mut pairs = vec![
            (Value::str("id"), Value::Bytes(id)),
            (Value::str("time"), Value::Float(summary.time)),
            (Value::str("user_name"), Value::Bytes(summary.user)),
            (Value::str("size"), Value::Int(summary.size.into())),
            (Value::str("description"), Value::Bytes(summary.description)),
        ];
        for (name, value) in items(summary.extension) {
            set_value(&mut pairs, name, value);
        }
        Self(pairs)
    }

    /// What `undoa` calls the transaction by; none if the entry does not tell
    /// it.
    pub fn id(&self) -> Option<&[u8]> {
        find(&self.0, "id")?.as_bytes()
    }
}

macro_rules! entry {
    ($entry:ident) => {
        impl<'a> $entry<'a> {
            /// All items, in order: those of the extension, too.
            pub fn items(&self) -> &[(Value<'a>, Value<'a>)] {
                &self.0
            }

            /// The time, in seconds since 1970; none if the entry does not
            /// tell it.
            pub fn time(&self) -> Option<f64> {
                f64::decode(find(&self.0, "time")?.clone()).ok()
            }

            /// The user; none if the entry does not tell it as bytes.
            pub fn user_name(&self) -> Option<&[u8]> {
                find(&self.0, "user_name")?.as_bytes()
            }

            /// The description; none if the entry does not tell it as bytes.
            pub fn description(&self) -> Option<&[u8]> {
                find(&self.0, "description")?.as_bytes()
            }

            /// The size, in bytes; none if the entry does not tell it.
            pub fn size(&self) -> Option<u64> {
                u64::decode(find(&self.0, "size")?.clone()).ok()
            }

            /// The entry with every borrowed part copied.
            pub fn into_owned(self) -> $entry<'static> {
                let owned =
                    |(name, value): (Value<'_>, Value<'_>)| (name.into_owned(), value.into_owned());
                $entry(self.0.into_iter().map(owned).collect())
            }
        }

        impl Encode for $entry<'_> {
            fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
                to.pairs(&self.0)
            }
        }

        impl<'a> Decode<'a> for $entry<'a> {
            fn decode(value: Value<'a>) -> Result<Self, Mismatch> {
                match value {
                    Value::Dict(pairs) => Ok(Self(pairs)),
                    other => Err(Mismatch::new("a dict", &other)),
                }
            }
        }
    };
}

entry!(HistoryEntry);
entry!(UndoEntry);

fn items(extension: Value<'_>) -> Pairs<'_> {
    match extension {
        Value::Dict(pairs) => pairs,
        _ => Vec::new(),
    }
}

fn find<'p, 'a>(pairs: &'p Pairs<'a>, name: &str) -> Option<&'p Value<'a>> {
    { pairs.iter() }
        .find(|(other, _)| other.as_str() == Some(name))
        .map(|(_, value)| value)
}

fn set<'a>(pairs: &mut Pairs<'a>, name: &'a str, value: Value<'a>) {
    set_value(pairs, Value::str(name), value);
}

fn set_value<'a>(pairs: &mut Pairs<'a>, name: Value<'a>, value: Value<'a>) {
    match pairs.iter_mut().find(|(other, _)| *other == name) {
        Some(pair) => pair.1 = value,
        None => pairs.push((name, value)),
    }
}
