//! Errors of storages as the exceptions of Python's storages, and back: what a
//! server raises for a client, and what a client makes of it.

use zeo_proto::{Exception, Oid, Tid, Value};

use crate::error::{Conflict, Error};

const FILE_STORAGE_ERROR: &str = "ZODB.FileStorage.FileStorage.FileStorageError";
const QUOTA_ERROR: &str = "ZODB.FileStorage.FileStorage.FileStorageQuotaError";
const CORRUPTED_ERROR: &str = "ZODB.FileStorage.FileStorage.CorruptedFileStorageError";
const UNSUPPORTED: &str = "ZODB.POSException.Unsupported";
const DISCONNECTED: &str = "ZEO.Exceptions.ClientDisconnected";
const SYSTEM_ERROR: &str = "ZODB.POSException.StorageSystemError";

/// The exception for a failed storage operation.
pub fn exception_from(error: &Error) -> Exception {
    match error {
        Error::NoObject(oid) | Error::Dangling { oid, .. } => Exception::pos_key_error(*oid),
        Error::NoBlob { oid, serial, .. } => Exception::no_blob(error.to_string(), *oid, *serial),
        Error::Conflict(conflict) => conflict_exception(conflict),
        Error::ReadConflict {
            oid,
            committed,
            read,
        } => Exception::read_conflict(*oid, *committed, *read),
        Error::ReadOnly => Exception::read_only(),
        Error::Undo {
            reason,
            oid,
            failures,
            ..
        } if failures.is_empty() => Exception::undo(reason.clone(), *oid),
        Error::Undo { failures, .. } => Exception::undo_errors(failures.clone()),
        Error::Transaction(message) => Exception::transaction(message.clone()),
        Error::Value(message) => Exception::value_error(message.clone()),
        Error::FileStorage(message) => Exception::message(FILE_STORAGE_ERROR, message.clone()),
        Error::Unsupported(message) => Exception::message(UNSUPPORTED, message.clone()),
        Error::Raised(exception) => (**exception).clone(),
        Error::Quota { .. } => Exception::message(QUOTA_ERROR, error.to_string()),
        Error::Corrupt { .. } => Exception::message(CORRUPTED_ERROR, error.to_string()),
        Error::Compressed { .. } => Exception::message("zlib.error", error.to_string()),
        Error::Unavailable(message) => Exception::unavailable(message.clone()),
        Error::Io { .. }
        | Error::Latched(_)
        | Error::Unsettled(_)
        | Error::Database(_)
        | Error::Cancelled
        | Error::InUse { .. }
        | Error::Replaced { .. } => Exception::message(SYSTEM_ERROR, error.to_string()),
    }
}

/// A conflict, with the class of the record that could not be stored, where
/// that can be read.
fn conflict_exception(conflict: &Conflict) -> Exception {
    let class = conflict.class_name();
    Exception::conflict(conflict.oid, conflict.committed, conflict.read, class)
}

/// The error that an exception tells of, which a server has raised: those
/// that whoever works with a storage has to tell apart; all others are handed
/// on as they are ([`Error::Raised`]).
/// A conflict has no data here.
pub fn error_from(exception: Exception) -> Error {
    let error = match exception.class() {
        "ZODB.POSException.POSKeyError" => missing(&exception),
        "ZODB.POSException.ConflictError" => conflict(&exception),
        "ZODB.POSException.ReadConflictError" => {
            read_conflict(&exception).or_else(|| unavailable(&exception))
        }
        "ZODB.POSException.ReadOnlyError" => Some(Error::ReadOnly),
        "ZODB.POSException.UndoError" => undo_error(&exception),
        "ZODB.POSException.MultipleUndoErrors" => undo_errors(&exception),
        "ZODB.POSException.StorageTransactionError" => message(&exception).map(Error::Transaction),
        "builtins.ValueError" => message(&exception).map(Error::Value),
        FILE_STORAGE_ERROR => message(&exception).map(Error::FileStorage),
        DISCONNECTED => message(&exception).map(Error::Unavailable),
        UNSUPPORTED => message(&exception).map(Error::Unsupported),
        _ => None,
    };
    error.unwrap_or_else(|| Error::Raised(Box::new(exception)))
}

/// The only argument, if it is text.
fn message(exception: &Exception) -> Option<String> {
    match exception.args() {
        [Value::Str(message)] => Some(message.clone().into_owned()),
        _ => None,
    }
}

