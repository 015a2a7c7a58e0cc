//! Persistent references as `ZODB.ConflictResolution` sees them: objects of
//! its own class, equal when they name the same object, and not ordered.

use zeo_proto::Value;

use super::classes::Classes;

/// What a persistent id says (`ZODB.serialize`: oid, (oid, class), and the
/// lists for weak and multi-database references).
pub(crate) struct Reference<'v> {
    oid: Option<&'v [u8]>,
    database: Option<&'v str>,
    weak: bool,
    class: &'v Value<'v>,
}

impl<'v> Reference<'v> {
    /// Reads a persistent id; `None` for those that make Python fail.
    pub(crate) fn of(id: &'v Value<'v>) -> Option<Self> {
        match id {
            Value::Bytes(_) | Value::Str(_) => Self::new(id, &Value::None, &Value::None),
            Value::Tuple(parts) => match parts.as_slice() {
                [oid, class] => Self::new(oid, &Value::None, class),
                _ => None,
            },
            Value::List(parts) => Self::of_list(parts),
            _ => None,
        }
    }

    fn of_list(parts: &'v [Value<'v>]) -> Option<Self> {
        let (kind, parts) = match parts {
            [oid] => return Self::new(oid, &Value::None, &Value::None).map(Self::weak),
            [Value::Str(kind), Value::Tuple(parts)] => (kind, parts.as_slice()),
            _ => return None,
        };
        match (&**kind, parts) {
            ("m", [database, oid, class]) => Self::new(oid, database, class),
            ("n", [database, oid]) => Self::new(oid, database, &Value::None),
            ("w", [oid]) => Self::new(oid, &Value::None, &Value::None).map(Self::weak),
            ("w", [oid, database]) => Self::new(oid, database, &Value::None).map(Self::weak),
            _ => None,
        }
    }

    fn new(oid: &'v Value<'v>, database: &'v Value<'v>, class: &'v Value<'v>) -> Option<Self> {
        let oid = match oid {
            Value::None => None,
            Value::Bytes(oid) => Some(&**oid),
            // All bytes are below 0x80 in a record of Python 2.
            Value::Str(oid) if oid.is_ascii() => Some(oid.as_bytes()),
            _ => return None,
        };
        let database = match database {
            Value::None => None,
            Value::Str(name) => Some(&**name),
            _ => return None,
        };
        let named = match class {
            Value::None | Value::Global { .. } | Value::Extension(_) => true,
            Value::Tuple(names) => names.iter().all(|name| matches!(name, Value::Str(_))),
            _ => false,
        };
        named.then_some(Reference {
            oid,
            database,
            weak: false,
            class,
        })
    }

    fn weak(self) -> Self {
        Reference { weak: true, ..self }
    }
}

/// Whether Python holds these two ids for equal; where it does not, it
/// raises.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>, classes: &dyn Classes) -> bool {
    let same = match (Reference::of(a), Reference::of(b)) {
        (Some(a), Some(b)) => a.oid == b.oid && a.database == b.database && !a.weak && !b.weak,
        _ => false,
    };
    same || identical(a, b, classes)
}

/// Whether Python makes one object of these two ids: it does of those that
/// are spelled the same, unless they name a class that it can't import.
pub(crate) fn identical(a: &Value<'_>, b: &Value<'_>, classes: &dyn Classes) -> bool {
    let class = match Reference::of(a) {
        Some(reference) => reference.class,
        None => return false,
    };
    let known = match class {
        Value::Global { module, name } => classes.knows(module, name),
        Value::Extension(_) => false,
        _ => true,
    };
    known && same_spelling(a, b, classes)
}

/// Classes may have several names.
fn same_spelling(a: &Value<'_>, b: &Value<'_>, classes: &dyn Classes) -> bool {
    match (a, b) {
        (Value::Tuple(a), Value::Tuple(b)) | (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_spelling(a, b, classes))
        }
        (
            Value::Global { module, name },
            Value::Global {
                module: other_module,
                name: other_name,
            },
        ) => a == b || classes.are_same((module, name), (other_module, other_name)),
        _ => a == b,
    }
}
