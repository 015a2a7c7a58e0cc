//! Does a saved index belong to this file? As in Python, the last
//! transaction that it covers tells.

use zeo_proto::Tid;

use super::format::Reader;
use super::index::Index;
use super::seal;
use super::walk::{Backwards, RecordHeaders, Txn};
use crate::Error;

/// Python trusts no index that covers less than this, in bytes.
const LEAST_END: u64 = 100;
/// How many records are looked at.
const RECORDS: usize = 5;

/// Why an index is not used.
pub(crate) enum Rejected {
    /// It is not the index of this file.
    Foreign(String),
    /// It is, and the last transaction that it covers is damaged.
    Damaged(Error),
}

/// The last tid that the index covers (up to the end of `reader`), or why it
/// can't be used.
pub(crate) fn check(reader: &Reader<'_>, index: &Index) -> Result<Tid, Rejected> {
    let (last_tid, last) = find(reader, index).map_err(Rejected::Foreign)?;
    match seal::verify(reader, &last) {
        Ok(_) => Ok(last_tid),
        Err(error) => Err(Rejected::Damaged(error)),
    }
}

/// The last tid, and the last transaction with records, which stand where
/// the index says.
fn find(reader: &Reader<'_>, index: &Index) -> Result<(Tid, Txn), String> {
    if reader.end < LEAST_END {
        return Err("it covers next to nothing".to_owned());
    }
    let mut last_tid = None;
    for txn in Backwards::new(*reader) {
        let txn = txn.map_err(|error| error.to_string())?;
        let last_tid = *last_tid.get_or_insert(txn.header.tid);
        match txn.header.status {
            b'u' => continue,
            b' ' | b'p' => {}
            _ => return Err("the last transaction is unfinished".to_owned()),
        }
        let mut records = RecordHeaders::new(*reader, &txn).take(RECORDS).peekable();
        if records.peek().is_none() {
            continue;
        }
        for record in records {
            let (position, header) = record.map_err(|error| error.to_string())?;
            // An object may have another record in the same transaction.
            let known = index.get(header.oid).unwrap_or(0);
            if !(position..txn.records_end()).contains(&known) {
                return Err(format!(
                    "object {} stands at {position}, not at {known}",
                    header.oid
                ));
            }
        }
        return Ok((last_tid, txn));
    }
    Err("the file has no transaction with records".to_owned())
}
