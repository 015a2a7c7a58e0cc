//! What values of Python's own types mean, without Python: their kinds, and
//! how they compare. `BTrees` and conflict resolution are built on it; it
//! knows nothing of them.

mod classes;
mod compare;
mod error;
mod lookup;
mod moments;
pub(crate) mod numbers;
mod operand;
pub(crate) mod reference;

pub(crate) use classes::Classes;
pub(crate) use compare::{Answer, Comparer, all};
pub(crate) use error::Error;
pub(crate) use operand::{Operand, Sequence};
