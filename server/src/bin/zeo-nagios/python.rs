//! Values as Python prints them.

use serde_json::Value;
use zeo_proto::repr;

/// A value of JSON as `str` shows it.
pub fn text(json: &Value) -> String {
    match json {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            repr::float(number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    }
}
