//! Records from JSON, in the form that [`Record::to_json`] writes.

use std::collections::HashMap;
use std::fmt;

use num_bigint::BigInt;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use zeo_proto::Oid;

use super::Record;
use super::datetime::DateTime;
use super::names::{Class, Reference};
use super::value::{Dict, Instance, Shared, Value};

/// Why a text is no record or value in JSON.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It is no JSON.
    #[error("no JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It is not of the form that records are written in.
    #[error("no record: {0}")]
    Form(String),
}

impl Record {
    /// The record that [`Record::to_json`] has written.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn from_json(json: &str) -> Result<Self, JsonError> {
        let Json::Object(mut members) = serde_json::from_str(json)? else {
            return form("it is no object");
        };
        let mut reader = Reader::default();
        let class = match take(&mut members, "class") {
            Some(Json::Text(class)) => Value::Global(Box::new(dotted(&class)?)),
            Some(class) => reader.value(class)?,
            None => return form("it has no class"),
        };
        let args = take(&mut members, "args");
        let args = args.map(|args| reader.value(args)).transpose()?;
        let Some(state) = take(&mut members, "state") else {
            return form("it has no state");
        };
        let state = reader.value(state)?;
        nothing_else(&members)?;
        Ok(Self { class, args, state })
    }
}

impl Value {
    /// The value that [`Value::to_json`] has written.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn from_json(json: &str) -> Result<Self, JsonError> {
        Reader::default().value(serde_json::from_str(json)?)
    }
}

/// What JSON holds, in its order.
enum Json {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

type Members = Vec<(String, Json)>;

#[derive(Default)]
struct Reader {
    shared: HashMap<i128, Shared>,
}

impl Reader {
    fn value(&mut self, json: Json) -> Result<Value, JsonError> {
        Ok(match json {
            Json::Null => Value::None,
            Json::Bool(bool) => Value::Bool(bool),
            Json::Int(int) => int.into(),
            Json::Float(float) => Value::Float(float),
            Json::Text(text) => text.into(),
            Json::Array(items) => Value::List(self.values(items)?),
            Json::Object(mut members) => {
                if members
                    .first()
                    .is_some_and(|(name, _)| name.starts_with('$'))
                {
                    let (tag, first) = members.remove(0);
                    let value = self.tagged(&tag, first, &mut members)?;
                    nothing_else(&members)?;
                    return Ok(value);
                }
                let pair = |(name, json)| Ok((name, self.value(json)?));
                let pairs: Result<Vec<(String, Value)>, JsonError> =
                    members.into_iter().map(pair).collect();
                Value::Dict(pairs?.into_iter().collect())
            }
        })
    }

    fn tagged(&mut self, tag: &str, first: Json, rest: &mut Members) -> Result<Value, JsonError> {
        Ok(match (tag, first) {
            ("$int", Json::Text(digits)) => match digits.parse::<BigInt>() {
                Ok(int) if digits.len() <= 5000 => int.into(),
                _ => return form("a $int is no number"),
            },
            ("$float", Json::Text(name)) => Value::Float(match name.as_str() {
                "nan" => f64::NAN,
                "inf" => f64::INFINITY,
                "-inf" => f64::NEG_INFINITY,
                _ => return form("a $float is not nan, inf or -inf"),
            }),
            ("$bytes", Json::Text(text)) => unescape(&text)?.into(),
            ("$surrogates", Json::Text(text)) => Value::Surrogates(unescape(&text)?.into()),
            ("$global", Json::Text(class)) => Value::Global(Box::new(dotted(&class)?)),
            ("$extension", Json::Int(code)) => match u32::try_from(code) {
                Ok(code) => Value::Extension(code),
                Err(_) => return form("an $extension is no code"),
            },
            ("$datetime", Json::Text(moment)) => match moment.parse::<DateTime>() {
                Ok(moment) => moment.into(),
                Err(why) => return form(why),
            },
            ("$tuple", Json::Array(items)) => Value::Tuple(self.values(items)?.into()),
            ("$set", Json::Array(items)) => Value::Set(self.values(items)?),
            ("$frozenset", Json::Array(items)) => Value::FrozenSet(self.values(items)?),
            ("$dict", Json::Array(pairs)) => Value::Dict(self.pairs(pairs)?),
            ("$persistent", id) => Value::Persistent(Box::new(self.value(id)?)),
            ("$ref", Json::Text(oid)) => self.reference(&oid, rest)?,
            ("$instance", class) => self.instance(class, rest, true)?,
            ("$call", class) => self.instance(class, rest, false)?,
            ("$shared", Json::Int(number)) => match take(rest, "value") {
                Some(value) => {
                    let shared = Shared::new(Value::None);
                    self.shared.insert(number, shared.within());
                    shared.set(self.value(value)?);
                    self.shared.insert(number, shared.clone());
                    Value::Shared(shared)
                }
                None => match self.shared.get(&number) {
                    Some(shared) => Value::Shared(shared.clone()),
                    None => return form(format!("there is no $shared {number} before")),
                },
            },
            _ => {
                return form(format!(
                    "{tag} is unknown, or has not the right kind of value"
                ));
            }
        })
    }

