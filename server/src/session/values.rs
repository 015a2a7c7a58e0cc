//! What a storage tells of transactions, as entries for clients.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeo_proto::marshal::Encoding;
use zeo_proto::message::{HistoryEntry, Summary, UndoEntry};
use zeo_proto::msgpack::readable;
use zeo_proto::pickle::{self, Policy};
use zeo_proto::{Tid, Value};
use zeo_storage::storage::{self, TransactionMeta};

/// An entry of the history, in the flat shape of Python's FileStorage or in that of its
/// MappingStorage.
pub(super) fn history_entry(
    entry: &storage::HistoryEntry,
    encoding: Encoding,
) -> HistoryEntry<'static> {
    let summary = summary(entry.tid, &entry.meta, entry.size, encoding);
    if entry.is_flat {
        HistoryEntry::flat(summary)
    } else {
        HistoryEntry::nested(summary)
    }
}

/// An entry of the undo log.
pub(super) fn undo_entry(entry: &storage::UndoEntry, encoding: Encoding) -> UndoEntry<'static> {
    let id = BASE64_STANDARD.encode(entry.tid.to_bytes());
    let summary = summary(entry.tid, &entry.meta, entry.size, encoding);
    UndoEntry::new(id.into_bytes().into(), summary)
}

fn summary(tid: Tid, meta: &TransactionMeta, size: u64, encoding: Encoding) -> Summary<'static> {
    Summary {
        tid,
        time: tid.unix_time(),
        user: meta.user.clone().into(),
        description: meta.description.clone().into(),
        size,
        extension: extension_value(&meta.extension, encoding),
    }
}

/// The extension as a dict. One that can't be read as such (it may hold what
/// only the application can make) goes out as the bytes in the file, so that
/// nothing of it is lost. Keys that Python does not read by msgpack are text
/// there.
pub(super) fn extension_value(extension: &[u8], encoding: Encoding) -> Value<'static> {
    if extension.is_empty() {
        return Value::Dict(Vec::new());
    }
    match pickle::decode(extension, &Policy::FILE) {
        Ok(value @ Value::Dict(_)) => match encoding {
            Encoding::Pickle => value.into_owned(),
            Encoding::Msgpack => readable(&value).into_owned().into_owned(),
        },
        _ => Value::Bytes(extension.to_vec().into()),
    }
}
