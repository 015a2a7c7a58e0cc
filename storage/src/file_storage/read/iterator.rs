//! The whole file in order: transactions, and the records of each.

use std::sync::Arc;

use zeo_proto::Tid;

use super::generation::Generation;
use crate::file_storage::format::walk::{Backwards, Txn, check_record};
use crate::file_storage::format::{FIRST, Reader};
use crate::storage::{DataRecord, RecordIter, TransactionIter, TransactionRecord};
use crate::{Error, Result};

/// Transactions with `start <= tid <= stop`, up to the last one that loads
/// can see whole now: who is told of a transaction goes on to load at its tid.
/// A pack does not disturb the iteration, which holds on to its file.
///
/// Ignored (`u`) transactions are left out; an unfinished one (`c`) ends the
/// iteration; damage ends it with an error.
pub(crate) fn transactions(
    generation: Arc<Generation>,
    start: Option<Tid>,
    stop: Option<Tid>,
) -> Result<TransactionIter> {
    let end = generation.indexed();
    let position = match start {
        Some(start) => find_start(reader_to(&generation, end), start)?,
        None => FIRST,
    };
    Ok(Box::new(Transactions {
        end,
        position,
        stop: stop.unwrap_or(Tid::MAX),
        generation,
    }))
}

struct Transactions {
    generation: Arc<Generation>,
    /// Where the file ended when the iteration began.
    end: u64,
    /// Of the next transaction; `end` when there is none.
    position: u64,
    stop: Tid,
}

impl Transactions {
    fn step(&mut self) -> Result<Option<TransactionRecord>> {
        let reader = reader_to(&self.generation, self.end);
        while self.position < self.end {
            let txn = Txn::read(&reader, self.position)?;
            let header = txn.header;
            if header.tid > self.stop || header.status == b'c' {
                return Ok(None);
            }
            self.position = txn.end();
            if header.status == b'u' {
                continue;
            }
            let meta = reader.txn_meta(txn.position, &header)?;
            let generation = Arc::clone(&self.generation);
            return Ok(Some(TransactionRecord {
                tid: header.tid,
                status: header.status,
                meta,
                records: Arc::new(move || records(&generation, txn)),
            }));
        }
        Ok(None)
    }
}

impl Iterator for Transactions {
    type Item = Result<TransactionRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if !matches!(step, Ok(Some(_))) {
            self.position = self.end;
        }
        step.transpose()
    }
}

/// The records of a transaction. Damage ends the iteration with an error.
fn records(generation: &Arc<Generation>, txn: Txn) -> RecordIter {
    Box::new(Records {
        generation: Arc::clone(generation),
        position: txn.records_start(),
        txn,
    })
}

struct Records {
    generation: Arc<Generation>,
    txn: Txn,
    position: u64,
}

impl Records {
    fn step(&mut self) -> Result<DataRecord> {
        let reader = reader_to(&self.generation, self.txn.records_end());
        let (header, own) = reader.record(self.position, None)?;
        check_record(&reader, self.txn.position, self.position, &header)?;
        self.position = self.position.saturating_add(header.record_len());
        let (data, data_txn) = match (header.plen, header.back) {
            (0, 0) => (None, None),
            (0, back) => {
                // Python names the transaction one step back, not the one
                // that holds the data.
                let (pointed, data) = reader.record(back, Some(header.oid))?;
                let data = match self.generation.resolve(&pointed, data) {
                    Err(Error::NoObject(_)) => None,
                    found => Some(found?),
                };
                (data, Some(pointed.tid))
            }
            _ => (Some(own), None),
        };
        Ok(DataRecord {
            oid: header.oid,
            tid: header.tid,
            data,
            data_txn,
        })
    }
}

impl Iterator for Records {
    type Item = Result<DataRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.txn.records_end();
        if self.position >= end {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.position = end;
        }
        Some(step)
    }
}

