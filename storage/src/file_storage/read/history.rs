//! What is known of one object over time, and of all objects now.

use zeo_proto::Oid;

use super::generation::Generation;
use crate::storage::{CurrentRecord, HistoryEntry};
use crate::{Error, Result};

/// The newest `size` revisions of an object, newest first: those of an
/// object that is gone as well. Fails with `NoObject` for an unknown one.
pub(crate) fn history(generation: &Generation, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
    let (mut position, reader) = generation.lookup(oid)?;
    let mut entries = Vec::new();
    while position != 0 && entries.len() < size {
        let record = reader.data_header(position, Some(oid))?;
        if record.tloc >= position {
            let what = "the record's transaction does not begin before it";
            return Err(reader.corrupt(position, what));
        }
        let header = reader.txn_header(record.tloc)?;
        entries.push(HistoryEntry {
            tid: record.tid,
            size: record.plen,
            meta: reader.txn_meta(record.tloc, &header)?,
            is_flat: true,
        });
        position = record.prev;
    }
    Ok(entries)
}

/// The current record of the first object at or after `from`, with the oid
/// to go on from. Fails with `Value` when there is none (Python:
/// `ValueError`, in these words), and with `NoObject` when that object is
/// gone.
pub(crate) fn record_iternext(generation: &Generation, from: Option<Oid>) -> Result<CurrentRecord> {
    let index = &generation.index;
    let Some((oid, position)) = index.next_from(from.unwrap_or_default()) else {
        let none_at_all = index.is_empty();
        let what = ["no key satisfies the conditions", "empty tree"][usize::from(none_at_all)];
        return Err(Error::Value(what.to_owned()));
    };
    let (header, own) = generation.reader().record(position, Some(oid))?;
    let after = oid.as_u64().checked_add(1).map(Oid::new);
    Ok(CurrentRecord {
        oid,
        serial: header.tid,
        data: generation.resolve(&header, own)?,
        next: after
            .and_then(|oid| index.next_from(oid))
            .map(|(oid, _)| oid),
    })
}
