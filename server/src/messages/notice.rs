//! What the server tells clients without being asked: invalidations, and new
//! sizes. Encoded once, however many clients are told.

use std::sync::OnceLock;

use zeo_proto::marshal::Encoding;
use zeo_proto::message::{Notification, Sizes};
use zeo_proto::{Oid, Tid};

/// What a notification takes in memory besides its oids, in bytes.
const BASE_WEIGHT: usize = 256;

/// A notification for many clients, encoded once for each encoding.
pub struct Notice {
    notification: Notification<'static>,
    frames: [OnceLock<Vec<u8>>; 2],
}

impl Notice {
    /// `invalidateTransaction(tid, oids)`.
    pub fn invalidate(tid: Tid, oids: &[Oid]) -> Self {
        let oids = oids.to_vec().into();
        Self::new(Notification::InvalidateTransaction { tid, oids })
    }

    /// `info({length, size})`.
    pub fn info(length: u64, size: u64) -> Self {
        Self::new(Notification::Info(Sizes { length, size }))
    }

    fn new(notification: Notification<'static>) -> Self {
        Self {
            notification,
            frames: [OnceLock::new(), OnceLock::new()],
        }
    }

    /// About how many bytes of memory it takes: an oid takes 8 here and 11 in
    /// a frame.
    pub fn weight(&self) -> usize {
        match &self.notification {
            Notification::InvalidateTransaction { oids, .. } => {
                BASE_WEIGHT + oids.len().saturating_mul(19)
            }
            _ => BASE_WEIGHT,
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
            // Ids and numbers can be written in either encoding.
            let _ = self.notification.encode(&mut frame, encoding);
            frame
        })
    }
}
