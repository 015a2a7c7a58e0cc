//! Why a message from a server can't be understood.

use crate::marshal::Mismatch;

/// A message of another shape than its method has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{method}(): {what}")]
pub struct ShapeError {
    /// The method that it is about.
    pub method: String,
    /// What is wrong, and where.
    pub what: String,
}

impl ShapeError {
    pub(super) fn new(method: &str, wrong: Mismatch) -> Self {
        Self {
            method: method.to_owned(),
            what: wrong.to_string(),
        }
    }

    /// A method that clients don't have.
    pub(super) fn unknown(method: &str) -> Self {
        Self {
            method: method.chars().take(80).collect(),
            what: "no such notification".to_owned(),
        }
    }
}
