//! What records name: classes, and other objects.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use bytestring::ByteString;
use zeo_proto::Oid;

/// A class or function of Python, by name; it is never looked up.
///
/// ```
/// use zeo_client::record::Class;
///
/// let class: Class = "BTrees.OOBTree.OOBTree".parse()?;
/// assert_eq!((&*class.module, &*class.name), ("BTrees.OOBTree", "OOBTree"));
/// assert_eq!(class.to_string(), "BTrees.OOBTree.OOBTree");
/// # Ok::<(), zeo_client::record::NoClass>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// Dotted module name.
    pub module: ByteString,
    /// Name in the module.
    pub name: ByteString,
}

/// A text that is no dotted name of a class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a class: give its module and name, as in app.models.Page")]
pub struct NoClass(String);

impl Class {
    /// A class by its module and its name in there.
    pub fn new(module: impl Into<ByteString>, name: impl Into<ByteString>) -> Self {
        Self {
            module: module.into(),
            name: name.into(),
        }
    }

    /// A class whose names are known when the program is built.
    pub const fn from_static(module: &'static str, name: &'static str) -> Self {
        Self {
            module: ByteString::from_static(module),
            name: ByteString::from_static(name),
        }
    }

    /// Whether it has this module and name.
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

impl FromStr for Class {
    type Err = NoClass;

    /// The module is all before the last dot.
    fn from_str(dotted: &str) -> Result<Self, NoClass> {
        match dotted.rsplit_once('.') {
            Some((module, name)) if !module.is_empty() && !name.is_empty() => {
                Ok(Self::new(module, name))
            }
            _ => Err(NoClass(dotted.to_owned())),
        }
    }
}

/// A reference to an object of a database.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The object.
    pub oid: Oid,
    /// Its class. Not said of objects whose class has `__getnewargs__`, nor by weak references.
    pub class: Option<Class>,
    /// Whether it does not keep the object (`persistent.wref.WeakRef`).
    pub weak: bool,
    /// The name of the database that the object is in; `None` for that of the record.
    pub database: Option<ByteString>,
    /// The oid's bytes in the record that it was read from: two references that had them in
    /// common have that again when they are written.
    pub(super) bytes: Option<Bytes>,
}

impl Reference {
    /// A reference to an object of this database. The class belongs there, unless it has
    /// `__getnewargs__`.
    pub fn new(oid: Oid, class: Option<Class>) -> Self {
        Self {
            oid,
            class,
            weak: false,
            database: None,
            bytes: None,
        }
    }

    /// A weak reference to an object of this database.
    pub fn weak(oid: Oid) -> Self {
        Self {
            weak: true,
            ..Self::new(oid, None)
        }
    }

    /// The same, to an object in the database of this name.
    pub fn in_database(self, name: impl Into<ByteString>) -> Self {
        Self {
            database: Some(name.into()),
            ..self
        }
    }
}

/// The same if they lead to the same object in the same way; the class is a note.
impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        self.oid == other.oid && self.weak == other.weak && self.database == other.database
    }
}

impl Eq for Reference {}
