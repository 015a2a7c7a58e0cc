//! The ZEO protocol, version 5, as bytes: ids, the value tree that both
//! encodings share, pickle and msgpack, messages and framing.
//!
//! This crate knows no storage and opens no file.

pub mod exception;
pub mod framing;
pub mod handshake;
pub mod ids;
pub mod marshal;
pub mod message;
pub mod msgpack;
pub mod pickle;
pub mod stream;
pub mod value;

pub use ids::{Oid, Tid};
pub use value::Value;
