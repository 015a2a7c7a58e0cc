//! Iterators over the upstream server's transactions.

use std::sync::{Arc, Mutex};

use zeo_proto::Tid;
use zeo_storage::storage::{RecordIter, TransactionIter, TransactionRecord};
use zeo_storage::{Error, Result};

use super::errors::storage_error;
use crate::client_storage::{ClientStorage, IteratedTransaction, Records};
use crate::lock::locked;

/// Transactions from `start` to `stop`, both included.
pub(super) fn transactions(
    storage: &Arc<ClientStorage>,
    start: Option<Tid>,
    stop: Option<Tid>,
) -> Result<TransactionIter> {
    let found = storage.iterator(start, stop).map_err(storage_error)?;
    let storage = Arc::clone(storage);
    Ok(Box::new(found.map(move |transaction| {
        let transaction = transaction.map_err(storage_error)?;
        Ok(transaction_record(&storage, transaction))
    })))
}

fn transaction_record(
    storage: &Arc<ClientStorage>,
    transaction: IteratedTransaction,
) -> TransactionRecord {
    let IteratedTransaction {
        tid,
        status,
        meta,
        records,
    } = transaction;
    let storage = Arc::clone(storage);
    let records = Mutex::new(Some(records));
    TransactionRecord {
        tid,
        status,
        meta,
        records: Arc::new(move || {
            let first = locked(&records).take();
            match first.map_or_else(|| again(&storage, tid), Ok) {
                Ok(records) => {
                    let records = records.map(|record| record.map_err(storage_error));
                    Box::new(records) as RecordIter
                }
                Err(why) => Box::new(std::iter::once(Err(why))),
            }
        }),
    }
}

/// The server gives the records of a transaction once. Then it is looked for again.
fn again(storage: &ClientStorage, tid: Tid) -> Result<Records> {
    let mut found = storage
        .iterator(Some(tid), Some(tid))
        .map_err(storage_error)?;
    match found.next() {
        Some(Ok(transaction)) => Ok(transaction.records),
        Some(Err(why)) => Err(storage_error(why)),
        None => Err(Error::Unavailable(format!(
            "there is no transaction {tid} any more"
        ))),
    }
}
