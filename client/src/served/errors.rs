//! Errors of the upstream server, as those of a storage.

use zeo_proto::Exception;
use zeo_storage::exceptions::error_from;
use zeo_storage::{Error, error};

use crate::client_storage::{self, Conflict};

/// The error of a storage that says the same. What is temporary stays so for clients.
pub(super) fn storage_error(why: client_storage::Error) -> Error {
    use client_storage::Error as Upstream;
    match why {
        Upstream::NoObject { oid, .. } => Error::NoObject(oid),
        Upstream::Conflict(conflict) => conflict_error(*conflict),
        Upstream::ReadConflict(conflict) => read_conflict_error(&conflict),
        Upstream::ReadOnly => Error::ReadOnly,
        Upstream::Transaction(why) => Error::Transaction(why),
        Upstream::Undo { reason, failures } => Error::Undo {
            reason,
            oid: None,
            failures,
            conflicts: Vec::new(),
        },
        Upstream::Unsupported(why) => Error::Unsupported(why),
        Upstream::Server { exception, .. } => error_from(*exception),
        Upstream::OutcomeUnknown(_) => Error::Unsettled(why.to_string()),
        Upstream::Disconnected { .. } | Upstream::Closed => {
            Error::Unavailable(format!("the upstream server: {why}"))
        }
        Upstream::Encode { .. } => Error::Value(why.to_string()),
        why => broken(why.to_string()),
    }
}

/// What is wrong with this server, and not with what it was asked.
pub(super) fn broken(what: String) -> Error {
    let class = "ZODB.POSException.StorageSystemError";
    Error::Raised(Box::new(Exception::message(class, what)))
}

fn conflict_error(conflict: Conflict) -> Error {
    let (Some(oid), Some((committed, read))) = (conflict.oid, conflict.serials) else {
        return Error::Unavailable(conflict.message);
    };
    Error::Conflict(Box::new(error::Conflict {
        class: conflict.class,
        reason: Some("the upstream server has not resolved it".to_owned()),
        ..error::Conflict::untried(oid, (committed, read), Vec::new())
    }))
}

/// One of no object is what a server raises that can't reach its own upstream server.
fn read_conflict_error(conflict: &Conflict) -> Error {
    match (conflict.oid, conflict.serials) {
        (Some(oid), Some((committed, read))) => Error::ReadConflict {
            oid,
            committed,
            read,
        },
        _ => Error::Unavailable(conflict.message.clone()),
    }
}