fn reader_to(generation: &Generation, end: u64) -> Reader<'_> {
    Reader {
        backend: &*generation.backend,
        end,
    }
}

/// Where the first transaction at or after `start` begins: searched for from
/// the end of the file that is nearer in time.
fn find_start(reader: Reader<'_>, start: Tid) -> Result<u64> {
    let Some(last) = Backwards::new(reader).next().transpose()? else {
        return Ok(FIRST);
    };
    let first = reader.txn_header(FIRST)?.tid;
    if start <= first {
        return Ok(FIRST);
    }
    if last.header.tid < first {
        return Err(reader.corrupt(
            last.position,
            "the last transaction is older than the first",
        ));
    }
    if start > last.header.tid {
        return Ok(reader.end);
    }
    let time = start.unix_time();
    if time - first.unix_time() < last.header.tid.unix_time() - time {
        scan_forwards(reader, start)
    } else {
        scan_backwards(reader, start)
    }
}

fn scan_forwards(reader: Reader<'_>, start: Tid) -> Result<u64> {
    let mut position = FIRST;
    while position < reader.end {
        let txn = Txn::read(&reader, position)?;
        if txn.header.tid >= start {
            break;
        }
        position = txn.end();
    }
    Ok(position)
}

fn scan_backwards(reader: Reader<'_>, start: Tid) -> Result<u64> {
    for txn in Backwards::new(reader) {
        let txn = txn?;
        if txn.header.tid == start {
            return Ok(txn.position);
        }
        if txn.header.tid < start {
            return Ok(txn.end());
        }
    }
    Ok(FIRST)
}

#[cfg(test)]
mod tests {
    use zeo_proto::Oid;

    use super::*;
    use crate::file_storage::index::Index;
    use crate::testing::files::{Builder, data, generation};

    fn tids(file: &Builder) -> Vec<Result<u64>> {
        let generation = generation(&file.bytes, &[]);
        let found = transactions(generation, None, None).unwrap();
        found.map(|txn| Ok(txn?.tid.as_u64())).collect()
    }

    #[test]
    fn an_unfinished_transaction_ends_the_iteration() {
        let mut file = Builder::new();
        for (tid, status) in [(1, b'p'), (2, b'u'), (3, b' '), (4, b'c'), (5, b' ')] {
            file.txn(tid, status, &[(1, 0, data("x"))]);
        }
        let found: Result<Vec<_>> = tids(&file).into_iter().collect();
        assert_eq!(found.unwrap(), [1, 3]);
    }

    #[test]
    fn what_is_half_published_is_not_there_yet() {
        let mut file = Builder::new();
        let first = file.txn(1, b' ', &[(1, 0, data("x"))]);
        let second = file.txn(2, b' ', &[(1, first + 23, data("y"))]);
        let end = file.bytes.len() as u64;
        let backend = Arc::clone(&file.build().backend);
        let index = Index::default();
        let generation = Arc::new(Generation::new(backend, index, second, Tid::new(1)));
        let count = || {
            transactions(Arc::clone(&generation), None, None)
                .unwrap()
                .count()
        };
        let record = std::iter::once_with(|| {
            assert_eq!(count(), 1, "its record is not in the index");
            (Oid::new(1), second + 23)
        });
        generation.publish(end, Tid::new(2), record);
        assert_eq!(count(), 2);
    }

    #[test]
    fn damage_ends_the_iteration_with_an_error() {
        let mut file = Builder::new();
        file.txn(1, b' ', &[(1, 0, data("x"))]);
        let second = file.txn(2, b' ', &[(1, 0, data("x"))]);
        file.txn(3, b' ', &[(1, 0, data("x"))]);
        file.bytes[usize::try_from(second).unwrap() + 15] ^= 1;
        let found = tids(&file);
        assert!(
            matches!(found[..], [Ok(1), Err(Error::Corrupt { position, .. })] if position == second),
            "{found:?}"
        );
    }
}
