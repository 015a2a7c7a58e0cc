//! Whether Python could load a state at all, and knows all of its classes.

use zeo_proto::Value;

use super::unresolved::{Revision, Unresolved};
use crate::python::reference::Reference;
use crate::python::{Answer, Comparer, Operand, Sequence, all};
use crate::record::name_of;

/// Fails for states that Python can't load, and for those with instances of
/// classes that it would have to import. (Without them it makes placeholders,
/// which are equal to nothing and can't be written: no state with one is
/// ever merged.)
///
/// Walks by recursion: the decoder bounds the depth.
pub(super) fn check(
    revision: Revision,
    value: &Value<'_>,
    comparer: &Comparer,
) -> Result<(), Unresolved> {
    let malformed = |what| Err(Unresolved::State { revision, what });
    let check = |value| check(revision, value, comparer);
    let hashable = |value| hashable(value, comparer);
    match comparer.look(value)? {
        Operand::Sequence(_, items) => items.iter().try_for_each(check),
        Operand::Dict { pairs, .. } => pairs.iter().try_for_each(|(key, value)| {
            check(key)?;
            if !hashable(key)? {
                return malformed("a dict has a key that can't be hashed");
            }
            check(value)
        }),
        Operand::Set { items, .. } => {
            items.iter().try_for_each(check)?;
            if all(items.iter().map(hashable))? {
                Ok(())
            } else {
                malformed("a set has an item that can't be hashed")
            }
        }
        Operand::Reference(id) => match Reference::of(id) {
            Some(_) => Ok(()),
            None => malformed("a persistent reference has an unknown form"),
        },
        Operand::Unknown => {
            let class = match value {
                Value::Object(object) => &object.callable,
                class => class,
            };
            let class = name_of(class).unwrap_or_else(|| "?".to_owned());
            Err(Unresolved::Instance { revision, class })
        }
        _ => Ok(()),
    }
}

/// Whether a value that was checked can be a dict's key.
fn hashable(value: &Value<'_>, comparer: &Comparer) -> Answer {
    match comparer.look(value)? {
        Operand::Sequence(Sequence::Tuple, items) => {
            all(items.iter().map(|item| hashable(item, comparer)))
        }
        operand => Ok(operand.is_hashable()),
    }
}
