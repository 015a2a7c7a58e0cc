//! Pickles without Python: a restricted decoder that runs nothing, and an
//! encoder that writes what Python would.
//!
//! A pickle is a program for a small stack machine. [`Unpickler`] runs it,
//! but where Python would import and call, it only notes by what name and
//! with what; and it bounds every resource that the input could claim
//! ([`Policy`]). The opcodes are those of Python's `pickletools`, protocols
//! 0 to 5; zodbpickle, which ZEO and ZODB use, has the bytes opcodes in
//! protocol 3.

mod arena;
mod decode;
mod encode;
mod error;
mod graph;
mod machine;
mod memo;
mod opcodes;
mod operands;
mod policy;
mod reader;
#[cfg(test)]
mod tests;
mod text;
pub mod write;

pub use decode::{Unpickler, decode, decode_prefix};
pub use encode::{Memo, encode, encode_all};
pub(crate) use encode::{Pickler, encode_parts};
pub use error::{EncodeError, Error, Problem};
pub use graph::{Call, Node, NodeId};
pub use policy::{Globals, Policy, Strings};
