//! Walking through all transactions, a page at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::connect::{Connector, Readers};
use super::ids::tid_of;
use super::rows::{meta, object};
use super::session::value;
use super::sql::Sql;
use crate::Result;
use crate::storage::{DataRecord, RecordIter, TransactionIter, TransactionRecord};

/// What a walk asks.
#[derive(Clone)]
pub(super) struct Source {
    pub connector: Arc<Connector>,
    pub readers: Arc<Readers>,
    pub sql: &'static Sql,
}

/// Transactions in the order of tids, from behind `after` to `stop`.
pub(super) fn transactions(source: Source, after: i64, stop: i64) -> TransactionIter {
    let mut after = after;
    let page = move || {
        let sql = source.sql.transactions;
        let found = source.readers.query(
            &source.connector,
            "loading transactions",
            (sql, &[&after, &stop]),
        )?;
        let mut transactions = VecDeque::new();
        for row in &found {
            after = value(row, 0)?;
            let tid = Tid::new(after.cast_unsigned());
            let source = source.clone();
            transactions.push_back(TransactionRecord {
                tid,
                status: if value(row, 1)? { b'p' } else { b' ' },
                meta: meta(row, 2)?,
                records: Arc::new(move || records(source.clone(), tid)),
            });
        }
        Ok(transactions)
    };
    Box::new(paged(page))
}

/// The records of a transaction, in the order of oids.
fn records(source: Source, tid: Tid) -> RecordIter {
    let mut after = -1_i64;
    let page = move || {
        let (sql, number) = (source.sql.records, tid_of(tid)?);
        let found = source.readers.query(
            &source.connector,
            "loading a transaction",
            (sql, &[&number, &after]),
        )?;
        let mut records = VecDeque::new();
        for row in &found {
            let (oid, state) = object(row)?;
            after = oid.as_u64().cast_signed();
            records.push_back(record(oid, tid, state));
        }
        Ok(records)
    };
    Box::new(paged(page))
}

fn record(oid: Oid, tid: Tid, state: Option<Vec<u8>>) -> DataRecord {
    DataRecord {
        oid,
        tid,
        data: state.map(Into::into),
        data_txn: None,
    }
}

/// The items of pages, until one is empty or fails.
fn paged<T: Send>(
    mut next: impl FnMut() -> Result<VecDeque<T>> + Send,
) -> impl Iterator<Item = Result<T>> + Send {
    let mut page = VecDeque::new();
    let mut is_over = false;
    std::iter::from_fn(move || {
        if page.is_empty() && !is_over {
            match next() {
                Ok(found) => page = found,
                Err(why) => {
                    is_over = true;
                    return Some(Err(why));
                }
            }
            is_over = page.is_empty();
        }
        page.pop_front().map(Ok)
    })
}
