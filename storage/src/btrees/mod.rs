//! The classes of BTrees and their states, without Python: what records of
//! them hold, and how their keys are ordered. How two changes of one are
//! merged is the matter of [`conflict`](crate::conflict).

pub(crate) mod bucket;
mod class;
mod error;

pub use class::{Class, Kind, Shape, Tree};
pub(crate) use error::Error;

use std::cmp::Ordering;

use zeo_proto::Value;

use crate::python::{self, Comparer};

/// Two keys that Python can't compare, or that only the application's classes can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoOrder(String);

/// The order of two keys, as BTrees in C find it: `None` comes first, text is ordered by code
/// point, numbers of all types together.
///
/// # Errors
/// [`NoOrder`] where Python raises, and for instances of classes that are not Python's own.
pub fn order(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, NoOrder> {
    // Both are in memory already, and what a decoder let pass.
    let comparer = Comparer::new(usize::MAX, &Classes);
    order_by(&comparer, a, b).map_err(|error| NoOrder(error.to_string()))
}

/// What has no order, as NaN, falls out as it does in C.
pub(crate) fn order_by(
    comparer: &Comparer,
    a: &Value<'_>,
    b: &Value<'_>,
) -> Result<Ordering, python::Error> {
    Ok(match (a, b) {
        (Value::None, Value::None) => Ordering::Equal,
        (Value::None, _) => Ordering::Less,
        (_, Value::None) => Ordering::Greater,
        _ if comparer.less(a, b)? => Ordering::Less,
        _ if comparer.equal(a, b)? => Ordering::Equal,
        _ => Ordering::Greater,
    })
}

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
