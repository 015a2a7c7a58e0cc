//! Values as [`zeo_storage::btrees::order`] compares them.

use std::borrow::Cow;

use zeo_proto::Value as Plain;
use zeo_proto::value::Object;

use crate::record::{Class, Dict, Instance, Reference, Value};

/// How deep a key is looked into; deeper ones have no order.
const DEEPEST: usize = 200;

/// The same value, with what it shares copied.
pub(super) fn plain(value: &Value) -> Plain<'_> {
    to_plain(value, DEEPEST)
}

fn to_plain(value: &Value, depth: usize) -> Plain<'_> {
    // What has no order and is equal to nothing.
    let Some(depth) = depth.checked_sub(1) else {
        return Plain::Extension(0);
    };
    let all = |items: &'_ [Value]| -> Vec<Plain<'static>> {
        items
            .iter()
            .map(|item| to_plain(item, depth).into_owned())
            .collect()
    };
    match value {
        Value::None => Plain::None,
        Value::Bool(bool) => Plain::Bool(*bool),
        Value::Int(int) => Plain::Int((*int).into()),
        Value::BigInt(int) => match i128::try_from(&**int) {
            Ok(int) => Plain::Int(int),
            Err(_) => Plain::Long(Cow::Owned(int.to_signed_bytes_le())),
        },
        Value::Float(float) => Plain::Float(*float),
        Value::Str(text) => Plain::str(text),
        Value::Surrogates(text) => Plain::Surrogates(Cow::Borrowed(text)),
        Value::Bytes(bytes) => Plain::bytes(bytes),
        Value::Tuple(items) => Plain::Tuple(all(items)),
        Value::List(items) => Plain::List(all(items)),
        Value::Set(items) => set("set", all(items)),
        Value::FrozenSet(items) => set("frozenset", all(items)),
        Value::Dict(dict) => Plain::Dict(pairs(dict, depth)),
        Value::Global(class) => global(class),
        Value::Extension(code) => Plain::Extension(*code),
        Value::Instance(instance) => to_object(instance, depth),
        Value::Reference(reference) => to_reference(reference),
        Value::Persistent(id) => Plain::Persistent(Box::new(to_plain(id, depth))),
        shared @ Value::Shared(_) => to_plain(&shared.look(), depth).into_owned(),
    }
}

fn global(class: &Class) -> Plain<'_> {
    Plain::Global {
        module: Cow::Borrowed(&class.module),
        name: Cow::Borrowed(&class.name),
    }
}

fn set(name: &'static str, items: Vec<Plain<'static>>) -> Plain<'static> {
    Plain::Object(Box::new(Object {
        callable: Plain::Global {
            module: "builtins".into(),
            name: name.into(),
        },
        args: Plain::Tuple(vec![Plain::List(items)]),
        new: false,
        state: None,
        items: Vec::new(),
        pairs: Vec::new(),
    }))
}

fn pairs(dict: &Dict, depth: usize) -> Vec<(Plain<'static>, Plain<'static>)> {
    dict.iter()
        .map(|(key, value)| {
            let (key, value) = (to_plain(key, depth), to_plain(value, depth));
            (key.into_owned(), value.into_owned())
        })
        .collect()
}

fn to_object(instance: &Instance, depth: usize) -> Plain<'_> {
    let items = instance.items.iter().map(|item| to_plain(item, depth));
    Plain::Object(Box::new(Object {
        callable: to_plain(&instance.callable, depth),
        args: to_plain(&instance.args, depth),
        new: instance.new,
        state: instance.state.as_ref().map(|state| to_plain(state, depth)),
        items: items.collect(),
        pairs: pairs(&instance.pairs, depth),
    }))
}

/// As the persistent id of its record, which is never ordered.
fn to_reference(reference: &Reference) -> Plain<'_> {
    let class = reference.class.as_ref().map_or(Plain::None, global);
    let oid = Plain::from(reference.oid);
    Plain::Persistent(Box::new(Plain::Tuple(vec![oid, class])))
}
