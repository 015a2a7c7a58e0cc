//! Conflicts of buckets, sets, and trees of one of them.

use zeo_proto::Value;

use super::merge::{Rules, merge};
use super::unresolved::{Reason, Revision, Unresolved};
use crate::btrees::bucket::{Bucket, only_bucket, read, write};
use crate::btrees::{self, Tree};
use crate::python::{Comparer, reference};

/// The state that the class makes of three (old, committed, new).
pub(super) fn resolve<'a>(
    class: &Tree,
    mut states: [(Revision, Value<'a>); 3],
    comparer: &Comparer,
) -> Result<Value<'a>, Unresolved> {
    if class.is_tree() {
        for (revision, state) in &mut states {
            let taken = std::mem::replace(state, Value::None);
            *state = only_bucket(taken).map_err(|error| Unresolved::of(*revision, error))?;
        }
    }
    let read =
        |(revision, state)| read(class, state).map_err(|error| Unresolved::of(revision, error));
    let [old, committed, new] = states;
    let (old, committed, new) = (read(old)?, read(committed)?, read(new)?);
    if !same_next(class, &old, &committed)? || !same_next(class, &old, &new)? {
        return Err(Unresolved::broken(Reason::NextChanged));
    }
    if committed.keys.is_empty() || new.keys.is_empty() {
        return Err(Unresolved::broken(Reason::Emptied));
    }
    let rules = Rules { class, comparer };
    let mut merged = merge(&rules, &old, &committed, &new)?;
    merged.next = old.next;
    Ok(write(class, merged))
}

/// Those in C want the very same object, those in Python an equal one.
fn same_next(class: &Tree, a: &Bucket<'_>, b: &Bucket<'_>) -> Result<bool, Unresolved> {
    match (&a.next, &b.next) {
        (Some(Value::Persistent(a)), Some(Value::Persistent(b))) => match class.python {
            false => Ok(reference::identical(a, b, &btrees::Classes)),
            true if reference::equal(a, b, &btrees::Classes) => Ok(true),
            true => Err(Unresolved::Incomparable("the next buckets differ")),
        },
        (None, None) | (Some(Value::None), Some(Value::None)) => Ok(true),
        _ if class.python => Err(Unresolved::Incomparable("the next buckets differ")),
        _ => Ok(false),
    }
}
