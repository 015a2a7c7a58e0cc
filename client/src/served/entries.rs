//! Entries of histories and undo logs, and extensions, as a storage has them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeo_proto::message::{HistoryEntry, UndoEntry};
use zeo_proto::pickle::{self, Memo};
use zeo_proto::{Tid, Value};
use zeo_storage::storage::{self, TransactionMeta};
use zeo_storage::{Error, Result};

use super::errors::broken;

/// The keys of an entry that are not of its extension.
const HISTORY: [&str; 7] = [
    "time",
    "user_name",
    "description",
    "tid",
    "size",
    "serial",
    "extension",
];
const UNDO: [&str; 5] = ["id", "time", "user_name", "size", "description"];

/// What `undoa` calls a transaction by.
pub(super) fn undo_id(tid: Tid) -> Vec<u8> {
    BASE64_STANDARD.encode(tid.to_bytes()).into_bytes()
}

/// An entry of a history.
pub(super) fn history_entry(entry: &HistoryEntry<'_>) -> Result<storage::HistoryEntry> {
    let tid = entry.tid().ok_or_else(|| no_tid("history"))?;
    let nested = item(entry.items(), "extension");
    let extension = match nested {
        Some(extension) => extension_pickle(extension)?,
        None => rest(entry.items(), &HISTORY)?,
    };
    Ok(storage::HistoryEntry {
        tid,
        size: entry.size().unwrap_or_default(),
        meta: meta(entry.user_name(), entry.description(), extension),
        is_flat: nested.is_none(),
    })
}

/// An entry of an undo log.
pub(super) fn undo_entry(entry: &UndoEntry<'_>) -> Result<storage::UndoEntry> {
    let id = entry.id().and_then(|id| BASE64_STANDARD.decode(id).ok());
    let tid = id.and_then(|id| <[u8; 8]>::try_from(id).ok());
    let tid = tid.ok_or_else(|| no_tid("undoInfo"))?;
    let extension = rest(entry.items(), &UNDO)?;
    Ok(storage::UndoEntry {
        tid: Tid::new(u64::from_be_bytes(tid)),
        size: entry.size().unwrap_or_default(),
        meta: meta(entry.user_name(), entry.description(), extension),
    })
}

/// An extension as it stands in a file: a pickle, or nothing for an empty dict.
pub(super) fn extension_pickle(extension: &Value<'_>) -> Result<Vec<u8>> {
    match extension {
        Value::None => Ok(Vec::new()),
        Value::Dict(items) if items.is_empty() => Ok(Vec::new()),
        Value::Bytes(pickle) => Ok(pickle.to_vec()),
        value => {
            let mut out = Vec::new();
            let made = pickle::encode(value, &mut out, Memo::Memoizing);
            made.map_err(|why| Error::Value(format!("the extension of a transaction: {why}")))?;
            Ok(out)
        }
    }
}

fn meta(user: Option<&[u8]>, description: Option<&[u8]>, extension: Vec<u8>) -> TransactionMeta {
    TransactionMeta {
        user: user.unwrap_or_default().to_vec(),
        description: description.unwrap_or_default().to_vec(),
        extension,
        ..TransactionMeta::default()
    }
}

type Items<'v> = [(Value<'v>, Value<'v>)];

fn item<'i, 'v>(items: &'i Items<'v>, name: &str) -> Option<&'i Value<'v>> {
    let found = items.iter().find(|(key, _)| key.as_str() == Some(name));
    found.map(|(_, value)| value)
}

/// All items but these, as an extension.
fn rest(items: &Items<'_>, known: &[&str]) -> Result<Vec<u8>> {
    let is_known = |key: &Value<'_>| key.as_str().is_some_and(|key| known.contains(&key));
    let rest = items.iter().filter(|(key, _)| !is_known(key)).cloned();
    extension_pickle(&Value::Dict(rest.collect()))
}

fn no_tid(method: &str) -> Error {
    broken(format!(
        "the upstream server's {method} does not tell a transaction's id"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeo_proto::message::Summary;

    fn summary(extension: Value<'static>) -> Summary<'static> {
        Summary {
            tid: Tid::new(7),
            time: 1.0,
            user: b"u"[..].into(),
            description: b"d"[..].into(),
            size: 5,
            extension,
        }
    }

    #[test]
    fn entries_are_what_they_were_made_of() {
        for items in [vec![], vec![(Value::str("x"), Value::Int(1.into()))]] {
            let extension = extension_pickle(&Value::Dict(items.clone())).unwrap();
            assert_eq!(extension.is_empty(), items.is_empty());
            let entry = UndoEntry::new(
                undo_id(Tid::new(7)).into(),
                summary(Value::Dict(items.clone())),
            );
            let found = undo_entry(&entry).unwrap();
            assert_eq!((found.tid, found.size), (Tid::new(7), 5));
            assert_eq!(found.meta, meta(Some(b"u"), Some(b"d"), extension.clone()));
            for flat in [true, false] {
                let summary = summary(Value::Dict(items.clone()));
                let entry = if flat {
                    HistoryEntry::flat(summary)
                } else {
                    HistoryEntry::nested(summary)
                };
                let found = history_entry(&entry).unwrap();
                assert_eq!(
                    (found.tid, found.size, found.is_flat),
                    (Tid::new(7), 5, flat)
                );
                assert_eq!(found.meta, meta(Some(b"u"), Some(b"d"), extension.clone()));
            }
        }
    }

    #[test]
    fn an_entry_without_a_tid_is_an_error() {
        let entry = UndoEntry::new(b"short"[..].into(), summary(Value::None));
        assert!(undo_entry(&entry).is_err());
    }
}
