//! What can go wrong with a storage, after ZODB's `POSException` and ZEO's `Exceptions`.

use std::sync::Arc;
use std::time::Duration;

use zeo_proto::marshal::EncodeError;
use zeo_proto::{Exception, Oid, Tid, Value};

use crate::address::Address;
use crate::cache::CacheError;
use crate::connection_error::{ConnectionError, Raised};

/// A failed call of a [`ClientStorage`](crate::ClientStorage).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such object, or it has no such revision (`POSKeyError`).
    #[error("there is no object {oid}{}", revision(.serial))]
    NoObject {
        /// The object.
        oid: Oid,
        /// The revision that was asked for; none if that was the current one.
        serial: Option<Tid>,
    },
    /// Another transaction has changed an object that this one changes, and the changes can't be
    /// merged (`ConflictError`). The whole transaction may be tried again.
    #[error("{0}")]
    Conflict(Box<Conflict>),
    /// Another transaction has changed an object that this one has read (`ReadConflictError`). The
    /// whole transaction may be tried again.
    #[error("{0}")]
    ReadConflict(Box<Conflict>),
    /// The server, the storage or this client takes no changes (`ReadOnlyError`).
    #[error("the storage is read-only")]
    ReadOnly,
    /// The call does not fit to the state of the transaction (`StorageTransactionError`).
    #[error("{0}")]
    Transaction(String),
    /// The transaction can't be undone (`UndoError`, `MultipleUndoErrors`).
    #[error("{reason}")]
    Undo {
        /// Why, for people.
        reason: String,
        /// The objects that stand in the way, with the reasons; maybe none.
        failures: Vec<(Oid, String)>,
    },
    /// There is no connection, or it was lost (`ClientDisconnected`). What was asked for may be
    /// tried again; a transaction from its beginning.
    #[error("{what}: {why}")]
    Disconnected {
        /// What was asked for: a method.
        what: &'static str,
        /// In which phase.
        why: Disconnected,
    },
    /// The connection was lost while a transaction was being finished, so whether it is committed
    /// is not known. [`ClientStorage::outcome`](crate::ClientStorage::outcome) finds out.
    #[error("the connection was lost during tpc_finish: whether it has committed is not known")]
    OutcomeUnknown(Arc<super::Unfinished>),
    /// The storage was closed by this program.
    #[error("the storage is closed")]
    Closed,
    /// What this storage does not do.
    #[error("{0}")]
    Unsupported(String),
    /// A text that is no address of a server.
    #[error("{0}")]
    Address(String),
    /// The reply to a call can't be understood. The connection goes on.
    #[error("{address}: the reply to {method} can't be understood: {why}")]
    Reply {
        /// The server.
        address: Address,
        /// The method.
        method: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A call that can't be sent.
    #[error("the call of {method} can't be sent: {why}")]
    Encode {
        /// The method.
        method: &'static str,
        /// What the encoding can't hold.
        why: Arc<EncodeError>,
    },
    /// An exception of the server that is none of the above (`ServerException`).
    #[error("{address}: {method}: {exception}")]
    Server {
        /// The server.
        address: Address,
        /// The method.
        method: &'static str,
        /// All that the server tells.
        exception: Box<Exception>,
    },
    /// The system refuses something, as a thread or a descriptor.
    #[error("{what}: {why}")]
    Io {
        /// What for.
        what: &'static str,
        /// Why not.
        why: Arc<std::io::Error>,
    },
    /// The cache's file can't be used.
    #[error(transparent)]
    Cache(Arc<CacheError>),
    /// A file of a blob can't be used.
    #[error(transparent)]
    Blob(Arc<zeo_storage::Error>),
}

impl From<CacheError> for Error {
    fn from(why: CacheError) -> Self {
        Self::Cache(Arc::new(why))
    }
}

/// An error of the blob directory.
impl From<zeo_storage::Error> for Error {
    fn from(why: zeo_storage::Error) -> Self {
        match why {
            zeo_storage::Error::NoBlob { oid, serial, .. } => Self::NoObject {
                oid,
                serial: Some(serial),
            },
            why => Self::Blob(Arc::new(why)),
        }
    }
}

