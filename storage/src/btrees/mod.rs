//! The classes of BTrees and their states, without Python: what records of
//! them hold. How two changes of one are merged is `conflict`'s matter.

pub(crate) mod bucket;
mod class;
mod error;

pub(crate) use class::{Class, Kind, Tree};
pub(crate) use error::Error;

use crate::python;

/// The classes of BTrees, for whoever compares values.
pub(crate) struct Classes;

impl python::Classes for Classes {
    fn knows(&self, module: &str, name: &str) -> bool {
        Class::named(module, name).is_some()
    }

    fn are_same(&self, a: (&str, &str), b: (&str, &str)) -> bool {
        let tree = |(module, name)| match Class::named(module, name) {
            Some(Class::Tree(tree)) => Some(tree),
            _ => None,
        };
        matches!((tree(a), tree(b)), (Some(a), Some(b)) if a == b)
    }
}
