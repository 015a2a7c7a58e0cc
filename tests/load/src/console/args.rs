//! The arguments of a call, and why it fails.

use serde_json::{Value, json};
use zeo_client::Error;
use zeo_proto::{Oid, Tid};

use crate::shown::hex;

/// A call, as it was read. Oids and tids are 16 hexadecimal digits, data as well.
pub struct Args<'a>(pub &'a Value);

/// Why a call fails.
pub enum Failure {
    /// Of the storage.
    Storage(Error),
    /// The call is none.
    Usage(String),
    /// Anything else.
    Other(String),
}

type Taken<T> = Result<T, Failure>;

impl Args<'_> {
    pub fn text(&self, name: &str) -> Taken<&str> {
        let value = self.0.get(name).and_then(Value::as_str);
        value.ok_or_else(|| Failure::Usage(format!("{name}, a text, in {}", self.0)))
    }

    pub fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    pub fn number(&self, name: &str) -> Taken<u64> {
        let value = self.0.get(name).and_then(Value::as_u64);
        value.ok_or_else(|| Failure::Usage(format!("{name}, a number, in {}", self.0)))
    }

    pub fn seconds(&self, name: &str) -> Taken<f64> {
        let value = self.0.get(name).and_then(Value::as_f64);
        value.ok_or_else(|| Failure::Usage(format!("{name}, a number, in {}", self.0)))
    }

    pub fn bytes(&self, name: &str) -> Taken<Vec<u8>> {
        let text = self.text(name)?;
        let pairs = (0..text.len()).step_by(2);
        { pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()) }
            .collect::<Option<_>>()
            .ok_or_else(|| Failure::Usage(format!("{name}, hexadecimal digits, in {}", self.0)))
    }

    fn id(&self, name: &str) -> Taken<u64> {
        let value = u64::from_str_radix(self.text(name)?, 16);
        value.map_err(|why| Failure::Usage(format!("{name}: {why}")))
    }

    pub fn oid(&self) -> Taken<Oid> {
        self.id("oid").map(Oid::new)
    }

    pub fn oids(&self) -> Taken<Vec<Oid>> {
        let list = self.0.get("oids").and_then(Value::as_array);
        let items = list.into_iter().flatten();
        let oids = items.map(|oid| Args(&json!({ "oid": oid })).oid());
        oids.collect()
    }

    pub fn tid(&self, name: &str) -> Taken<Tid> {
        self.id(name).map(Tid::new)
    }

    /// None if it is not there.
    pub fn optional<T>(
        &self,
        name: &str,
        take: impl FnOnce(&Self) -> Taken<T>,
    ) -> Taken<Option<T>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => take(self).map(Some),
        }
    }
}

impl Failure {
    /// Of anything but the storage.
    pub fn other(why: impl std::fmt::Display) -> Self {
        Self::Other(why.to_string())
    }

    /// As it is answered.
    pub fn shown(&self) -> Value {
        match self {
            Self::Storage(why) => shown(why),
            Self::Usage(text) => json!({"error": "Usage", "message": text}),
            Self::Other(text) => json!({"error": "Other", "message": text}),
        }
    }
}

/// The name of the error's kind, and what it tells.
fn shown(why: &Error) -> Value {
    let debug = format!("{why:?}");
    let kind = debug.split(|c: char| !c.is_alphanumeric()).next();
    let mut found =
        json!({"error": kind, "message": why.to_string(), "retryable": why.is_retryable()});
    match why {
        Error::NoObject { oid, .. } => found["oid"] = json!(hex(&oid.to_bytes())),
        Error::Conflict(conflict) | Error::ReadConflict(conflict) => {
            found["oid"] = json!(conflict.oid.map(|oid| hex(&oid.to_bytes())));
        }
        Error::Server { exception, .. } => found["class"] = json!(exception.class()),
        _ => {}
    }
    found
}

impl From<Error> for Failure {
    fn from(why: Error) -> Self {
        Self::Storage(why)
    }
}
impl From<std::io::Error> for Failure {
    fn from(why: std::io::Error) -> Self {
        Self::other(why)
    }
}