/// Why there is no connection for a call.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnected {
    /// Nobody has answered so far, and the storage was opened without waiting.
    #[error("never connected{}", listed(.attempts))]
    NeverConnected {
        /// What came of the last attempt at each address.
        attempts: Vec<Attempt>,
    },
    /// There was no connection within the time to wait for one.
    #[error("timed out waiting {} s for a connection{}", .waited.as_secs_f64(), listed(.attempts))]
    TimedOut {
        /// How long was waited.
        waited: Duration,
        /// What came of the last attempt at each address.
        attempts: Vec<Attempt>,
    },
    /// There is no connection, and calls of this kind don't wait for one.
    #[error("not connected{}", listed(.attempts))]
    NotConnected {
        /// What came of the last attempt at each address.
        attempts: Vec<Attempt>,
    },
    /// The connection was lost while the call was under way. Whether the server has done what it
    /// asked for is not known; a transaction that was not being finished is aborted.
    #[error("{address}: connection lost: {why}")]
    Lost {
        /// The server.
        address: Address,
        /// How it was lost.
        why: String,
    },
    /// The transaction was begun on a connection that has been lost since.
    #[error("on a disconnected transaction")]
    BegunBefore,
    /// The connection was lost while the transaction was being finished, and it was found out since
    /// that it is not committed.
    #[error("the connection was lost, and the transaction is not committed")]
    NotCommitted,
}

/// An attempt to connect that has failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{why}", named(.address, .why))]
pub struct Attempt {
    /// The server.
    pub address: Address,
    /// Why it is not used.
    pub why: Refusal,
}

/// The server in front of the reason, where that does not name it.
fn named(address: &Address, why: &Refusal) -> String {
    match why {
        Refusal::Connection(_) => String::new(),
        _ => format!("{address}: "),
    }
}

/// Why a server is not used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It can't be reached, does not keep to the protocol, or does not know the storage.
    #[error(transparent)]
    Connection(Arc<ConnectionError>),
    /// It takes no changes, and this client wants to make some.
    #[error("the server is read-only")]
    ReadOnly,
    /// It has not got all that this client has seen already, as a replica that is late: the cache
    /// must not be used with it, and is kept.
    #[error(
        "the server's last transaction is {server}, behind that of the cache, {cache}: a late \
         replica will come up to it; if the database was set back, start again without the cache file"
    )]
    Behind {
        /// The last transaction of the server.
        server: Tid,
        /// That of the cache.
        cache: Tid,
    },
}

/// Which objects are in conflict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", about(self))]
pub struct Conflict {
    /// What the server says.
    pub message: String,
    /// The object, if the server tells it.
    pub oid: Option<Oid>,
    /// The dotted name of its class, if the server tells it.
    pub class: Option<String>,
    /// The committed serial, and the one that the transaction has read.
    pub serials: Option<(Tid, Tid)>,
    /// Why it was not resolved here, if that was tried.
    pub reason: Option<String>,
}

