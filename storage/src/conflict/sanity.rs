//! Whether Python could load a state at all, and knows all of its classes.

use zeo_proto::Value;

use super::instances::{Instance, known};
use super::reference::Reference;
use super::unresolved::{Revision, Unresolved};

/// Fails for states that Python can't load, and for those with instances of
/// classes that it would have to import. (Without them it makes placeholders,
/// which are equal to nothing and can't be written: no state with one is
/// ever merged.)
///
/// Walks by recursion: the decoder bounds the depth.
pub(super) fn check(revision: Revision, value: &Value<'_>) -> Result<(), Unresolved> {
    let malformed = |what| Err(Unresolved::State { revision, what });
    let unknown = |class: &Value<'_>| {
        let class = match class {
            Value::Global { module, name } => format!("{module}.{name}"),
            _ => "?".to_owned(),
        };
        Err(Unresolved::Instance { revision, class })
    };
    match value {
        Value::Tuple(items) | Value::List(items) => {
            items.iter().try_for_each(|item| check(revision, item))
        }
        Value::Dict(pairs) => pairs.iter().try_for_each(|(key, value)| {
            check(revision, key)?;
            if !hashable(key) {
                return malformed("a dict has a key that can't be hashed");
            }
            check(revision, value)
        }),
        Value::Global { .. } => unknown(value),
        Value::Object(object) => match known(object) {
            Some(Instance::Set { items, .. }) => {
                items.iter().try_for_each(|item| check(revision, item))?;
                match items.iter().all(hashable) {
                    true => Ok(()),
                    false => malformed("a set has an item that can't be hashed"),
                }
            }
            Some(_) => Ok(()),
            None => unknown(&object.callable),
        },
        Value::Persistent(id) => match Reference::of(id) {
            Some(_) => Ok(()),
            None => malformed("a persistent reference has an unknown form"),
        },
        Value::None
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Bytes(_)
        | Value::Str(_) => Ok(()),
    }
}

/// Whether a value that was checked can be a dict's key.
fn hashable(value: &Value<'_>) -> bool {
    match value {
        Value::List(_) | Value::Dict(_) | Value::Persistent(_) => false,
        Value::Tuple(items) => items.iter().all(hashable),
        Value::Object(object) => {
            !matches!(known(object), Some(Instance::Set { frozen: false, .. }))
        }
        _ => true,
    }
}
