//! What becomes a value.

use bytes::Bytes;
use bytestring::ByteString;
use num_bigint::BigInt;

use super::names::{Class, Reference};
use super::value::{Dict, Instance, Tuple, Value};

impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Dict {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        let mut dict = Dict::new();
        dict.extend(items);
        dict
    }
}

impl<K: Into<Value>, V: Into<Value>> Extend<(K, V)> for Dict {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, items: I) {
        for (key, value) in items {
            self.insert(key, value);
        }
    }
}

impl<K: Into<Value>, V: Into<Value>, const N: usize> From<[(K, V); N]> for Dict {
    fn from(items: [(K, V); N]) -> Self {
        items.into_iter().collect()
    }
}

macro_rules! from {
    ($($from:ty, $value:ident => $into:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $into
            }
        }
    )*};
}

from! {
    bool, value => Value::Bool(value);
    i64, value => Value::Int(value);
    i32, value => Value::Int(value.into());
    u32, value => Value::Int(value.into());
    u64, value => BigInt::from(value).into();
    usize, value => BigInt::from(value).into();
    i128, value => BigInt::from(value).into();
    f64, value => Value::Float(value);
    &str, value => Value::Str(value.into());
    String, value => Value::Str(value.into());
    ByteString, value => Value::Str(value);
    Bytes, value => Value::Bytes(value);
    Vec<u8>, value => Value::Bytes(value.into());
    &[u8], value => Value::Bytes(Bytes::copy_from_slice(value));
    Vec<Value>, value => Value::List(value);
    Dict, value => Value::Dict(value);
    Tuple, value => Value::Tuple(value);
    Class, value => Value::Global(Box::new(value));
    Reference, value => Value::Reference(Box::new(value));
    Instance, value => Value::Instance(Box::new(value));
}

impl From<BigInt> for Value {
    fn from(value: BigInt) -> Self {
        match i64::try_from(value) {
            Ok(value) => Value::Int(value),
            Err(error) => Value::BigInt(Box::new(error.into_original())),
        }
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::None, Into::into)
    }
}
