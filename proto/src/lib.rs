//! The ZEO protocol, version 5, as bytes: ids, the value tree that both
//! encodings share, pickle and msgpack, messages and framing. Servers and
//! clients use the same types: [`Call`](message::Call),
//! [`Notification`](message::Notification) and what calls return
//! ([`message`]).
//!
//! This crate knows no storage and opens no file.
//!
//! ```
//! use zeo_proto::framing::FrameBuffer;
//! use zeo_proto::marshal::{Encoding, decode_message};
//! use zeo_proto::message::Call;
//! use zeo_proto::{Oid, Tid, Value};
//!
//! // A client asks for the root object as it is now, ...
//! let call = Call::LoadBefore {
//!     oid: Oid::ZERO,
//!     before: Tid::MAX,
//! };
//! let mut wire = Vec::new();
//! call.encode(&mut wire, Encoding::Msgpack, &1_u64)?;
//!
//! // ... and a server takes the frame from the stream, and reads the call.
//! let mut received = FrameBuffer::new(1 << 20);
//! received.fill(|space| {
//!     space[..wire.len()].copy_from_slice(&wire);
//!     Ok(wire.len())
//! })?;
//! let frame = received.frame()?.ok_or("cut short")?;
//! let message = decode_message(frame, Encoding::Msgpack)?;
//! assert_eq!(message.id, Value::Int(1));
//! let args = message.args.into_items().ok_or("no arguments")?;
//! assert_eq!(Call::parse(&message.name, args)?, call);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod exception;
pub mod framing;
pub mod handshake;
mod ids;
pub mod marshal;
pub mod message;
pub mod msgpack;
pub mod pickle;
pub mod repr;
pub mod stream;
pub mod value;

pub use exception::Exception;
pub use ids::{Oid, Tid};
pub use value::Value;