    fn values(&mut self, items: Vec<Json>) -> Result<Vec<Value>, JsonError> {
        items.into_iter().map(|item| self.value(item)).collect()
    }

    fn pairs(&mut self, pairs: Vec<Json>) -> Result<Dict, JsonError> {
        let mut found = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let Json::Array(pair) = pair else {
                return form("a pair is no array");
            };
            let mut parts = pair.into_iter();
            let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
                return form("a pair has not two parts");
            };
            found.push((self.value(key)?, self.value(value)?));
        }
        Ok(Dict::from_pairs(found))
    }

    fn reference(&mut self, oid: &str, rest: &mut Members) -> Result<Value, JsonError> {
        let number = oid
            .strip_prefix("0x")
            .map(|hex| u64::from_str_radix(hex, 16));
        let Some(Ok(number)) = number else {
            return form(format!("{oid:?} is no oid, as 0x2a is"));
        };
        let mut reference = Reference::new(Oid::new(number), None);
        match take(rest, "class") {
            Some(Json::Text(class)) => reference.class = Some(dotted(&class)?),
            Some(_) => return form("the class of a $ref is no text"),
            None => {}
        }
        reference.weak = matches!(take(rest, "weak"), Some(Json::Bool(true)));
        if let Some(Json::Text(database)) = take(rest, "database") {
            reference = reference.in_database(database);
        }
        Ok(reference.into())
    }

    fn instance(&mut self, class: Json, rest: &mut Members, new: bool) -> Result<Value, JsonError> {
        let callable = match class {
            Json::Text(class) => Value::Global(Box::new(dotted(&class)?)),
            other => self.value(other)?,
        };
        let args = match take(rest, "args") {
            Some(Json::Array(args)) => Value::Tuple(self.values(args)?.into()),
            Some(args) => self.value(args)?,
            None => Value::tuple([]),
        };
        let state = take(rest, "state");
        let state = state.map(|state| self.value(state)).transpose()?;
        let items = match take(rest, "items") {
            Some(Json::Array(items)) => self.values(items)?,
            Some(_) => return form("the items of an instance are no array"),
            None => Vec::new(),
        };
        let pairs = match take(rest, "pairs") {
            Some(Json::Array(pairs)) => self.pairs(pairs)?,
            Some(_) => return form("the pairs of an instance are no array"),
            None => Dict::new(),
        };
        let instance = Instance {
            callable,
            args,
            new,
            state,
            items,
            pairs,
        };
        Ok(instance.into())
    }
}

fn form<T>(what: impl ToString) -> Result<T, JsonError> {
    Err(JsonError::Form(what.to_string()))
}

fn take(members: &mut Members, name: &str) -> Option<Json> {
    let at = members.iter().position(|(member, _)| member == name)?;
    Some(members.remove(at).1)
}

fn nothing_else(members: &Members) -> Result<(), JsonError> {
    match members.first() {
        Some((name, _)) => form(format!("{name:?} is unknown there")),
        None => Ok(()),
    }
}

fn dotted(class: &str) -> Result<Class, JsonError> {
    class.parse().or_else(form)
}

/// What `escape_ascii` has escaped.
fn unescape(text: &str) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (byte, after) = match rest {
            [b'n', after @ ..] => (b'\n', after),
            [b'r', after @ ..] => (b'\r', after),
            [b't', after @ ..] => (b'\t', after),
            [b'\\' | b'\'' | b'"', after @ ..] => (rest[0], after),
            [b'x', high, low, after @ ..] => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                match (digit(high), digit(low)) {
                    (Some(high), Some(low)) => ((high * 16 + low) as u8, after),
                    _ => return form("bytes have \\x without two digits"),
                }
            }
            _ => return form("bytes have an unknown escape"),
        };
        out.push(byte);
        rest = after;
    }
    Ok(out)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, bool: bool) -> Result<Json, E> {
                Ok(Json::Bool(bool))
            }

            fn visit_i64<E>(self, int: i64) -> Result<Json, E> {
                Ok(Json::Int(int.into()))
            }

            fn visit_u64<E>(self, int: u64) -> Result<Json, E> {
                Ok(Json::Int(int.into()))
            }

            fn visit_f64<E>(self, float: f64) -> Result<Json, E> {
                Ok(Json::Float(float))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Json::Object(members))
            }
        }

        deserializer.deserialize_any(Any)
    }
}
