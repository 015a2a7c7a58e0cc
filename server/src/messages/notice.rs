//! What the server tells clients without being asked: invalidations, and new
//! sizes. Encoded once, however many clients are told.

use std::sync::OnceLock;

use zeo_proto::marshal::{Encoding, Flag, encode_message};
use zeo_proto::{Oid, Tid, Value};

/// A notification for many clients, encoded once for each encoding.
pub struct Notice {
    content: Content,
    frames: [OnceLock<Vec<u8>>; 2],
}

enum Content {
    Invalidate(Tid, Vec<Oid>),
    Info { length: u64, size: u64 },
}

impl Notice {
    /// `invalidateTransaction(tid, oids)`.
    pub fn invalidate(tid: Tid, oids: &[Oid]) -> Self {
        Self::new(Content::Invalidate(tid, oids.to_vec()))
    }

    /// `info({length, size})`.
    pub fn info(length: u64, size: u64) -> Self {
        Self::new(Content::Info { length, size })
    }

    fn new(content: Content) -> Self {
        Self {
            content,
            frames: [OnceLock::new(), OnceLock::new()],
        }
    }

    /// About how many bytes of memory it takes: an oid takes 8 here and 11 in
    /// a frame.
    pub fn weight(&self) -> usize {
        match &self.content {
            Content::Invalidate(_, oids) => 256 + oids.len().saturating_mul(19),
            Content::Info { .. } => 256,
        }
    }

    fn call(&self) -> (&'static str, Value<'static>) {
        match &self.content {
            Content::Invalidate(tid, oids) => {
                let oids = oids.iter().map(|&oid| oid.into()).collect();
                let args = Value::Tuple(vec![Value::from(*tid), Value::List(oids)]);
                ("invalidateTransaction", args)
            }
            &Content::Info { length, size } => {
                ("info", Value::Tuple(vec![size_info(length, size)]))
            }
        }
    }

    /// The frame of the notification.
    pub fn frame(&self, encoding: Encoding) -> &[u8] {
        let slot = match encoding {
            Encoding::Pickle => &self.frames[0],
            Encoding::Msgpack => &self.frames[1],
        };
        slot.get_or_init(|| {
            let mut frame = Vec::new();
            let id = Value::Int(0);
            let (method, args) = self.call();
            // Ids and numbers can be written in either encoding.
            let _ = encode_message(&mut frame, encoding, &id, Flag::Async, method, &args);
            frame
        })
    }
}

/// The dict that `info` and part of `get_info` consist of.
pub fn size_info(length: u64, size: u64) -> Value<'static> {
    Value::Dict(vec![
        (Value::str("length"), Value::Int(i128::from(length))),
        (Value::str("size"), Value::Int(i128::from(size))),
    ])
}
