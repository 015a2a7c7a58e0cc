//! What can go wrong between a client and its server.

use std::io;
use std::time::Duration;

use zeo_proto::Exception;
use zeo_proto::marshal::EncodeError;
use zeo_proto::message::{IncomingError, ReplyError};

use zeo_proto::stream::HandshakeError;

use crate::address::Address;
use crate::reason::reason;
use crate::tls::TlsError;

/// Why there is no connection, or no result. The text names the server, and where it helps, what
/// to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// No connection can be made.
    #[error("can't connect to {address}: {why}")]
    Dial {
        /// The server.
        address: Address,
        /// Why not.
        why: DialError,
    },
    /// What was waited for did not come in time.
    #[error("{address}: no {what} within {}{hint}", seconds(.limit))]
    TimedOut {
        /// The server.
        address: Address,
        /// What was waited for: the greeting, or the reply to a method.
        what: String,
        /// How long.
        limit: Duration,
        /// What it may be, and what to do; or nothing.
        hint: &'static str,
    },
    /// The connection ended. Of a call that was under way it is not known whether the server has
    /// done what it asked for.
    #[error("{address}: the connection was lost while waiting for {what}{}{hint}", cause(.why))]
    Disconnected {
        /// The server.
        address: Address,
        /// What was waited for.
        what: String,
        /// The system's error; none if the server has closed the connection.
        why: Option<io::Error>,
        /// What it may be; or nothing.
        hint: &'static str,
    },
    /// The server is of a ZEO before version 5, whose protocol is not spoken here.
    #[error("{address}: a server of protocol {version:?}, older than ZEO 5; it is not supported")]
    OldServer {
        /// The server.
        address: Address,
        /// The version that it has announced.
        version: String,
    },
    /// There is no TLS: the server's certificate is not accepted, or the server does not speak TLS,
    /// or it does not accept the client.
    #[error("{address}: no TLS with the server: {why}")]
    Tls {
        /// The server.
        address: Address,
        /// Why not.
        why: HandshakeError,
    },
    /// A setting of TLS is of no use here.
    #[error(transparent)]
    TlsSettings(#[from] TlsError),
    /// What answers is no ZEO server, or one that speaks TLS.
    #[error("{address}: {why}")]
    NoServer {
        /// The address.
        address: Address,
        /// What it sent, and what it may be.
        why: String,
    },
    /// A message that can't be understood, or that no server sends.
    #[error("{address}: a message that can't be understood, while waiting for {what}: {why}")]
    Message {
        /// The server.
        address: Address,
        /// What was waited for.
        what: String,
        /// What is wrong.
        why: MessageError,
    },
    /// The reply to a call that is not what the method returns.
    #[error("{address}: the reply to {method} can't be understood: {why}")]
    Reply {
        /// The server.
        address: Address,
        /// The method.
        method: &'static str,
        /// What is wrong.
        why: ReplyError,
    },
    /// A call that can't be sent.
    #[error("the call of {method} can't be sent: {why}")]
    Encode {
        /// The method.
        method: &'static str,
        /// What the encoding can't hold.
        why: EncodeError,
    },
    /// The server has raised an exception.
    #[error("{address}: {method}: {exception}")]
    Raised {
        /// The server.
        address: Address,
        /// The method.
        method: &'static str,
        /// What kind it is.
        kind: Raised,
        /// All that the server tells.
        exception: Box<Exception>,
    },
}

impl ConnectionError {
    /// What kind of exception the server has raised; none if it is no exception of the server.
    pub fn raised(&self) -> Option<Raised> {
        match self {
            Self::Raised { kind, .. } => Some(*kind),
            _ => None,
        }
    }
}

/// Why a socket can't be connected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host's name can't be looked up.
    #[error("{}", look_up_reason(.0))]
    LookUp(io::Error),
    /// The host has no address.
    #[error("the host has no address")]
    NoAddress,
    /// The last of the host's addresses did not take the connection.
    #[error("{}", reason(.0))]
    Io(#[from] io::Error),
}

/// Why a message is not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Its length is that of no message.
    #[error(transparent)]
    Frame(#[from] zeo_proto::framing::FrameError),
    /// It can't be decoded.
    #[error(transparent)]
    Incoming(#[from] IncomingError),
    /// It is the reply to a call that was not made.
    #[error("a reply to a call that was not made, with an id {0}")]
    UnknownId(String),
}

/// What kind of exception a server has raised, after the classes of `ZODB.POSException`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Raised {
    /// `POSKeyError`: no such object or revision.
    NoObject,
    /// `ConflictError`, `BTreesConflictError`: another transaction has changed an object.
    Conflict,
    /// `ReadConflictError`: an object that was read has changed.
    ReadConflict,
    /// `ReadOnlyError`: the server or the storage takes no changes.
    ReadOnly,
    /// `StorageTransactionError`: not in this state of the transaction.
    Transaction,
    /// `UndoError`, `MultipleUndoErrors`: the transaction can't be undone.
    Undo,
    /// Any other class: see [`Exception::class`].
    Other,
}

impl Raised {
    /// The kind of an exception.
    pub fn of(exception: &Exception) -> Self {
        let class = exception.class();
        match class.strip_prefix("ZODB.POSException.").unwrap_or(class) {
            "POSKeyError" => Self::NoObject,
            "ReadConflictError" => Self::ReadConflict,
            "ConflictError" | "BTreesConflictError" => Self::Conflict,
            "ReadOnlyError" => Self::ReadOnly,
            "StorageTransactionError" | "TransactionTooLargeError" => Self::Transaction,
            "UndoError" | "MultipleUndoErrors" => Self::Undo,
            _ => Self::Other,
        }
    }
}

/// A time limit, for people.
fn seconds(limit: &Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

fn look_up_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let reason = text.strip_prefix("failed to lookup address information: ");
    reason.unwrap_or(&text).to_owned()
}

fn cause(why: &Option<io::Error>) -> String {
    match why {
        Some(why) => format!(": {}", reason(why)),
        None => String::new(),
    }
}
