//! The classes of BTrees, by their names in records.

use zeo_proto::Value;

use super::error::Error;

/// A class of the package BTrees.
pub enum Class {
    /// `BTrees.Length.Length`.
    Length,
    /// One of the BTrees' classes.
    Tree(Tree),
}

/// A class of BTrees, as `BTrees.LOBTree.LOTreeSet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    prefix: &'static str,
    /// Whether it is a tree or a leaf, and whether there are values.
    pub shape: Shape,
    /// What keys are.
    pub key: Kind,
    /// What values are; without meaning where there are none.
    pub value: Kind,
    /// The implementation in Python (`...Py`), which differs in details.
    pub python: bool,
}

/// What a class of BTrees is, whatever its keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Bucket: sorted keys with values, in one record.
    Bucket,
    /// Set: sorted keys, in one record.
    Set,
    /// BTree: a tree of buckets.
    Tree,
    /// TreeSet: a tree of sets.
    TreeSet,
}

/// What keys or values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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
    pub fn named(module: &str, name: &str) -> Option<Class> {
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
    pub fn is_set(&self) -> bool {
        matches!(self.shape, Shape::Set | Shape::TreeSet)
    }

    /// Whether states are those of buckets wrapped by a tree's.
    pub fn is_tree(&self) -> bool {
        matches!(self.shape, Shape::Tree | Shape::TreeSet)
    }

    /// The class of a tree's leaves; of a leaf, its own.
    pub fn leaf(self) -> Tree {
        let shape = match self.shape {
            Shape::Bucket | Shape::Tree => Shape::Bucket,
            Shape::Set | Shape::TreeSet => Shape::Set,
        };
        Tree { shape, ..self }
    }

    /// The module that the class is in, as `BTrees.LOBTree`.
    pub fn module(&self) -> String {
        format!("BTrees.{}BTree", self.prefix)
    }

    /// The name in the module, as `LOTreeSet`.
    pub fn name(&self) -> String {
        let shape = match self.shape {
            Shape::Bucket => "Bucket",
            Shape::Set => "Set",
            Shape::Tree => "BTree",
            Shape::TreeSet => "TreeSet",
        };
        let python = if self.python { "Py" } else { "" };
        format!("{}{shape}{python}", self.prefix)
    }

    /// How many keys a leaf of a tree has at most (`max_leaf_size` of BTrees 6).
    pub fn leaf_max(&self) -> usize {
        let objects = |kind| usize::from(kind == Kind::Object);
        match (self.key, objects(self.key) + objects(self.value)) {
            (Kind::Bytes(_), _) => 500,
            (_, 0) => 120,
            (_, 1) => 60,
            _ => 30,
        }
    }

    /// How many children a node of a tree has at most (`max_internal_size` of BTrees 6); the
    /// tree's own, one less than twice as many.
    pub fn inner_max(&self) -> usize {
        match self.key {
            Kind::Object => 250,
            _ => 500,
        }
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
    fn every_class_has_its_name() {
        for prefix in PREFIXES {
            for shape in ["Bucket", "Set", "BTree", "TreeSet"] {
                let (module, name) = (format!("BTrees.{prefix}BTree"), format!("{prefix}{shape}"));
                let Some(Class::Tree(class)) = Class::named(&module, &name) else {
                    panic!("{name}");
                };
                assert_eq!((class.module(), class.name()), (module, name));
                assert!(!class.leaf().is_tree());
                assert_eq!(class.leaf().is_set(), class.is_set());
            }
        }
    }

    #[test]
    fn sizes() {
        for (prefix, leaf, inner) in [
            ("OO", 30, 250),
            ("OL", 60, 250),
            ("UO", 60, 500),
            ("IF", 120, 500),
            ("QL", 120, 500),
            ("fs", 500, 500),
        ] {
            let module = format!("BTrees.{prefix}BTree");
            let Some(Class::Tree(class)) = Class::named(&module, "TreeSet") else {
                panic!("{prefix}");
            };
            assert_eq!(
                (class.leaf_max(), class.inner_max()),
                (leaf, inner),
                "{prefix}"
            );
        }
    }

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
