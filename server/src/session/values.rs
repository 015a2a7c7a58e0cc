//! What a storage tells, as values for clients.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeo_proto::Value;
use zeo_proto::pickle::{self, Policy};
use zeo_storage::storage::{CurrentRecord, HistoryEntry, UndoEntry};

/// The answer of `record_iternext`.
pub(super) fn current_record_value(record: &CurrentRecord) -> Value<'static> {
    Value::Tuple(vec![
        record.oid.into(),
        record.serial.into(),
        Value::Bytes(record.data.to_vec().into()),
        record.next.map_or(Value::None, Value::from),
    ])
}

/// The items of a dict.
type Fields = Vec<(Value<'static>, Value<'static>)>;

/// An entry of the history as Python's FileStorage has it, flat, or else as
/// its MappingStorage.
pub(super) fn history_value(entry: &HistoryEntry) -> Value<'static> {
    let mut fields = if entry.is_flat {
        extension_fields(&entry.meta.extension)
    } else {
        vec![
            (Value::str("serial"), entry.tid.into()),
            (
                Value::str("extension"),
                extension_value(&entry.meta.extension),
            ),
        ]
    };
    for (name, value) in [
        ("time", Value::Float(entry.tid.unix_time())),
        ("user_name", Value::Bytes(entry.meta.user.clone().into())),
        (
            "description",
            Value::Bytes(entry.meta.description.clone().into()),
        ),
        ("tid", entry.tid.into()),
        ("size", Value::Int(i128::from(entry.size))),
    ] {
        set(&mut fields, Value::str(name), value);
    }
    Value::Dict(fields)
}

/// The undo log's entry; what the extension says comes before the rest.
pub(super) fn undo_fields(entry: &UndoEntry) -> Fields {
    let id = BASE64_STANDARD.encode(entry.tid.to_bytes());
    let mut fields = vec![
        (Value::str("id"), Value::Bytes(id.into_bytes().into())),
        (Value::str("time"), Value::Float(entry.tid.unix_time())),
        (
            Value::str("user_name"),
            Value::Bytes(entry.meta.user.clone().into()),
        ),
        (Value::str("size"), Value::Int(i128::from(entry.size))),
        (
            Value::str("description"),
            Value::Bytes(entry.meta.description.clone().into()),
        ),
    ];
    for (name, value) in extension_fields(&entry.meta.extension) {
        set(&mut fields, name, value);
    }
    fields
}

fn set(fields: &mut Fields, name: Value<'static>, value: Value<'static>) {
    match fields.iter_mut().find(|(other, _)| *other == name) {
        Some(field) => field.1 = value,
        None => fields.push((name, value)),
    }
}

fn extension_fields(extension: &[u8]) -> Fields {
    match extension_value(extension) {
        Value::Dict(fields) => fields,
        _ => Vec::new(),
    }
}

/// The extension as a dict. One that can't be read as such (it may hold what
/// only the application can make) goes out as the bytes in the file, so that
/// nothing of it is lost.
pub(super) fn extension_value(extension: &[u8]) -> Value<'static> {
    if extension.is_empty() {
        return Value::Dict(Vec::new());
    }
    match pickle::decode(extension, &Policy::FILE) {
        Ok(value @ Value::Dict(_)) => value.into_owned(),
        _ => Value::Bytes(extension.to_vec().into()),
    }
}

/// The status byte as text.
pub(super) fn status_text(status: u8) -> Value<'static> {
    Value::Str(char::from(status).to_string().into())
}
