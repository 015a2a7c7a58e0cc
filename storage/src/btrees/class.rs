//! The classes of BTrees, by their names in records.

use zeo_proto::Value;

use super::error::Error;

/// A class of the package BTrees.
pub(crate) enum Class {
    /// `BTrees.Length.Length`.
    Length,
    /// One of the BTrees' classes.
    Tree(Tree),
}

/// A class of BTrees, as `BTrees.LOBTree.LOTreeSet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    prefix: &'static str,
    pub shape: Shape,
    pub key: Kind,
    pub value: Kind,
    /// The implementation in Python (`...Py`), which differs in details.
    pub python: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Bucket,
    Set,
    /// BTree: a tree of buckets.
    Tree,
    /// TreeSet: a tree of sets.
    TreeSet,
}

/// What keys or values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `O`.
    Object,
    /// `I`, `U`, `L`, `Q`: the range, both ends included.
    Int(i128, i128),
    /// `F`: single precision.
    Float,
    /// `f` and `s`: bytes of this length.
    Bytes(usize),
}

/// All prefixes of BTrees 6.
const PREFIXES: [&str; 22] = [
    "IO", "II", "IF", "IU", "UO", "UU", "UF", "UI", "LO", "LL", "LF", "LQ", "QO", "QQ", "QF", "QL",
    "OO", "OI", "OU", "OL", "OQ", "fs",
];

impl Class {
    /// The class in a class pickle: a class, or a tuple of one (possibly as
    /// a tuple of module and name) and of arguments, which these take and
    /// ignore.
    pub(crate) fn of(pickle: &Value<'_>) -> Result<Class, Error> {
        let (module, name) = match pickle {
            Value::Tuple(parts) => match parts.as_slice() {
                [class, Value::None | Value::Tuple(_), ..] => match class {
                    Value::Tuple(names) => match names.as_slice() {
                        [Value::Str(module), Value::Str(name)] => (module, name),
                        _ => return Err(Error::NoClass),
                    },
                    Value::Global { module, name } => (module, name),
                    class => return Err(Self::unknown(class)),
                },
                _ => return Err(Error::NoClass),
            },
            Value::Global { module, name } => (module, name),
            class => return Err(Self::unknown(class)),
        };
        Class::named(module, name).ok_or_else(|| Error::UnknownClass(format!("{module}.{name}")))
    }

    /// A class by its extension code is some application's; else there is none.
    fn unknown(class: &Value<'_>) -> Error {
        match class {
            Value::Extension(code) => Error::UnknownClass(format!("of extension code {code}")),
            _ => Error::NoClass,
        }
    }

    /// The class of this name. In its module, each has also its short name.
    pub(crate) fn named(module: &str, name: &str) -> Option<Class> {
        let module = module.strip_prefix("BTrees.")?;
        if module == "Length" {
            return (name == "Length").then_some(Class::Length);
        }
        let prefix = module.strip_suffix("BTree")?;
        // The module in C, by which old versions named their classes.
        let (prefix, in_c) = match prefix.strip_prefix('_') {
            Some(prefix) => (prefix, true),
            None => (prefix, false),
        };
        let prefix = PREFIXES.into_iter().find(|&known| known == prefix)?;
        let name = name.strip_prefix(prefix).unwrap_or(name);
        let (name, python) = match name.strip_suffix("Py") {
            Some(_) if in_c => return None,
            Some(name) => (name, true),
            None => (name, false),
        };
        let shape = match name {
            "Bucket" => Shape::Bucket,
            "Set" => Shape::Set,
            "BTree" => Shape::Tree,
            "TreeSet" => Shape::TreeSet,
            _ => return None,
        };
        let mut letters = prefix.chars();
        Some(Class::Tree(Tree {
            prefix,
            shape,
            key: Kind::of(letters.next()?)?,
            value: Kind::of(letters.next()?)?,
            python,
        }))
    }
}

impl Tree {
    /// Whether there are keys without values.
    pub(crate) fn is_set(&self) -> bool {
        matches!(self.shape, Shape::Set | Shape::TreeSet)
    }

    /// Whether states are those of buckets wrapped by a tree's.
    pub(crate) fn is_tree(&self) -> bool {
        matches!(self.shape, Shape::Tree | Shape::TreeSet)
    }
}

impl Kind {
    fn of(letter: char) -> Option<Kind> {
        Some(match letter {
            'O' => Kind::Object,
            'I' => Kind::Int(i32::MIN.into(), i32::MAX.into()),
            'U' => Kind::Int(0, u32::MAX.into()),
            'L' => Kind::Int(i64::MIN.into(), i64::MAX.into()),
            'Q' => Kind::Int(0, u64::MAX.into()),
            'F' => Kind::Float,
            'f' => Kind::Bytes(2),
            's' => Kind::Bytes(6),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let Some(Class::Tree(class)) = Class::named("BTrees.LFBTree", "LFTreeSetPy") else {
            panic!("no tree");
        };
        assert_eq!(class.shape, Shape::TreeSet);
        assert_eq!(class.value, Kind::Float);
        assert!(class.python);
        assert!(matches!(
            Class::named("BTrees.Length", "Length"),
            Some(Class::Length)
        ));
        let in_c = Class::named("BTrees._IIBTree", "IISet");
        assert!(matches!(
            in_c,
            Some(Class::Tree(Tree { python: false, .. }))
        ));
        for (module, name) in [
            ("BTrees._OOBTree", "OOBTreePy"),
            ("BTrees._Length", "Length"),
            ("BTrees.OFBTree", "OFBTree"),
            ("BTrees.OOBTree", "IIBTree"),
            ("BTrees.OOBTree", "OOTreeIterator"),
            ("BTrees.OOBTree", "OOBTreePyPy"),
            ("BTrees.Length", "OOBTree"),
            ("app.OOBTree", "OOBTree"),
        ] {
            assert!(Class::named(module, name).is_none(), "{module}.{name}");
        }
    }
}
