//! How a [`Value`] goes through serde unchanged, between our own serializer and types that have
//! one as a field: by name and hand, since serde's data model has nothing like it.

use std::cell::RefCell;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::ser::{Serialize, Serializer};

use super::datetime::DateTime;
use super::names::Reference;
use super::value::Value;

/// The newtype struct by which both sides know each other.
pub(super) const NAME: &str = "$zeo_client::record::Value";

thread_local! {
    static HAND: RefCell<Option<Value>> = const { RefCell::new(None) };
}

/// Passes a value to the other side.
pub(super) fn pass(value: Value) {
    HAND.set(Some(value));
}

/// Takes what the other side has passed.
pub(super) fn take() -> Option<Value> {
    HAND.take()
}

/// Into a state as it is; for others, as JSON in a text.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Passed<'v>(&'v Value);

        impl Serialize for Passed<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                take();
                serializer.serialize_str(&self.0.to_json())
            }
        }

        pass(self.clone());
        serializer.serialize_newtype_struct(NAME, &Passed(self))
    }
}

/// From a state, whatever it is.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taker;

        impl<'de> Visitor<'de> for Taker {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of a record")
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
                take().ok_or_else(|| E::custom("a Value can be read from a record only"))
            }
        }

        take();
        deserializer.deserialize_newtype_struct(NAME, Taker)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Reference(reference) => Ok(*reference),
            other => Err(D::Error::custom(format!(
                "{}, not a reference",
                other.kind()
            ))),
        }
    }
}

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(*self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        DateTime::of(&value)
            .ok_or_else(|| D::Error::custom(format!("{}, not a datetime", value.look().kind())))
    }
}
