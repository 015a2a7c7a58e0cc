//! Walking through all transactions, a page at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Row;
use zeo_proto::{Oid, Tid};

use super::connect::{Connector, PATIENCE};
use super::ids::tid_of;
use super::readers::Readers;
use super::rows::{meta, object};
use super::session::{Params, Session, failed, value};
use super::sql::Sql;
use crate::Result;
use crate::storage::{DataRecord, RecordIter, TransactionIter, TransactionRecord};

/// How many bytes of records are asked for at once, about.
const GROUP_BYTES: i64 = 4 << 20;

/// What a walk asks.
#[derive(Clone)]
pub(super) struct Source {
    pub connector: Arc<Connector>,
    pub readers: Arc<Readers>,
    pub sql: &'static Sql,
    /// A connection in a transaction that sees one state of the database, if all is to be of one.
    pub snapshot: Option<Arc<Mutex<Session>>>,
}

impl Source {
    fn query(&self, doing: &'static str, sql: &'static str, params: Params) -> Result<Vec<Row>> {
        let Some(snapshot) = &self.snapshot else {
            return self.readers.query(&self.connector, doing, (sql, params));
        };
        let mut session = snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        session.query(sql, params).map_err(failed(doing))
    }
}

/// A connection for [`Source::snapshot`].
pub(super) fn snapshot(connector: &Connector) -> Result<Session> {
    let mut session = connector.connect_for_short("read all")?;
    session.set_limit(connector.answer_time * PATIENCE);
    session
        .batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .map_err(failed("beginning to read"))?;
    Ok(session)
}

/// Transactions in the order of tids, from behind `after` to `stop`.
pub(super) fn transactions(source: Source, after: i64, stop: i64) -> TransactionIter {
    let mut after = after;
    let page = move || {
        let sql = source.sql.transactions;
        let found = source.query("loading transactions", sql, &[&after, &stop])?;
        let mut sizes = Vec::with_capacity(found.len());
        for row in &found {
            sizes.push((value(row, 0)?, value::<Option<i64>>(row, 5)?.unwrap_or(0)));
        }
        let groups = groups(&source, &sizes);
        let mut transactions = VecDeque::new();
        for (row, group) in found.iter().zip(groups) {
            after = value(row, 0)?;
            let tid = Tid::new(after.cast_unsigned());
            let source = source.clone();
            transactions.push_back(TransactionRecord {
                tid,
                status: if value(row, 1)? { b'p' } else { b' ' },
                meta: meta(row, 2)?,
                records: Arc::new(move || match &group {
                    Some(group) => group.records(tid),
                    None => records(source.clone(), tid),
                }),
            });
        }
        Ok(transactions)
    };
    Box::new(paged(page))
}

/// Transactions in a row, whose records are asked for together.
struct Group {
    source: Source,
    first: i64,
    last: i64,
    found: Mutex<Option<ByTransaction>>,
}

type ByTransaction = HashMap<Tid, Vec<DataRecord>>;

/// Puts transactions, of these tids and sizes, into groups of bounded size; large ones are in none.
fn groups(source: &Source, sizes: &[(i64, i64)]) -> Vec<Option<Arc<Group>>> {
    let mut ranges: Vec<(i64, i64, i64, usize)> = Vec::new();
    for &(tid, size) in sizes {
        match ranges.last_mut() {
            Some((_, last, bytes, count)) if bytes.saturating_add(size) <= GROUP_BYTES => {
                (*last, *bytes, *count) = (tid, *bytes + size, *count + 1);
            }
            _ => ranges.push((tid, tid, size, 1)),
        }
    }
    let mut groups = Vec::with_capacity(sizes.len());
    for (first, last, bytes, count) in ranges {
        let group = || Group {
            source: source.clone(),
            first,
            last,
            found: Mutex::default(),
        };
        let group = (bytes <= GROUP_BYTES).then(|| Arc::new(group()));
        groups.extend(std::iter::repeat_n(group, count));
    }
    groups
}

impl Group {
    fn records(&self, tid: Tid) -> RecordIter {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_none() {
            match self.load() {
                Ok(loaded) => *found = Some(loaded),
                Err(why) => return Box::new(std::iter::once(Err(why))),
            }
        }
        let records = found.as_ref().and_then(|found| found.get(&tid)).cloned();
        Box::new(records.unwrap_or_default().into_iter().map(Ok))
    }

    fn load(&self) -> Result<ByTransaction> {
        let rows = self.source.query(
            "loading transactions",
            self.source.sql.records_of_some,
            &[&self.first, &self.last],
        )?;
        let mut found = ByTransaction::new();
        for row in &rows {
            let (oid, state) = object(row)?;
            let tid = Tid::new(value::<i64>(row, 2)?.cast_unsigned());
            found.entry(tid).or_default().push(record(oid, tid, state));
        }
        Ok(found)
    }
}

/// The records of a large transaction, in the order of oids.
fn records(source: Source, tid: Tid) -> RecordIter {
    let mut left: Option<VecDeque<(i64, i32)>> = None;
    let page = move || {
        let number = tid_of(tid)?;
        let left = match &mut left {
            Some(left) => left,
            None => left.insert(record_sizes(&source, number)?),
        };
        let mut records = VecDeque::new();
        // Without history, those of a page may have been changed since.
        while records.is_empty() && !left.is_empty() {
            let page = next_page(left);
            let sql = source.sql.records;
            let found = source.query("loading a transaction", sql, &[&number, &page])?;
            for row in &found {
                let (oid, state) = object(row)?;
                records.push_back(record(oid, tid, state));
            }
        }
        Ok(records)
    };
    Box::new(paged(page))
}

/// The objects of a transaction, and the sizes of their states.
fn record_sizes(source: &Source, tid: i64) -> Result<VecDeque<(i64, i32)>> {
    let sql = source.sql.record_sizes;
    let found = source.query("loading a transaction", sql, &[&tid])?;
    let Some(row) = found.first() else {
        return Ok(VecDeque::new());
    };
    let oids = value::<Option<Vec<i64>>>(row, 0)?.unwrap_or_default();
    let sizes = value::<Option<Vec<i32>>>(row, 1)?.unwrap_or_default();
    Ok(oids.into_iter().zip(sizes).collect())
}

/// Takes the next objects whose states are to be in memory together.
fn next_page(left: &mut VecDeque<(i64, i32)>) -> Vec<i64> {
    let (mut page, mut bytes) = (Vec::new(), 0_i64);
    while let Some(&(oid, size)) = left.front() {
        bytes += i64::from(size) + 100;
        if bytes > GROUP_BYTES && !page.is_empty() {
            break;
        }
        page.push(oid);
        left.pop_front();
    }
    page
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
