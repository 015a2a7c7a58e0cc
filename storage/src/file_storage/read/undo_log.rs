//! The end of the file, read backwards: what can be undone, and what changed
//! last.

use zeo_proto::Tid;

use super::generation::Generation;
use crate::Result;
use crate::file_storage::format::walk::{Backwards, RecordHeaders};
use crate::storage::{Invalidation, UndoEntry};

/// Where Python stops looking for transactions to undo: no transaction that
/// changes anything ends before.
const UNDOABLE_END_MIN: u64 = 39;

/// Transactions that can be undone, newest first, back to the last pack:
/// those from `first` to before `last` of the ones that `filter` lets
/// through.
pub(crate) fn undo_log(
    generation: &Generation,
    first: usize,
    last: usize,
    filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
) -> Result<Vec<UndoEntry>> {
    let reader = generation.reader();
    let mut entries = Vec::new();
    let mut passed = 0;
    let mut walk = Backwards::new(reader);
    while passed < last {
        let Some(txn) = walk.next().transpose()? else {
            break;
        };
        if txn.end() < UNDOABLE_END_MIN || txn.header.status == b'p' {
            break;
        }
        if txn.header.status != b' ' {
            continue;
        }
        let entry = UndoEntry {
            tid: txn.header.tid,
            size: txn.header.length,
            meta: reader.txn_meta(txn.position, &txn.header)?,
        };
        if filter(&entry)? {
            if passed >= first {
                entries.push(entry);
            }
            passed += 1;
        }
    }
    Ok(entries)
}

/// Whether there is no transaction with this tid behind the last pack, nor was one before it: what is
/// older than a transaction that is marked as packed may have been removed.
pub(crate) fn lacks(generation: &Generation, tid: Tid) -> Result<bool> {
    for txn in Backwards::new(generation.reader()) {
        let header = txn?.header;
        if header.status == b'p' {
            return Ok(false);
        }
        if header.tid <= tid {
            return Ok(header.tid < tid);
        }
    }
    Ok(true)
}

/// The last `count` transactions, oldest first, with the oids of their
/// records in the order of the file. Ignored (`u`) transactions count, but
/// are left out.
pub(crate) fn last_invalidations(
    generation: &Generation,
    count: usize,
) -> Result<Vec<Invalidation>> {
    let reader = generation.reader();
    let mut newest_first = Vec::new();
    for txn in Backwards::new(reader).take(count) {
        newest_first.push(txn?);
    }
    let shown = newest_first.iter().rev();
    shown
        .filter(|txn| txn.header.status != b'u')
        .map(|txn| {
            let records = RecordHeaders::new(reader, txn);
            let oids = records.map(|record| Ok(record?.1.oid));
            Ok((txn.header.tid, oids.collect::<Result<_>>()?))
        })
        .collect()
}
