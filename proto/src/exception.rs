//! Errors as Python's clients rebuild them: `(dotted class, payload)`, where
//! the payload is the exception's attributes as a dict, or else its
//! arguments as a tuple (ZEO `asyncio.marshal.reduce_exception`; the client's
//! side is `create_Exception` and its companions in `asyncio.client`).

use std::borrow::Cow;

use crate::ids::{Oid, Tid};
use crate::marshal::Encoding;
use crate::value::{Object, Value};

/// A Python exception, to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Exception {
    class: &'static str,
    payload: Payload,
}

#[derive(Debug, Clone, PartialEq)]
enum Payload {
    Args(Vec<Value<'static>>),
    Fields(Vec<(&'static str, Value<'static>)>),
    UndoErrors(Vec<(Oid, String)>),
}

impl Exception {
    /// An exception that has a message and nothing else.
    pub fn message(class: &'static str, message: impl Into<String>) -> Self {
        Self {
            class,
            payload: Payload::Args(vec![Value::Str(Cow::Owned(message.into()))]),
        }
    }

    /// `builtins.TypeError`.
    pub fn type_error(message: impl Into<String>) -> Self {
        Self::message("builtins.TypeError", message)
    }

    /// `builtins.ValueError`.
    pub fn value_error(message: impl Into<String>) -> Self {
        Self::message("builtins.ValueError", message)
    }

    /// `builtins.KeyError` of a number, as a look-up by it raises.
    pub fn key_error(key: u64) -> Self {
        let key = Value::Int(i128::from(key));
        Self {
            class: "builtins.KeyError",
            payload: Payload::Args(vec![key]),
        }
    }

    /// `POSKeyError`: no such object or revision.
    pub fn pos_key_error(oid: Oid) -> Self {
        Self {
            class: "ZODB.POSException.POSKeyError",
            payload: Payload::Args(vec![oid.into()]),
        }
    }

    /// `POSKeyError` of something that is no oid.
    pub fn no_object(key: Value<'static>) -> Self {
        Self {
            class: "ZODB.POSException.POSKeyError",
            payload: Payload::Args(vec![key]),
        }
    }

    /// `ReadOnlyError`.
    pub fn read_only() -> Self {
        Self {
            class: "ZODB.POSException.ReadOnlyError",
            payload: Payload::Args(Vec::new()),
        }
    }

    /// `StorageTransactionError` with a message.
    pub fn transaction(message: impl Into<String>) -> Self {
        Self::message("ZODB.POSException.StorageTransactionError", message)
    }

    /// `StorageTransactionError` for a call that names another transaction
    /// than the current one: its arguments are both ids.
    pub fn wrong_transaction(current: Value<'static>, given: Value<'static>) -> Self {
        Self {
            class: "ZODB.POSException.StorageTransactionError",
            payload: Payload::Args(vec![current, given]),
        }
    }

    /// `ConflictError` of an object whose record has this class.
    pub fn conflict(oid: Oid, committed: Tid, read: Tid, class_name: Option<String>) -> Self {
        Self {
            class: "ZODB.POSException.ConflictError",
            payload: Payload::Fields(conflict_fields(
                "database conflict error",
                (oid, committed, read),
                class_name,
            )),
        }
    }

    /// `ReadConflictError`: an object that was to stay as it was did not.
    pub fn read_conflict(oid: Oid, committed: Tid, read: Tid) -> Self {
        Self {
            class: "ZODB.POSException.ReadConflictError",
            payload: Payload::Fields(conflict_fields(
                "database read conflict error",
                (oid, committed, read),
                None,
            )),
        }
    }

    /// `UndoError` with a reason.
    pub fn undo(reason: impl Into<String>, oid: Option<Oid>) -> Self {
        Self {
            class: "ZODB.POSException.UndoError",
            payload: Payload::Fields(undo_fields(reason.into(), oid)),
        }
    }

    /// `MultipleUndoErrors`: every object that stood in the way.
    pub fn undo_errors(failures: Vec<(Oid, String)>) -> Self {
        Self {
            class: "ZODB.POSException.MultipleUndoErrors",
            payload: Payload::UndoErrors(failures),
        }
    }

    /// The dotted name of the class.
    pub fn class(&self) -> &'static str {
        self.class
    }