impl Error {
    /// Whether the same may succeed when it is tried again: of a conflict, or of a connection that
    /// was lost in a transaction, the whole transaction. (Python's `TransientError`.)
    ///
    /// Not with [`Error::OutcomeUnknown`]: it may be committed already.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Conflict(_) | Self::ReadConflict(_) | Self::Disconnected { .. }
        )
    }

    /// The server that answers but is behind the cache, if that is why there is no connection: its
    /// address, its last transaction, and that of the cache.
    pub fn behind(&self) -> Option<(&Address, Tid, Tid)> {
        let Self::Disconnected { why, .. } = self else {
            return None;
        };
        let (Disconnected::NeverConnected { attempts }
        | Disconnected::TimedOut { attempts, .. }
        | Disconnected::NotConnected { attempts }) = why
        else {
            return None;
        };
        attempts.iter().find_map(|attempt| match attempt.why {
            Refusal::Behind { server, cache } => Some((&attempt.address, server, cache)),
            _ => None,
        })
    }

    /// The same, of a call of this method.
    pub(super) fn about(&self, method: &'static str) -> Self {
        match self {
            Self::Disconnected { why, .. } => Self::Disconnected {
                what: method,
                why: why.clone(),
            },
            other => other.clone(),
        }
    }

    /// What an exception of the server means.
    pub(super) fn raised(address: &Address, method: &'static str, exception: Exception) -> Self {
        match Raised::of(&exception) {
            Raised::NoObject => match exception.args() {
                [oid] if oid.as_oid().is_some() => no_object(oid.as_oid(), None),
                [oid, serial] => no_object(oid.as_oid(), serial.as_tid()),
                [_, oid, serial] => no_object(oid.as_oid(), serial.as_tid()),
                _ => None,
            }
            .unwrap_or_else(|| Self::server(address, method, exception)),
            Raised::Conflict => Self::Conflict(Box::new(Conflict::of(&exception))),
            Raised::ReadConflict => Self::ReadConflict(Box::new(Conflict::of(&exception))),
            Raised::ReadOnly => Self::ReadOnly,
            Raised::Transaction => Self::Transaction(said(&exception)),
            Raised::Undo => Self::Undo {
                reason: match exception.attribute("_reason") {
                    Some(Value::Str(reason)) => reason.to_string(),
                    _ => said(&exception),
                },
                failures: exception.failed_undos().to_vec(),
            },
            Raised::Other if exception.class() == "ZODB.POSException.Unsupported" => {
                Self::Unsupported(said(&exception))
            }
            Raised::Other => Self::server(address, method, exception),
        }
    }

    fn server(address: &Address, method: &'static str, exception: Exception) -> Self {
        Self::Server {
            address: address.clone(),
            method,
            exception: Box::new(exception),
        }
    }
}

impl Conflict {
    fn of(exception: &Exception) -> Self {
        let serials = exception.attribute("serials").and_then(Value::as_items);
        Self {
            message: match exception.attribute("message") {
                Some(Value::Str(message)) => message.to_string(),
                _ => said(exception),
            },
            oid: exception.attribute("oid").and_then(Value::as_oid),
            class: { exception.attribute("class_name") }
                .and_then(Value::as_str)
                .map(str::to_owned),
            serials: match serials {
                Some([committed, read]) => committed.as_tid().zip(read.as_tid()),
                _ => None,
            },
            reason: None,
        }
    }
}

fn no_object(oid: Option<Oid>, serial: Option<Tid>) -> Option<Error> {
    oid.map(|oid| Error::NoObject { oid, serial })
}

/// The text that an exception was raised with; without one, all that it tells.
fn said(exception: &Exception) -> String {
    match exception.args() {
        [Value::Str(text)] => text.to_string(),
        _ => exception.to_string(),
    }
}

fn revision(serial: &Option<Tid>) -> String {
    serial.map_or(String::new(), |serial| {
        format!(", or it has no revision {serial}")
    })
}

fn about(conflict: &Conflict) -> String {
    let mut text = String::new();
    if let Some(oid) = conflict.oid {
        text += &format!(" (object {oid}");
        if let Some(class) = &conflict.class {
            text += &format!(" of class {class}");
        }
        if let Some((committed, read)) = conflict.serials {
            text += &format!(", committed {committed}, read {read}");
        }
        text.push(')');
    }
    if let Some(reason) = &conflict.reason {
        text += &format!(": {reason}");
    }
    text
}

fn listed(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "; no server has answered yet (one that expects TLS does not, without it)"
            .to_owned();
    }
    let list: Vec<_> = attempts
        .iter()
        .map(|attempt| format!("; {attempt}"))
        .collect();
    list.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection_error::DialError;

    #[test]
    fn an_attempt_names_its_server_once() {
        let address = Address::Tcp {
            host: "there".to_owned(),
            port: 1,
        };
        let dial = ConnectionError::Dial {
            address: address.clone(),
            why: DialError::NoAddress,
        };
        for why in [Refusal::Connection(Arc::new(dial)), Refusal::ReadOnly] {
            let address = address.clone();
            let told = Attempt { address, why }.to_string();
            assert_eq!(told.matches("there:1").count(), 1, "{told}");
        }
    }
}
