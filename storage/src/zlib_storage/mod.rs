//! Compressed records in any storage, as by `zc.zlibstorage`.
//!
//! Its `ZlibStorage` transforms records both ways: clients never see a
//! compressed one. Its `ServerZlibStorage` leaves that to the clients, and
//! tells the storage within only how to read records for conflicts and
//! references, which storages here know without it.

use std::borrow::Cow;
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use crate::record::{PLAIN_MAX, compress, decompress, is_compressed};
use crate::storage::{
    Bulk, Capabilities, CurrentRecord, Data, DataRecord, OnConflict, Op, RecordIter, Revision,
    TransactionIter, TransactionMeta, Vote,
};
use crate::{Error, Result, Storage};

/// Which side compresses and decompresses records, and which records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transform {
    /// The storage transforms records for its clients (`ZlibStorage`), or
    /// they do (`ServerZlibStorage`).
    pub for_clients: bool,
    /// Records are compressed that the storage transforms, and in any case
    /// those that it makes of conflicts. Otherwise they stay plain, and
    /// compressed ones are still read.
    pub compress: bool,
}

/// A storage that keeps its records compressed in another one; see the
/// module. Sizes are those of the records as they are kept.
pub struct ZlibStorage {
    base: Arc<dyn Storage>,
    transform: Transform,
}

impl ZlibStorage {
    /// A storage over `base`.
    pub fn new(base: Arc<dyn Storage>, transform: Transform) -> Self {
        Self { base, transform }
    }

    /// The record as it is kept. None is compressed twice.
    fn kept(&self, record: Vec<u8>) -> Vec<u8> {
        let Transform {
            for_clients,
            compress: zip,
        } = self.transform;
        if for_clients && zip && !is_compressed(&record) {
            compress(record)
        } else {
            record
        }
    }

    fn kept_op(&self, op: Op) -> Op {
        match op {
            Op::Store { oid, serial, data } => Op::Store {
                oid,
                serial,
                data: self.kept(data),
            },
            Op::Restore {
                oid,
                serial,
                data,
                prev_tid,
            } => Op::Restore {
                oid,
                serial,
                data: data.map(|data| self.kept(data)),
                prev_tid,
            },
            other => other,
        }
    }
}

impl Transform {
    /// A kept record as clients see it.
    fn shown(self, oid: Oid, serial: Tid, data: Data) -> Result<Data> {
        if !self.for_clients {
            return Ok(data);
        }
        match decompress(&data, PLAIN_MAX) {
            Ok(Cow::Borrowed(_)) => Ok(data),
            Ok(Cow::Owned(plain)) => Ok(plain.into()),
            Err(source) => Err(Error::Compressed {
                oid,
                serial,
                source,
            }),
        }
    }

    fn shown_record(self, record: DataRecord) -> Result<DataRecord> {
        let (oid, tid) = (record.oid, record.tid);
        let data = record.data.map(|data| self.shown(oid, tid, data));
        Ok(DataRecord {
            data: data.transpose()?,
            ..record
        })
    }
}

impl crate::storage::Layer for ZlibStorage {
    fn below(&self) -> &dyn Storage {
        &*self.base
    }

    /// Those of the base, and one interface more.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transforms: true,
            ..self.base.capabilities()
        }
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        let Some(revision) = self.base.load_before(oid, before)? else {
            return Ok(None);
        };
        let data = self.transform.shown(oid, revision.serial, revision.data)?;
        Ok(Some(Revision { data, ..revision }))
    }

    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data> {
        let data = self.base.load_serial(oid, serial)?;
        self.transform.shown(oid, serial, data)
    }

    fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord> {
        let record = self.base.record_iternext(from)?;
        let data = self
            .transform
            .shown(record.oid, record.serial, record.data)?;
        Ok(CurrentRecord { data, ..record })
    }

    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter> {
        let transform = self.transform;
        let transactions = self.base.iterator(start, stop)?;
        Ok(Box::new(transactions.map(move |transaction| {
            let mut transaction = transaction?;
            let kept = transaction.records;
            transaction.records = Arc::new(move || -> RecordIter {
                Box::new(kept().map(move |record| transform.shown_record(record?)))
            });
            Ok(transaction)
        })))
    }

    fn bulk(&self) -> Result<Option<Box<dyn Bulk + '_>>> {
        let base = self.base.bulk()?;
        Ok(base.map(|base| Box::new(KeptBulk { base, zlib: self }) as _))
    }

    /// Conflicts are reported with records as clients store them.
    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote> {
        let mut kept = ops.map(|op| Ok(self.kept_op(op?)));
        let on_conflict = on_conflict.with_compression(self.transform.compress);
        let mut vote = self.base.prepare(meta, &mut kept, on_conflict)?;
        if let Vote::Conflicts(conflicts) = &mut vote {
            for conflict in conflicts {
                let kept = std::mem::take(&mut conflict.data);
                conflict.data = match self
                    .transform
                    .for_clients
                    .then(|| decompress(&kept, PLAIN_MAX))
                {
                    Some(Ok(plain)) => plain.into_owned(),
                    // What can't be decompressed was sent like that.
                    Some(Err(_)) | None => kept,
                };
            }
        }
        Ok(vote)
    }
}

/// Compresses what is copied into the storage below.
struct KeptBulk<'a> {
    base: Box<dyn Bulk + 'a>,
    zlib: &'a ZlibStorage,
}

impl Bulk for KeptBulk<'_> {
    fn add(
        &mut self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
    ) -> Result<()> {
        let mut kept = ops.map(|op| Ok(self.zlib.kept_op(op?)));
        self.base.add(meta, &mut kept)
    }

    fn finish(&mut self) -> Result<()> {
        self.base.finish()
    }

    fn keeps_history(&self) -> bool {
        self.base.keeps_history()
    }
}

#[cfg(test)]
mod tests;
