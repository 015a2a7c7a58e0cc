//! The extension of a transaction, as clients send it.

use zeo_proto::Value;
use zeo_proto::exception::Exception;
use zeo_proto::marshal::Encoding;
use zeo_proto::msgpack::{key_text, unreadable_key};
use zeo_proto::pickle::{self, Memo};
use zeo_proto::value::Object;

/// How much of a key an error shows, in characters.
const MAX_KEY: usize = 100;

/// The extension as it stands in a file: a pickle, or nothing for an empty
/// dict.
pub(super) fn extension_pickle(
    extension: &Value<'_>,
    encoding: Encoding,
) -> Result<Vec<u8>, Exception> {
    // Python's msgpack refuses the whole message, and could not read a reply
    // with such a key either. By pickle there may be any.
    if encoding == Encoding::Msgpack
        && let Some(key) = unreadable_key(extension)
    {
        let key: String = key_text(key).chars().take(MAX_KEY).collect();
        return Err(Exception::type_error(format!(
            "tpc_begin: a key in the extension must be text or bytes, for msgpack: {key}"
        )));
    }
    match extension {
        Value::None => Ok(Vec::new()),
        Value::Bytes(pickle) => Ok(pickle.to_vec()),
        Value::Dict(fields) => pickle_fields(fields.clone()),
        Value::Object(object) => pickle_fields(dict_call(object).ok_or_else(no_dict)?),
        _ => Err(no_dict()),
    }
}

fn no_dict() -> Exception {
    Exception::type_error("tpc_begin: the extension must be a dict or bytes")
}

fn pickle_fields(fields: Vec<(Value<'_>, Value<'_>)>) -> Result<Vec<u8>, Exception> {
    let mut out = Vec::new();
    if !fields.is_empty() {
        pickle::encode(&Value::Dict(fields), &mut out, Memo::Memoizing)
            .map_err(|why| Exception::value_error(format!("tpc_begin: {why}")))?;
    }
    Ok(out)
}

/// The items of a pickled call `dict(items)`, which is how some kinds of
/// dicts choose to be pickled.
fn dict_call<'v>(object: &Object<'v>) -> Option<Vec<(Value<'v>, Value<'v>)>> {
    let is_dict = matches!(&object.callable, Value::Global { module, name }
        if matches!(&**module, "builtins" | "__builtin__") && name == "dict");
    let items = match object.args.as_items()? {
        [] => &[],
        [items] => items.as_items()?,
        _ => return None,
    };
    let pair = |item: &Value<'v>| match item.as_items()? {
        [key, value] => Some((key.clone(), value.clone())),
        _ => None,
    };
    let mut fields: Vec<_> = items.iter().map(pair).collect::<Option<_>>()?;
    fields.extend(object.pairs.iter().cloned());
    is_dict.then_some(fields)
}
