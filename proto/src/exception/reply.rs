//! Exceptions in replies: `(class, payload)`.

use std::borrow::Cow;

use super::{Exception, Fields, MULTIPLE_UNDO_ERRORS, Payload, undo_fields};
use crate::ids::Oid;
use crate::marshal::{Encoding, Items, Mismatch};
use crate::value::{Object, Value};

impl Exception {
    /// The reply `(class, payload)`. Exceptions inside the payload are
    /// pickled as ZODB's are, and reduced the same way for msgpack.
    pub fn to_reply(&self, encoding: Encoding) -> Value<'static> {
        let payload = match &self.payload {
            Payload::Args(args) => Value::Tuple(args.clone()),
            Payload::Fields(fields) => dict(fields.clone()),
            Payload::UndoErrors(failures) => undo_errors(failures, encoding),
        };
        Value::Tuple(vec![Value::Str(self.class.clone()), payload])
    }

    /// The exception that such a reply tells. (A class that is not known here
    /// is as good as any: [`Self::class`] tells its name.)
    ///
    /// # Errors
    ///
    /// The reply is not a pair of a class's name and a tuple or dict.
    pub fn from_reply(reply: Value<'_>) -> Result<Self, Mismatch> {
        let mut items = Items::of(reply, 2, "(class, arguments or attributes)")?;
        let class = items.next::<Cow<'_, str>>("class")?.into_owned();
        let payload = match items.next("payload")? {
            Value::Tuple(args) | Value::List(args) => {
                Payload::Args(args.into_iter().map(Value::into_owned).collect())
            }
            Value::Dict(pairs) => of_attributes(&class, pairs),
            other => {
                let wrong = Mismatch::new("a tuple or a dict", &other);
                return Err(wrong.within("payload"));
            }
        };
        Ok(Self {
            class: Cow::Owned(class),
            payload,
        })
    }
}

/// Attributes; those whose name is no text are none.
fn of_attributes(class: &str, pairs: Vec<(Value<'_>, Value<'_>)>) -> Payload {
    let fields: Fields = { pairs.into_iter() }
        .filter_map(|(name, value)| match name {
            Value::Str(name) => Some((Cow::Owned(name.into_owned()), value.into_owned())),
            _ => None,
        })
        .collect();
    let failures = (class == MULTIPLE_UNDO_ERRORS).then(|| failures(&fields));
    failures
        .flatten()
        .map_or(Payload::Fields(fields), Payload::UndoErrors)
}

/// The pairs of oid and reason in the attribute `_errs`.
fn failures(fields: &Fields) -> Option<Vec<(Oid, String)>> {
    let (_, errors) = fields.iter().find(|(name, _)| name == "_errs")?;
    let failure = |pair: &Value<'_>| {
        let [oid, error] = pair.as_items()? else {
            return None;
        };
        Some((oid.as_oid()?, reason(error)?))
    };
    errors.as_items()?.iter().map(failure).collect()
}

/// The reason in an `UndoError`: pickled as ZODB's exceptions are, or reduced
/// to `(class, attributes)`.
fn reason(error: &Value<'_>) -> Option<String> {
    let attributes = match error {
        Value::Object(object) => object.args.as_items()?.get(1)?,
        reduced => reduced.as_items()?.get(1)?,
    };
    let Value::Dict(attributes) = attributes else {
        return None;
    };
    let (_, reason) = attributes
        .iter()
        .find(|(name, _)| name.as_str() == Some("_reason"))?;
    reason.as_str().map(str::to_owned)
}

fn dict(fields: Fields) -> Value<'static> {
    Value::Dict(
        fields
            .into_iter()
            .map(|(name, value)| (Value::Str(name), value))
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
        ("_reason".into(), reason),
        ("_oid".into(), oid),
        ("_errs".into(), Value::List(pairs)),
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
            fields.push(("args".into(), args));
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
