//! The iterators that a client has open: over transactions, and over the
//! records of the transaction that one of those has given last.

use std::collections::HashMap;
use std::sync::Arc;

use zeo_proto::exception::Exception;
use zeo_proto::{Tid, Value};
use zeo_storage::storage::{DataRecord, RecordIter, TransactionIter, TransactionRecord};

use super::values::{extension_value, status_text};
use super::{Answer, Outcome, Session};
use crate::errors::exception_from;
use crate::storages::ServedStorage;

/// How many iterators one client may have open. Python's client drops those
/// that it no longer uses.
const MAX_OPEN: usize = 10_000;

/// Open iterators by their ids.
#[derive(Default)]
pub(super) struct Iterators {
    next_id: u64,
    open: HashMap<u64, Open>,
}

enum Open {
    Transactions {
        iter: TransactionIter,
        last: Option<TransactionRecord>,
    },
    Records(RecordIter),
}

impl Iterators {
    fn add(&mut self, iterator: Open) -> Result<Value<'static>, Exception> {
        if self.open.len() >= MAX_OPEN {
            return Err(Exception::value_error(format!(
                "{MAX_OPEN} iterators are open"
            )));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.open.insert(id, iterator);
        Ok(Value::Int(i128::from(id)))
    }

    fn get(&mut self, id: u64) -> Result<&mut Open, Exception> {
        self.open
            .get_mut(&id)
            .ok_or_else(|| Exception::key_error(id))
    }

    /// Drops iterators that the client no longer uses.
    pub(super) fn drop_all(&mut self, ids: &[u64]) {
        for id in ids {
            self.open.remove(id);
        }
    }
}

impl Session {
    /// Finding the start may take a walk through the file: a helper does it.
    pub(super) fn iterator_start(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        start: Option<Tid>,
        stop: Option<Tid>,
    ) -> Outcome {
        if self.is_busy() {
            return Ok(Answer::Hold);
        }
        let (storage, id) = (Arc::clone(storage), id.clone());
        self.spawn(
            move || storage.storage.iterator(start, stop),
            move |session, result| {
                let opened = result
                    .map_err(|error| exception_from(&error))
                    .and_then(|iter| {
                        session
                            .iterators
                            .add(Open::Transactions { iter, last: None })
                    });
                match opened {
                    Ok(iterator) => session.reply(&id, &iterator),
                    Err(exception) => session.reply_error(&id, &exception),
                }
            },
        )?;
        Ok(Answer::Later)
    }

    pub(super) fn iterator_next(&mut self, id: u64) -> Outcome {
        let Open::Transactions { iter, last } = self.iterators.get(id)? else {
            return Err(Exception::type_error("not an iterator over transactions"));
        };
        match iter.next() {
            Some(Ok(transaction)) => {
                let value = transaction_value(&transaction);
                *last = Some(transaction);
                Ok(Answer::Value(value))
            }
            Some(Err(error)) => Err(exception_from(&error)),
            None => {
                self.iterators.open.remove(&id);
                Ok(Answer::Value(Value::None))
            }
        }
    }

    pub(super) fn iterator_record_start(&mut self, id: u64, tid: Tid) -> Outcome {
        let records = match self.iterators.get(id)? {
            Open::Transactions {
                last: Some(last), ..
            } if last.tid == tid => (last.records)(),
            Open::Transactions { last: Some(_), .. } => {
                let why = format!("Out-of-order request for record iterator for transaction {tid}");
                return Err(Exception::message("builtins.Exception", why));
            }
            _ => return Err(Exception::key_error(id)),
        };
        self.iterators
            .add(Open::Records(records))
            .map(Answer::Value)
    }

    pub(super) fn iterator_record_next(&mut self, id: u64) -> Outcome {
        let Open::Records(records) = self.iterators.get(id)? else {
            return Err(Exception::type_error("not an iterator over records"));
        };
        match records.next() {
            Some(Ok(record)) => Ok(Answer::Value(record_value(&record))),
            Some(Err(error)) => Err(exception_from(&error)),
            None => {
                self.iterators.open.remove(&id);
                Ok(Answer::Value(Value::None))
            }
        }
    }
}

fn transaction_value(transaction: &TransactionRecord) -> Value<'static> {
    Value::Tuple(vec![
        transaction.tid.into(),
        status_text(transaction.status),
        Value::Bytes(transaction.meta.user.clone().into()),
        Value::Bytes(transaction.meta.description.clone().into()),
        extension_value(&transaction.meta.extension),
    ])
}

fn record_value(record: &DataRecord) -> Value<'static> {
    let data = match &record.data {
        Some(data) => Value::Bytes(data.to_vec().into()),
        None => Value::None,
    };
    let data_txn = record.data_txn.map_or(Value::None, Value::from);
    Value::Tuple(vec![record.oid.into(), record.tid.into(), data, data_txn])
}
