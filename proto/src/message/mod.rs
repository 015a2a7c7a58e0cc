//! The messages of protocol 5, typed: what a client calls, what a server
//! replies, and of what it notifies. Each is encoded and parsed here.
//!
//! The source is ZEO's `StorageServer.ZEOStorage` and `ClientStorage`: the
//! arguments by position, the optional ones last. What a client gets wrong
//! here, Python's server answers with `TypeError`, and so do we.

mod args;
mod around;
mod call;
mod encode;
mod entry;
mod incoming;
mod notification;
mod parse;
mod reply;
mod shape;
mod steps;

pub use self::around::{Around, encode_reply_around};
pub use self::call::{Call, CallError, Effect, TpcBegin, WrongStep};
pub use self::entry::{HistoryEntry, Summary, UndoEntry};
pub use self::incoming::{Incoming, IncomingError, Reply, ReplyError, message_id};
pub use self::notification::{Notification, Sizes};
pub use self::reply::{
    ClientConflict, CurrentRecord, Invalidations, IteratedRecord, IteratedTransaction, Revision,
    StorageInfo, Voted, encode_error, encode_keep_alive, encode_reply,
};
pub use self::shape::ShapeError;
