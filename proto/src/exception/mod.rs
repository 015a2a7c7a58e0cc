//! Errors as Python's clients rebuild them: `(dotted class, payload)`, where
//! the payload is the exception's attributes as a dict, or else its
//! arguments as a tuple (ZEO `asyncio.marshal.reduce_exception`; the client's
//! side is `create_Exception` and its companions in `asyncio.client`).

use std::borrow::Cow;

mod reply;

use crate::ids::{Oid, Tid};
use crate::value::Value;

/// A Python exception, as it is sent in the reply to a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Exception {
    class: Cow<'static, str>,
    payload: Payload,
}

/// What an exception holds.
#[derive(Debug, Clone, PartialEq)]
enum Payload {
    Args(Vec<Value<'static>>),
    Fields(Fields),
    UndoErrors(Vec<(Oid, String)>),
}

/// Attributes by name.
type Fields = Vec<(Cow<'static, str>, Value<'static>)>;

const MULTIPLE_UNDO_ERRORS: &str = "ZODB.POSException.MultipleUndoErrors";

impl Exception {
    /// An exception that has a message and nothing else.
    pub fn message(class: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::with_args(class, vec![Value::Str(Cow::Owned(message.into()))])
    }

    /// An exception of any class, with these arguments.
    pub fn with_args(class: impl Into<Cow<'static, str>>, args: Vec<Value<'static>>) -> Self {
        Self {
            class: class.into(),
            payload: Payload::Args(args),
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
        Self::with_args("builtins.KeyError", vec![key])
    }

    /// `POSKeyError`: no such object or revision.
    pub fn pos_key_error(oid: Oid) -> Self {
        Self::with_args("ZODB.POSException.POSKeyError", vec![oid.into()])
    }

    /// `POSKeyError` of a blob without a file: what was looked for, in words,
    /// and then the revision.
    pub fn no_blob(message: impl Into<String>, oid: Oid, serial: Tid) -> Self {
        let message = Value::Str(Cow::Owned(message.into()));
        let args = vec![message, oid.into(), serial.into()];
        Self::with_args("ZODB.POSException.POSKeyError", args)
    }

    /// `POSKeyError` of something that is no oid.
    pub fn no_object(key: Value<'static>) -> Self {
        Self::with_args("ZODB.POSException.POSKeyError", vec![key])
    }

    /// `builtins.FileNotFoundError`, as the system's calls raise it.
    pub fn file_not_found() -> Self {
        let text = Value::str("No such file or directory");
        Self::with_args("builtins.FileNotFoundError", vec![Value::Int(2), text])
    }

    /// `ReadOnlyError`.
    pub fn read_only() -> Self {
        Self::with_args("ZODB.POSException.ReadOnlyError", Vec::new())
    }

    /// `StorageTransactionError` with a message.
    pub fn transaction(message: impl Into<String>) -> Self {
        Self::message("ZODB.POSException.StorageTransactionError", message)
    }

    /// `StorageTransactionError` for a call that names another transaction
    /// than the current one: its arguments are both ids.
    pub fn wrong_transaction(current: Value<'static>, given: Value<'static>) -> Self {
        Self::with_args(
            "ZODB.POSException.StorageTransactionError",
            vec![current, given],
        )
    }

    /// `ConflictError` of an object whose record has this class.
    pub fn conflict(oid: Oid, committed: Tid, read: Tid, class_name: Option<String>) -> Self {
        Self {
            class: Cow::Borrowed("ZODB.POSException.ConflictError"),
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
            class: Cow::Borrowed("ZODB.POSException.ReadConflictError"),
            payload: Payload::Fields(conflict_fields(
                "database read conflict error",
                (oid, committed, read),
                None,
            )),
        }
    }

    /// `ReadConflictError` of no object: what was asked for can't be had now, and may be had when the
    /// transaction is tried again. (That is what Python's clients do after no other exception of a
    /// server.)
    pub fn unavailable(message: impl Into<String>) -> Self {
        let message = Value::Str(Cow::Owned(message.into()));
        Self {
            class: Cow::Borrowed("ZODB.POSException.ReadConflictError"),
            payload: Payload::Fields(vec![
                ("message".into(), message),
                ("oid".into(), Value::None),
                ("class_name".into(), Value::None),
                ("serials".into(), Value::None),
            ]),
        }
    }

    /// `UndoError` with a reason.
    pub fn undo(reason: impl Into<String>, oid: Option<Oid>) -> Self {
        Self {
            class: Cow::Borrowed("ZODB.POSException.UndoError"),
            payload: Payload::Fields(undo_fields(reason.into(), oid)),
        }
    }

    /// `MultipleUndoErrors`: every object that stood in the way.
    pub fn undo_errors(failures: Vec<(Oid, String)>) -> Self {
        Self {
            class: Cow::Borrowed(MULTIPLE_UNDO_ERRORS),
            payload: Payload::UndoErrors(failures),
        }
    }

    /// The dotted name of the class.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The arguments that it was raised with; none if it tells its attributes
    /// instead.
    pub fn args(&self) -> &[Value<'static>] {
        match &self.payload {
            Payload::Args(args) => args,
            _ => &[],
        }
    }

    /// An attribute, if it tells it.
    pub fn attribute(&self, name: &str) -> Option<&Value<'static>> {
        match &self.payload {
            Payload::Fields(fields) => { fields.iter() }
                .find(|(other, _)| other == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The objects that could not be undone, with the reasons: of
    /// `MultipleUndoErrors` only.
    pub fn failed_undos(&self) -> &[(Oid, String)] {
        match &self.payload {
            Payload::UndoErrors(failures) => failures,
            _ => &[],
        }
    }

    /// True for what happens in ordinary work and needs no line in a log:
    /// missing objects and conflicts.
    pub fn is_ordinary(&self) -> bool {
        matches!(
            &*self.class,
            "ZODB.POSException.POSKeyError"
                | "ZODB.POSException.ConflictError"
                | "ZODB.POSException.ReadConflictError"
        )
    }
}

/// The class, and what it says.
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

impl std::error::Error for Exception {}

fn conflict_fields(
    message: &'static str,
    (oid, committed, read): (Oid, Tid, Tid),
    class_name: Option<String>,
) -> Fields {
    let class_name = class_name.map_or(Value::None, |name| Value::Str(Cow::Owned(name)));
    vec![
        ("message".into(), Value::str(message)),
        ("oid".into(), oid.into()),
        ("class_name".into(), class_name),
        (
            "serials".into(),
            Value::Tuple(vec![committed.into(), read.into()]),
        ),
    ]
}

fn undo_fields(reason: String, oid: Option<Oid>) -> Fields {
    vec![
        ("_reason".into(), Value::Str(Cow::Owned(reason))),
        ("_oid".into(), oid.map_or(Value::None, Value::from)),
    ]
}
