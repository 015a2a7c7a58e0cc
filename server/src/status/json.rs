//! Status values as JSON, for the `ruok` probe.

use zeo_proto::Value;

/// A value as JSON; what JSON has no form for is null.
pub(crate) fn json(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Int(number) => i64::try_from(*number).unwrap_or(i64::MAX).into(),
        Value::Float(number) => (*number).into(),
        Value::Str(text) => text.as_ref().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::List(values) => serde_json::Value::Array(values.iter().map(json).collect()),
        Value::Dict(fields) => {
            let fields = fields.iter().filter_map(|(name, value)| match name {
                Value::Str(name) => Some((name.clone().into_owned(), json(value))),
                _ => None,
            });
            serde_json::Value::Object(fields.collect())
        }
        _ => serde_json::Value::Null,
    }
}

/// JSON without characters beyond ASCII: they stand only in strings, where
/// their UTF-16 units may be escaped.
pub(crate) fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text += &format!("\\u{unit:04x}");
            }
        }
    }
    text
}