    /// True for what happens in ordinary work and needs no line in a log:
    /// missing objects and conflicts.
    pub fn is_ordinary(&self) -> bool {
        matches!(
            self.class,
            "ZODB.POSException.POSKeyError"
                | "ZODB.POSException.ConflictError"
                | "ZODB.POSException.ReadConflictError"
        )
    }

    /// The reply `(class, payload)`. Exceptions inside the payload are
    /// pickled as ZODB's are, and reduced the same way for msgpack.
    pub fn to_reply(&self, encoding: Encoding) -> Value<'static> {
        let payload = match &self.payload {
            Payload::Args(args) => Value::Tuple(args.clone()),
            Payload::Fields(fields) => dict(fields.clone()),
            Payload::UndoErrors(failures) => undo_errors(failures, encoding),
        };
        Value::Tuple(vec![Value::str(self.class), payload])
    }
}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.class)?;
        match &self.payload {
            Payload::Args(args) => {
                for arg in args {
                    match arg {
                        Value::Str(text) => write!(f, ": {text}")?,
                        other => write!(f, ": {other:?}")?,
                    }
                }
            }
            Payload::Fields(fields) => {
                for (name, value) in fields {
                    write!(f, " {name}={value:?}")?;
                }
            }
            Payload::UndoErrors(failures) => {
                for (oid, reason) in failures {
                    write!(f, ": {oid}: {reason}")?;
                }
            }
        }
        Ok(())
    }
}

type Fields = Vec<(&'static str, Value<'static>)>;

fn conflict_fields(
    message: &'static str,
    (oid, committed, read): (Oid, Tid, Tid),
    class_name: Option<String>,
) -> Fields {
    let class_name = class_name.map_or(Value::None, |name| Value::Str(Cow::Owned(name)));
    vec![
        ("message", Value::str(message)),
        ("oid", oid.into()),
        ("class_name", class_name),
        ("serials", Value::Tuple(vec![committed.into(), read.into()])),
    ]
}

fn undo_fields(reason: String, oid: Option<Oid>) -> Fields {
    vec![
        ("_reason", Value::Str(Cow::Owned(reason))),
        ("_oid", oid.map_or(Value::None, Value::from)),
    ]
}

fn dict(fields: Fields) -> Value<'static> {
    Value::Dict(
        fields
            .into_iter()
            .map(|(name, value)| (Value::str(name), value))
            .collect(),
    )
}

/// The attributes of `MultipleUndoErrors(errs)`, where `errs` is a list of
/// (oid, UndoError). Its constructor also takes the first pair for reason
/// and oid, in that order.
fn undo_errors(failures: &[(Oid, String)], encoding: Encoding) -> Value<'static> {
    let pairs: Vec<_> = failures
        .iter()
        .map(|(oid, reason)| {
            let error = undo_error(reason.clone(), *oid, encoding);
            Value::Tuple(vec![(*oid).into(), error])
        })
        .collect();
    let (reason, oid) = match pairs.first() {
        Some(Value::Tuple(pair)) => (pair[0].clone(), pair[1].clone()),
        _ => (Value::None, Value::None),
    };
    dict(vec![
        ("_reason", reason),
        ("_oid", oid),
        ("_errs", Value::List(pairs)),
    ])
}

fn undo_error(reason: String, oid: Oid, encoding: Encoding) -> Value<'static> {
    let args = Value::Tuple(vec![Value::Str(Cow::Owned(reason.clone())), oid.into()]);
    let mut fields = undo_fields(reason, Some(oid));
    match encoding {
        Encoding::Msgpack => Value::Tuple(vec![
            Value::str("ZODB.POSException.UndoError"),
            dict(fields),
        ]),
        Encoding::Pickle => {
            fields.push(("args", args));
            let class = Value::Global {
                module: Cow::Borrowed("ZODB.POSException"),
                name: Cow::Borrowed("UndoError"),
            };
            Value::Object(Box::new(Object {
                callable: Value::Global {
                    module: Cow::Borrowed("ZODB.POSException"),
                    name: Cow::Borrowed("_recon"),
                },
                args: Value::Tuple(vec![class, dict(fields)]),
                new: false,
                state: None,
                items: Vec::new(),
                pairs: Vec::new(),
            }))
        }
    }
}