fn missing(exception: &Exception) -> Option<Error> {
    match exception.args() {
        [oid] => oid.as_oid().map(Error::NoObject),
        [Value::Str(text), oid, serial] => Some(Error::NoBlob {
            oid: oid.as_oid()?,
            serial: serial.as_tid()?,
            path: text.strip_prefix("No blob file at ")?.into(),
        }),
        _ => None,
    }
}

fn conflict(exception: &Exception) -> Option<Error> {
    let (oid, committed, read) = revisions(exception)?;
    let class = exception.attribute("class_name").and_then(Value::as_str);
    Some(Error::Conflict(Box::new(Conflict {
        class: class.map(str::to_owned),
        ..Conflict::untried(oid, (committed, read), Vec::new())
    })))
}

fn read_conflict(exception: &Exception) -> Option<Error> {
    let (oid, committed, read) = revisions(exception)?;
    Some(Error::ReadConflict {
        oid,
        committed,
        read,
    })
}

/// A conflict of no object.
fn unavailable(exception: &Exception) -> Option<Error> {
    let message = exception.attribute("message")?.as_str()?;
    let no_object = matches!(exception.attribute("oid"), Some(Value::None));
    no_object.then(|| Error::Unavailable(message.to_owned()))
}

/// The object in conflict, and its serials.
fn revisions(exception: &Exception) -> Option<(Oid, Tid, Tid)> {
    let oid = exception.attribute("oid")?.as_oid()?;
    let [committed, read] = exception.attribute("serials")?.as_items()? else {
        return None;
    };
    Some((oid, committed.as_tid()?, read.as_tid()?))
}

fn undo_error(exception: &Exception) -> Option<Error> {
    let reason = exception.attribute("_reason")?.as_str()?.to_owned();
    let oid = exception.attribute("_oid").and_then(Value::as_oid);
    Some(Error::Undo {
        reason,
        oid,
        failures: Vec::new(),
        conflicts: Vec::new(),
    })
}

fn undo_errors(exception: &Exception) -> Option<Error> {
    let failures = exception.failed_undos();
    let (oid, reason) = failures.first()?;
    Some(Error::Undo {
        reason: reason.clone(),
        oid: Some(*oid),
        failures: failures.to_vec(),
        conflicts: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: Oid = Oid::new(7);

    fn exceptions() -> Vec<Exception> {
        let (committed, read) = (Tid::new(2), Tid::new(1));
        vec![
            Exception::pos_key_error(OID),
            Exception::no_object(Value::str("no oid")),
            Exception::conflict(OID, committed, read, None),
            Exception::conflict(OID, committed, read, Some("app.Thing".into())),
            Exception::read_conflict(OID, committed, read),
            Exception::read_only(),
            Exception::undo("reason", None),
            Exception::undo("reason", Some(OID)),
            Exception::undo_errors(vec![(OID, "one".into()), (Oid::new(8), "two".into())]),
            Exception::transaction("Already voting (locked)"),
            Exception::wrong_transaction(Value::None, Value::Int(5)),
            Exception::value_error("duplicate register() call"),
            Exception::message(FILE_STORAGE_ERROR, "Already packing"),
            Exception::message(UNSUPPORTED, "no"),
            Exception::type_error("argument 1"),
            Exception::key_error(99),
            Exception::message(QUOTA_ERROR, "full"),
            Exception::with_args("app.Strange", vec![]),
        ]
    }

    #[test]
    fn exceptions_come_back_from_errors() {
        for exception in exceptions() {
            let error = error_from(exception.clone());
            assert_eq!(exception_from(&error), exception, "by way of {error:?}");
        }
    }

    #[test]
    fn what_a_client_tells_apart_is_told_apart() {
        let kinds = { exceptions().into_iter() }
            .map(error_from)
            .filter(|error| !matches!(error, Error::Raised(_)));
        assert_eq!(kinds.count(), 12);
        let conflict = Exception::conflict(OID, Tid::new(2), Tid::new(1), Some("app.Thing".into()));
        let error = error_from(conflict);
        assert!(error.is_conflict());
        let Error::Conflict(conflict) = error else {
            panic!("{error}");
        };
        assert_eq!(
            (conflict.committed, conflict.read),
            (Tid::new(2), Tid::new(1))
        );
    }
}
