//! The states of buckets and sets, alone or as the only one of a tree.

use zeo_proto::Value;

use super::class::{Kind, Tree};
use super::error::Error;
use crate::python::numbers;

/// The content of a bucket, or of a set, where there are no values.
///
/// As a state: `((key, value, ...),)` or `((key, ...),)`, with the bucket
/// that follows as a second item if there is one. A tree of one bucket has
/// `((state,),)`, an empty one `None`.
#[derive(Default)]
pub(crate) struct Bucket<'a> {
    pub keys: Vec<Value<'a>>,
    pub values: Vec<Value<'a>>,
    pub next: Option<Value<'a>>,
}

/// The state of a tree's only bucket; `None` stays what it is.
pub(crate) fn only_bucket(state: Value<'_>) -> Result<Value<'_>, Error> {
    let malformed = Error::State("not the state of a tree");
    let buckets = match state {
        Value::None => return Ok(Value::None),
        Value::Tuple(parts) if parts.len() == 2 => return Err(Error::NotOneBucket),
        Value::Tuple(parts) => only(parts),
        _ => None,
    };
    match buckets {
        Some(Value::Tuple(buckets)) => match only(buckets) {
            Some(bucket @ Value::Tuple(_)) => Ok(bucket),
            _ => Err(malformed),
        },
        _ => Err(malformed),
    }
}

fn only(items: Vec<Value<'_>>) -> Option<Value<'_>> {
    let mut items = items.into_iter();
    items.next().filter(|_| items.next().is_none())
}

/// The bucket that a state holds.
///
/// # Errors
///
/// [`Error::State`] for what the class does not take.
pub(crate) fn read<'a>(class: &Tree, state: Value<'a>) -> Result<Bucket<'a>, Error> {
    let malformed = Error::State;
    let mut parts = match state {
        Value::None => return Ok(Bucket::default()),
        Value::Tuple(parts) | Value::List(parts) if class.python => parts.into_iter(),
        Value::Tuple(parts) if parts.len() <= 2 => parts.into_iter(),
        _ => return Err(malformed("not the state of a bucket")),
    };
    let Some(Value::Tuple(items)) = parts.next() else {
        return Err(malformed("the items are not a tuple"));
    };
    let next = match (parts.next(), parts.next()) {
        // The classes in Python don't tell None from nothing, and take a
        // longer tuple for one without this.
        (Some(Value::None), None) if class.python => None,
        (next, None) => next,
        (_, Some(_)) => None,
    };
    if !matches!(next, None | Some(Value::None | Value::Persistent(_))) {
        return Err(malformed("the next bucket is not a reference"));
    }
    let mut bucket = Bucket {
        next,
        ..Bucket::default()
    };
    if class.is_set() {
        bucket.keys = items;
    } else {
        if class.python && !items.len().is_multiple_of(2) {
            return Err(malformed("a key has no value"));
        }
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            bucket.keys.push(key);
            bucket.values.push(value);
        }
    }
    // The classes in C check what they load.
    if !class.python {
        let wrong = || malformed("a key or value is of the wrong type");
        for key in &mut bucket.keys {
            take(class.key, false, key).ok_or_else(wrong)?;
        }
        for value in &mut bucket.values {
            take(class.value, false, value).ok_or_else(wrong)?;
        }
    }
    Ok(bucket)
}

/// Makes of a key or value what a container of this kind keeps of it;
/// `None` if it refuses it. Those in Python keep floats in full precision.
pub(crate) fn take(kind: Kind, python: bool, value: &mut Value<'_>) -> Option<()> {
    let kept = match (kind, &*value) {
        (Kind::Object, _) => return Some(()),
        (Kind::Int(min, max), &Value::Int(int)) => {
            (min..=max).contains(&int).then_some(Value::Int(int))?
        }
        (Kind::Int(..), &Value::Bool(bool)) => Value::Int(bool.into()),
        (Kind::Float, _) => Value::Float(float(python, value)?),
        (Kind::Bytes(length), Value::Bytes(bytes)) if bytes.len() == length => return Some(()),
        _ => return None,
    };
    *value = kept;
    Some(())
}

fn float(python: bool, value: &Value<'_>) -> Option<f64> {
    match *value {
        Value::Float(float) if python => Some(float),
        Value::Float(float) => Some(f64::from(float as f32)),
        Value::Bool(bool) => Some(f64::from(bool)),
        Value::Int(_) | Value::Long(_) if python => numbers::float(&numbers::big(value)?),
        Value::Int(int) => Some(f64::from(i64::try_from(int).ok()? as f32)),
        _ => None,
    }
}

/// The state of a bucket, or of a tree with it as its only one.
pub(crate) fn write<'a>(class: &Tree, bucket: Bucket<'a>) -> Value<'a> {
    let items = if class.is_set() {
        bucket.keys
    } else {
        let pairs = bucket.keys.into_iter().zip(bucket.values);
        pairs.flat_map(|(key, value)| [key, value]).collect()
    };
    let parts = [Some(Value::Tuple(items)), bucket.next];
    let state = Value::Tuple(parts.into_iter().flatten().collect());
    if class.is_tree() {
        Value::Tuple(vec![Value::Tuple(vec![state])])
    } else {
        state
    }
}
