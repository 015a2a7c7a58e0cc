//! The states of buckets and sets, alone or as the only one of a tree.

use zeo_proto::Value;

use super::class::{Kind, Tree};
use super::compare::Comparer;
use super::merge::{Rules, merge};
use super::numbers;
use super::reference;
use super::unresolved::{Reason, Revision, Unresolved};

/// The content of a bucket, or of a set, where there are no values.
///
/// As a state: `((key, value, ...),)` or `((key, ...),)`, with the bucket
/// that follows as a second item if there is one. A tree of one bucket has
/// `((state,),)`, an empty one `None`.
#[derive(Default)]
pub(super) struct Bucket<'a> {
    pub keys: Vec<Value<'a>>,
    pub values: Vec<Value<'a>>,
    pub next: Option<Value<'a>>,
}

/// The state that the class makes of three (old, committed, new).
pub(super) fn resolve<'a>(
    class: &Tree,
    mut states: [(Revision, Value<'a>); 3],
    comparer: &Comparer,
) -> Result<Value<'a>, Unresolved> {
    if class.is_tree() {
        for (revision, state) in &mut states {
            *state = only_bucket(*revision, std::mem::replace(state, Value::None))?;
        }
    }
    let [old, committed, new] = states;
    let old = read(class, old)?;
    let committed = read(class, committed)?;
    let new = read(class, new)?;
    if !same_next(class, &old, &committed)? || !same_next(class, &old, &new)? {
        return Err(broken(Reason::NextChanged));
    }
    if committed.keys.is_empty() || new.keys.is_empty() {
        return Err(broken(Reason::Emptied));
    }
    let rules = Rules { class, comparer };
    let mut merged = merge(&rules, &old, &committed, &new)?;
    merged.next = old.next;
    Ok(write(class, merged))
}

fn broken(reason: Reason) -> Unresolved {
    Unresolved::Merge {
        reason,
        positions: [-1; 3],
        raised: None,
    }
}

/// The state of a tree's only bucket; `None` stays what it is.
fn only_bucket(revision: Revision, state: Value<'_>) -> Result<Value<'_>, Unresolved> {
    let malformed = Unresolved::State {
        revision,
        what: "no state of a tree",
    };
    let buckets = match state {
        Value::None => return Ok(Value::None),
        Value::Tuple(parts) if parts.len() == 2 => return Err(broken(Reason::NotOneBucket)),
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

fn read<'a>(
    class: &Tree,
    (revision, state): (Revision, Value<'a>),
) -> Result<Bucket<'a>, Unresolved> {
    let malformed = |what| Unresolved::State { revision, what };
    let mut parts = match state {
        Value::None => return Ok(Bucket::default()),
        Value::Tuple(parts) | Value::List(parts) if class.python => parts.into_iter(),
        Value::Tuple(parts) if parts.len() <= 2 => parts.into_iter(),
        _ => return Err(malformed("no state of a bucket")),
    };
    let Some(Value::Tuple(items)) = parts.next() else {
        return Err(malformed("the items are no tuple"));
    };
    let next = match (parts.next(), parts.next()) {
        // The classes in Python don't tell None from nothing, and take a
        // longer tuple for one without this.
        (Some(Value::None), None) if class.python => None,
        (next, None) => next,
        (_, Some(_)) => None,
    };
    if !matches!(next, None | Some(Value::None | Value::Persistent(_))) {
        return Err(malformed("the next bucket is no reference"));
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
pub(super) fn take(kind: Kind, python: bool, value: &mut Value<'_>) -> Option<()> {
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

/// Those in C want the very same object, those in Python an equal one.
fn same_next(class: &Tree, a: &Bucket<'_>, b: &Bucket<'_>) -> Result<bool, Unresolved> {
    match (&a.next, &b.next) {
        (Some(Value::Persistent(a)), Some(Value::Persistent(b))) => match class.python {
            false => Ok(reference::identical(a, b)),
            true if reference::equal(a, b) => Ok(true),
            true => Err(Unresolved::Incomparable("the next buckets differ")),
        },
        (None, None) | (Some(Value::None), Some(Value::None)) => Ok(true),
        _ if class.python => Err(Unresolved::Incomparable("the next buckets differ")),
        _ => Ok(false),
    }
}

fn write<'a>(class: &Tree, bucket: Bucket<'a>) -> Value<'a> {
    let items = if class.is_set() {
        bucket.keys
    } else {
        let pairs = bucket.keys.into_iter().zip(bucket.values);
        pairs.flat_map(|(key, value)| [key, value]).collect()
    };
    let parts = [Some(Value::Tuple(items)), bucket.next];
    let state = Value::Tuple(parts.into_iter().flatten().collect());
    match class.is_tree() {
        true => Value::Tuple(vec![Value::Tuple(vec![state])]),
        false => state,
    }
}
