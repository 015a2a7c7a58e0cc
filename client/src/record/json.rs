//! Records as JSON, for people and other programs. The form is documented in `record`.

use std::collections::HashMap;
use std::fmt::Write;

use super::datetime::DateTime;
use super::names::{Class, Reference};
use super::value::{Dict, Instance, Value};
use super::{MAX_DEPTH, Record};

impl Record {
    /// The record as JSON, in one line: see [`record`](crate::record#json).
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.out.push_str("{\"class\":");
        match &self.class {
            Value::Global(class) => json.class(class),
            class => json.value(class),
        }
        if let Some(args) = &self.args {
            json.out.push_str(",\"args\":");
            json.value(args);
        }
        json.out.push_str(",\"state\":");
        json.value(&self.state);
        json.out.push('}');
        json.out
    }
}

impl Value {
    /// The value as JSON, in one line: see [`record`](crate::record#json).
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.value(self);
        json.out
    }
}

#[derive(Default)]
struct Json {
    out: String,
    /// The numbers of values in several places, by their addresses.
    shared: HashMap<usize, usize>,
    depth: usize,
}

impl Json {
    fn value(&mut self, value: &Value) {
        match value {
            Value::None => self.out.push_str("null"),
            Value::Bool(bool) => self.display(bool),
            Value::Int(int) => self.display(int),
            Value::BigInt(int) => self.tagged("$int", |json| json.text(&int.to_string())),
            // With a point or an exponent, so that it is no int.
            Value::Float(float) if float.is_finite() => self.display(format_args!("{float:?}")),
            Value::Float(float) => {
                let name = match (float.is_nan(), *float > 0.0) {
                    (true, _) => "nan",
                    (false, true) => "inf",
                    (false, false) => "-inf",
                };
                self.tagged("$float", |json| json.text(name));
            }
            Value::Str(text) => self.text(text),
            Value::Surrogates(bytes) => self.tagged("$surrogates", |json| json.bytes(bytes)),
            Value::Bytes(bytes) => self.tagged("$bytes", |json| json.bytes(bytes)),
            Value::Global(class) => self.tagged("$global", |json| json.class(class)),
            Value::Extension(code) => self.tagged("$extension", |json| json.display(code)),
            Value::Reference(reference) => self.reference(reference),
            nested if self.depth < MAX_DEPTH => {
                self.depth += 1;
                self.nested(nested);
                self.depth -= 1;
            }
            // Such a value can't be written either.
            _ => self.out.push_str("{\"$too_deep\":true}"),
        }
    }

    fn nested(&mut self, value: &Value) {
        match value {
            Value::Tuple(items) => self.tagged("$tuple", |json| json.items(items)),
            Value::List(items) => self.items(items),
            Value::Dict(dict) => self.dict(dict),
            Value::Set(items) => self.tagged("$set", |json| json.items(items)),
            Value::FrozenSet(items) => self.tagged("$frozenset", |json| json.items(items)),
            Value::Persistent(id) => self.tagged("$persistent", |json| json.value(id)),
            Value::Instance(instance) => match DateTime::of(value) {
                Some(moment) if moment.offset.is_none() => {
                    self.tagged("$datetime", |json| json.text(&moment.to_string()));
                }
                _ => self.instance(instance),
            },
            Value::Shared(shared) => {
                let next = self.shared.len() + 1;
                let number = *self.shared.entry(shared.address()).or_insert(next);
                self.display(format_args!("{{\"$shared\":{number}"));
                if let Some(value) = shared.snapshot().filter(|_| number == next) {
                    self.member("value", |json| json.value(&value));
                }
                self.out.push('}');
            }
            other => self.value(other),
        }
    }

    fn dict(&mut self, dict: &Dict) {
        let is_plain = dict.iter().enumerate().all(|(at, (key, _))| match key {
            // Of a key that is there twice, JSON would keep one.
            Value::Str(key) => !key.starts_with('$') && is_first(dict, key, at),
            _ => false,
        });
        if !is_plain {
            return self.tagged("$dict", |json| json.pairs(dict));
        }
        self.out.push('{');
        for (at, (key, value)) in dict.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.value(key);
            self.out.push(':');
            self.value(value);
        }
        self.out.push('}');
    }

    fn pairs(&mut self, dict: &Dict) {
        self.out.push('[');
        for (at, (key, value)) in dict.iter().enumerate() {
            self.out.push_str(if at > 0 { ",[" } else { "[" });
            self.value(key);
            self.out.push(',');
            self.value(value);
            self.out.push(']');
        }
        self.out.push(']');
    }

    fn items(&mut self, items: &[Value]) {
        self.out.push('[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.value(item);
        }
        self.out.push(']');
    }

    fn reference(&mut self, reference: &Reference) {
        self.display(format_args!("{{\"$ref\":\"{}\"", reference.oid));
        if let Some(class) = &reference.class {
            self.member("class", |json| json.class(class));
        }
        if reference.weak {
            self.member("weak", |json| json.out.push_str("true"));
        }
        if let Some(database) = &reference.database {
            self.member("database", |json| json.text(database));
        }
        self.out.push('}');
    }

    fn instance(&mut self, instance: &Instance) {
        let tag = if instance.new { "$instance" } else { "$call" };
        self.display(format_args!("{{\"{tag}\":"));
        match instance.class() {
            Some(class) => self.class(class),
            None => self.value(&instance.callable),
        }
        match &instance.args {
            Value::Tuple(args) if args.is_empty() && instance.new => {}
            Value::Tuple(args) => self.member("args", |json| json.items(args)),
            args => self.member("args", |json| json.value(args)),
        }
        if let Some(state) = &instance.state {
            self.member("state", |json| json.value(state));
        }
        if !instance.items.is_empty() {
            self.member("items", |json| json.items(&instance.items));
        }
        if !instance.pairs.is_empty() {
            self.member("pairs", |json| json.pairs(&instance.pairs));
        }
        self.out.push('}');
    }

    fn member(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.display(format_args!(",\"{name}\":"));
        value(self);
    }

    fn tagged(&mut self, tag: &str, value: impl FnOnce(&mut Self)) {
        self.display(format_args!("{{\"{tag}\":"));
        value(self);
        self.out.push('}');
    }

    fn class(&mut self, class: &Class) {
        self.text(&class.to_string());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.text(&bytes.escape_ascii().to_string());
    }

    fn text(&mut self, text: &str) {
        // Text always is JSON, and memory always takes it.
        let quoted = serde_json::to_string(text).unwrap_or_default();
        self.out.push_str(&quoted);
    }

    fn display(&mut self, what: impl std::fmt::Display) {
        let _ = write!(self.out, "{what}");
    }
}

/// Whether a key stands nowhere before.
fn is_first(dict: &Dict, key: &str, at: usize) -> bool {
    // Only duplicates among few are looked for: a dict of Python has none.
    dict.len() > 1000
        || dict
            .pairs()
            .iter()
            .position(|(k, _)| k.as_str() == Some(key))
            == Some(at)
}
