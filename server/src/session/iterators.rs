//! Session: the calls of iterators, over transactions, and over the records of the transaction
//! that one of those has given last.

use std::sync::Arc;

use zeo_proto::exception::Exception;
use zeo_proto::marshal::Encoding;
use zeo_proto::message::{Around, IteratedRecord, IteratedTransaction};
use zeo_proto::{Tid, Value};
use zeo_storage::storage::{DataRecord, OpenData, TransactionRecord};

use super::open_iterators::Open;
use super::values::extension_value;
use super::{Answer, Outcome, Session};
use crate::errors::exception_from;
use crate::storages::ServedStorage;

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

    pub(super) fn iterator_next(&mut self, call_id: &Value<'static>, id: u64) -> Outcome {
        let encoding = self.encoding();
        let Open::Transactions { iter, last } = self.iterators.get(id)? else {
            return Err(Exception::type_error("not an iterator over transactions"));
        };
        match iter.next() {
            Some(Ok(transaction)) => {
                let iterated = iterated_transaction(&transaction, encoding);
                *last = Some(transaction);
                self.answer(call_id, &iterated)
            }
            Some(Err(error)) => Err(exception_from(&error)),
            None => {
                self.iterators.drop_all(&[id]);
                self.answer(call_id, &())
            }
        }
    }

    pub(super) fn iterator_record_start(
        &mut self,
        call_id: &Value<'static>,
        id: u64,
        tid: Tid,
    ) -> Outcome {
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
        let records = self.iterators.add(Open::Records(records))?;
        self.answer(call_id, &records)
    }

    fn answer_record(&mut self, call_id: &Value<'static>, record: DataRecord) -> Outcome {
        let (oid, tid, data_txn) = (record.oid, record.tid, record.data_txn);
        let Some(data) = record.data else {
            let data = None;
            let gone = IteratedRecord {
                oid,
                tid,
                data,
                data_txn,
            };
            return self.answer(call_id, &gone);
        };
        let around = Around::Iterated { oid, tid, data_txn };
        self.answer_with_record(call_id, &around, OpenData::Read(data))
    }

    pub(super) fn iterator_record_next(&mut self, call_id: &Value<'static>, id: u64) -> Outcome {
        let Open::Records(records) = self.iterators.get(id)? else {
            return Err(Exception::type_error("not an iterator over records"));
        };
        match records.next() {
            Some(Ok(record)) => self.answer_record(call_id, record),
            Some(Err(error)) => Err(exception_from(&error)),
            None => {
                self.iterators.drop_all(&[id]);
                self.answer(call_id, &())
            }
        }
    }
}

fn iterated_transaction(
    transaction: &TransactionRecord,
    encoding: Encoding,
) -> IteratedTransaction<'static> {
    let meta = &transaction.meta;
    IteratedTransaction {
        tid: transaction.tid,
        status: transaction.status,
        user: meta.user.clone().into(),
        description: meta.description.clone().into(),
        extension: extension_value(&meta.extension, encoding),
    }
}
