//! Results, in JSON.

use serde_json::{Value, json};
use zeo_proto::{Oid, Value as Python};
use zeo_storage::storage::Revision;

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A list of oids.
pub fn oids(oids: &[Oid]) -> Value {
    oids.iter().map(|oid| hex(&oid.to_bytes())).collect()
}

/// A revision.
pub fn revision(found: &Revision) -> Value {
    let next = found.next.map(|next| hex(&next.to_bytes()));
    json!([hex(&found.data), hex(&found.serial.to_bytes()), next])
}

/// Dicts of the history of a storage.
pub fn entries<'a>(dicts: impl Iterator<Item = &'a [(Python<'a>, Python<'a>)]>) -> Value {
    dicts.map(dict).collect()
}

fn dict(items: &[(Python<'_>, Python<'_>)]) -> Value {
    let key = |key: &Python<'_>| key.as_str().map(str::to_owned).unwrap_or_default();
    { items.iter() }
        .map(|(name, item)| (key(name), value(item)))
        .collect()
}

/// A value of Python; bytes are hexadecimal digits.
pub fn value(found: &Python<'_>) -> Value {
    match found {
        Python::None => Value::Null,
        Python::Bool(flag) => json!(flag),
        Python::Int(number) => json!(i64::try_from(*number).ok()),
        Python::Float(number) => json!(number),
        Python::Bytes(bytes) => json!(hex(bytes)),
        Python::Str(text) => json!(text),
        Python::Tuple(items) | Python::List(items) => items.iter().map(value).collect(),
        Python::Dict(items) => dict(items),
        other => json!(format!("{other:?}")),
    }
}
