//! Conflict resolution without Python: what `_p_resolveConflict` of BTrees 6
//! and of `BTrees.Length` makes of three states, and what ZODB's
//! `tryToResolveConflict` makes of three records.
//!
//! Upstream is the judge of every outcome (`ZODB/ConflictResolution.py`;
//! `MergeTemplate.c`, `BucketTemplate.c`, `SetTemplate.c`, `BTreeTemplate.c`
//! and `_base.py` of BTrees). A Python server tells its client only that
//! there is a conflict; [`Unresolved`] is for logs and tests.
//!
//! Conflicts of the application's classes are for a [`Resolver`], who knows them.
//!
//! Which values are known, and how they compare, `python::operand` tells. What is
//! bound to differ: classes of applications and of packages besides ZEO are
//! never known, as on a Python server that can't import them; so a state that
//! holds an instance of one, other than by reference, is not merged. Nor are
//! states with instances of other classes of the standard library, text with
//! lone surrogates, values that contain themselves, or other things that
//! [`Policy::FILE`] refuses; and work and size have limits. Python 2 is as
//! far away as in Python 3: a state with text of it that is not ASCII, or
//! with a class by a name that only Python 2 has, stays in conflict.

mod application;
mod length;
mod loadable;
mod merge;
mod trees;
mod unresolved;
pub(crate) mod vote;

use std::borrow::Cow;

use zeo_proto::Value;
use zeo_proto::pickle::{Memo, Policy, Strings, Unpickler, encode_all};

use crate::btrees::{self, Class};
use crate::python::Comparer;
use crate::record::{compress, decompress, is_compressed};
pub(crate) use application::{Conflicting, resolve as resolve_with};
pub use application::{DecidedBy, Question, Resolver, Unmerged};
pub use unresolved::{Reason, Revision, Unresolved};

/// The record that carries both changes of an object: that from `old` to
/// `committed`, which is in the database, and that from `old` to `new`.
///
/// All are whole records (class and state pickle), each possibly compressed
/// as by `zc.zlibstorage`. The result is compressed if `compressed` is
/// `Some(true)`, or `None` and any input was; but only when that is shorter.
/// Undo passes as `old` what it takes back, and as `new` what was there before.
///
/// # Errors
///
/// Whatever makes Python's server raise a `ConflictError`.
pub fn resolve(
    old: &[u8],
    committed: &[u8],
    new: &[u8],
    compressed: Option<bool>,
) -> Result<Vec<u8>, Unresolved> {
    let as_found = || [old, committed, new].into_iter().any(is_compressed);
    let zipped = compressed.unwrap_or_else(as_found);
    let new = plain(Revision::New, new)?;
    let (meta, new_state) = read(Revision::New, &new)?;
    let class = Class::of(&meta).map_err(|error| Unresolved::of(Revision::New, error))?;
    let old = plain(Revision::Old, old)?;
    let committed = plain(Revision::Committed, committed)?;
    let states = [
        (Revision::Old, read(Revision::Old, &old)?.1),
        (
            Revision::Committed,
            read(Revision::Committed, &committed)?.1,
        ),
        (Revision::New, new_state),
    ];
    let size = old.len() + committed.len() + new.len();
    let comparer = Comparer::new(size, &btrees::Classes);
    for (revision, state) in &states {
        loadable::check(*revision, state, &comparer)?;
    }
    let resolved = match class {
        Class::Length => length::resolve(&states.map(|(_, state)| state))?,
        Class::Tree(class) => trees::resolve(&class, states, &comparer)?,
    };
    let record = write(&meta, &resolved, size)?;
    Ok(if zipped { compress(record) } else { record })
}

/// The longest record that is decompressed to be merged, in bytes.
const MAX_PLAIN: u64 = 1 << 26;

fn plain(revision: Revision, record: &[u8]) -> Result<Cow<'_, [u8]>, Unresolved> {
    decompress(record, MAX_PLAIN).map_err(|source| Unresolved::Compressed { revision, source })
}

/// As Python's, which fails at text of Python 2 that is not ASCII.
const POLICY: Policy = Policy {
    strings: Strings::Ascii,
    ..Policy::FILE
};

/// What tells the class, and the state.
fn read(revision: Revision, record: &[u8]) -> Result<(Value<'_>, Value<'_>), Unresolved> {
    let unreadable = |source| Unresolved::Unreadable { revision, source };
    let mut pickles = Unpickler::new(record, &POLICY);
    let class = pickles.value().map_err(unreadable)?;
    let class_length = pickles.position();
    let state = pickles.value().map_err(unreadable)?;
    let rest = record.get(class_length..).unwrap_or_default();
    if [record, rest].into_iter().any(is_too_late) {
        let what = "its pickle protocol is later than 3, which ZODB does not read";
        return Err(Unresolved::State { revision, what });
    }
    Ok((class, state))
}

/// Whether a pickle is of a protocol that zodbpickle does not know.
fn is_too_late(pickle: &[u8]) -> bool {
    matches!(pickle, [0x80, protocol, ..] if *protocol > 3)
}

/// How much larger than the three records the result may be. It is larger
/// at all only by what they share, as Python's would not be.
const GROWTH_FACTOR_MAX: usize = 4;
/// What the result may take however small the records are, in bytes.
const GROWTH_FREE_BYTES: usize = 1 << 20;

/// How long a record may be that is merged from records with `size` bytes.
fn max_size(size: usize) -> usize {
    size.saturating_mul(GROWTH_FACTOR_MAX)
        .saturating_add(GROWTH_FREE_BYTES)
}

/// Both by one pickler, as Python does it: an undo compares records by their
/// bytes.
fn write(class: &Value<'_>, state: &Value<'_>, size: usize) -> Result<Vec<u8>, Unresolved> {
    let mut left = max_size(size);
    if !fits(class, &mut left) || !fits(state, &mut left) {
        return Err(Unresolved::TooLarge);
    }
    let mut record = Vec::new();
    encode_all(&[class, state], &mut record, Memo::Memoizing).map_err(|_| Unresolved::TooLarge)?;
    Ok(record)
}

/// Takes the text and bytes of a value off what is left; false if they are
/// more. Values without them can't be many times the input.
fn fits(value: &Value<'_>, left: &mut usize) -> bool {
    let length = match value {
        Value::Bytes(bytes) | Value::Long(bytes) | Value::Surrogates(bytes) => bytes.len(),
        Value::Str(text) => text.len(),
        Value::Global { module, name } => module.len().saturating_add(name.len()),
        Value::Tuple(items) | Value::List(items) => {
            return items.iter().all(|item| fits(item, left));
        }
        Value::Dict(pairs) => {
            return pairs.iter().all(|(k, v)| fits(k, left) && fits(v, left));
        }
        Value::Persistent(id) => return fits(id, left),
        Value::Object(object) => return fits(&object.callable, left) && fits(&object.args, left),
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Extension(_) => {
            return true;
        }
    };
    match left.checked_sub(length) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
