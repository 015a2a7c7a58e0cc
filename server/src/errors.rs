//! Storage errors as the exceptions that Python's clients know.

use zeo_proto::exception::Exception;
use zeo_proto::message::CallError;
use zeo_storage::Error;
use zeo_storage::error::Conflict;

/// The exception for a failed storage operation.
pub fn exception_from(error: &Error) -> Exception {
    match error {
        Error::NoObject(oid) | Error::Dangling { oid, .. } | Error::NoBlob { oid, .. } => {
            Exception::pos_key_error(*oid)
        }
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
        Error::Pack(message) => Exception::message(
            "ZODB.FileStorage.FileStorage.FileStorageError",
            message.clone(),
        ),
        Error::Unsupported(message) => {
            Exception::message("ZODB.POSException.Unsupported", message.clone())
        }
        Error::Quota { .. } => Exception::message(
            "ZODB.FileStorage.FileStorage.FileStorageQuotaError",
            error.to_string(),
        ),
        Error::Corrupt { .. } => Exception::message(
            "ZODB.FileStorage.FileStorage.CorruptedFileStorageError",
            error.to_string(),
        ),
        Error::Compressed { .. } => Exception::message("zlib.error", error.to_string()),
        Error::Io { .. }
        | Error::Latched(_)
        | Error::Cancelled
        | Error::InUse { .. }
        | Error::Replaced { .. } => {
            Exception::message("ZODB.POSException.StorageSystemError", error.to_string())
        }
    }
}

/// The exception for a call with wrong arguments.
pub fn exception_from_call(error: &CallError) -> Exception {
    match error {
        CallError::NoObject(key) => Exception::no_object((**key).clone()),
        _ => Exception::type_error(error.to_string()),
    }
}

/// A conflict, with the class of the record that could not be stored, where
/// that can be read.
fn conflict_exception(conflict: &Conflict) -> Exception {
    let class = conflict.class_name();
    Exception::conflict(conflict.oid, conflict.committed, conflict.read, class)
}
