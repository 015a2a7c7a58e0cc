//! Reading transactions and their records ahead, over the server's iterators.
//!
//! A server answers one item a call, and its next item only behind the records of the one before
//! have been asked for. So one transaction a round trip is asked for, and of several transactions
//! one record each, while the program works on the first of them.
//!
//! Nothing is asked for behind the end of an iterator, which Python's servers log as an error. And
//! the end of the iterator over transactions is not asked for, nor is it given back before all
//! records have been read: with that, Python's servers close the file that these are read from.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use zeo_proto::marshal::Decode;
use zeo_proto::message::{Call, IteratedRecord, IteratedTransaction};
use zeo_proto::{Tid, Value};
use zeo_storage::storage::DataRecord;

use super::error::Error;
use super::in_flight::{Answer, Tag};
use super::link::Link;

/// How many transactions are read ahead.
const AHEAD_MAX: usize = 32;
/// How many bytes of records are read ahead.
const AHEAD_BYTES: usize = 4 << 20;

/// One iterator over transactions, and those over their records.
pub(super) struct Driver {
    link: Arc<Link>,
    /// The server's id of the iterator.
    iterator: u64,
    /// The server has forgotten it, since its end was asked for.
    ended: bool,
    /// The last transaction that is wanted.
    stop: Tid,
    sender: Sender<(Tag, Answer)>,
    receiver: Receiver<(Tag, Answer)>,
    /// Transactions that have come and were not taken yet.
    ahead: VecDeque<Result<(u64, IteratedTransaction<'static>), Error>>,
    /// How many transactions have come.
    count: u64,
    state: State,
    /// Of transactions whose records may still be wanted, by their numbers.
    records: HashMap<u64, Records>,
    /// How many bytes of records have come and were not taken yet.
    bytes: usize,
    /// What is to be sent.
    calls: Vec<(Tag, Call<'static>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Asked,
    /// There are no more.
    Over,
}

struct Records {
    /// The server's id of the iterator, once it is known.
    iterator: Option<u64>,
    come: VecDeque<Result<DataRecord, Error>>,
    state: State,
}

impl Driver {
    /// # Errors
    ///
    /// As of [`Link::call`].
    pub fn new(link: Arc<Link>, start: Option<Tid>, stop: Tid) -> Result<Self, Error> {
        let iterator = link.call(&Call::IteratorStart { start, stop: None })?;
        let (sender, receiver) = channel();
        let mut driver = Self {
            link,
            iterator,
            ended: false,
            stop,
            sender,
            receiver,
            ahead: VecDeque::new(),
            count: 0,
            state: match stop {
                Tid::ZERO => State::Over,
                _ => State::Idle,
            },
            records: HashMap::new(),
            bytes: 0,
            calls: Vec::new(),
        };
        driver.ask_next();
        driver.send();
        Ok(driver)
    }

    /// The next transaction, and its number.
    pub fn transaction(&mut self) -> Option<Result<(u64, IteratedTransaction<'static>), Error>> {
        loop {
            self.take_all();
            if let Some(next) = self.ahead.pop_front() {
                self.ask_next();
                self.send();
                return Some(next);
            }
            if self.state == State::Over {
                return None;
            }
            self.ask_next();
            self.send();
            self.take_one();
        }
    }

    /// The next record of the transaction of this number.
    pub fn record(&mut self, number: u64) -> Option<Result<DataRecord, Error>> {
        loop {
            self.take_all();
            let records = self.records.get_mut(&number)?;
            if let Some(next) = records.come.pop_front() {
                let size = next.as_ref().map_or(0, size);
                self.bytes = self.bytes.saturating_sub(size);
                self.ask_record(number);
                self.send();
                return Some(next);
            }
            if records.state == State::Over {
                self.records.remove(&number);
                return None;
            }
            self.ask_record(number);
            self.send();
            self.take_one();
        }
    }

    /// The records of this transaction are not wanted any more.
    pub fn forget(&mut self, number: u64) {
        let Some(records) = self.records.remove(&number) else {
            return;
        };
        let sizes = records.come.iter().flatten().map(size);
        self.bytes = self.bytes.saturating_sub(sizes.sum());
        if records.state != State::Over
            && let Some(id) = records.iterator
        {
            self.collect(id);
        }
    }

    /// Lets the server forget an iterator.
    fn collect(&self, id: u64) {
        // If it can't be sent, the server forgets all.
        let _ = self.link.send_async(&Call::IteratorGc { ids: vec![id] });
    }

    fn ask_next(&mut self) {
        if self.state == State::Idle && self.ahead.len() < AHEAD_MAX {
            self.state = State::Asked;
            let id = self.iterator;
            self.calls.push((Tag::Next, Call::IteratorNext { id }));
        }
    }

    fn ask_record(&mut self, number: u64) {
        if let Some(records) = self.records.get_mut(&number)
            && records.state == State::Idle
            && let Some(id) = records.iterator
        {
            records.state = State::Asked;
            let call = Call::IteratorRecordNext { id };
            self.calls.push((Tag::Record(number), call));
        }
    }

    fn send(&mut self) {
        if !self.calls.is_empty() {
            self.link
                .ask_all(std::mem::take(&mut self.calls), &self.sender);
        }
    }

    /// Takes the answers that have come.
    fn take_all(&mut self) {
        while let Ok((tag, answer)) = self.receiver.try_recv() {
            self.take(tag, answer);
        }
    }

    /// Waits for an answer. There is a question for sure.
    fn take_one(&mut self) {
        if let Some((tag, answer)) = self.link.receive("iterator_next", &self.receiver) {
            self.take(tag, answer);
        }
    }

    fn take(&mut self, tag: Tag, answer: Answer) {
        match tag {
            Tag::Next => {
                self.state = State::Idle;
                match self.decoded("iterator_next", answer) {
                    Ok(Some(transaction)) => self.begun(transaction),
                    Ok(None) => {
                        self.state = State::Over;
                        self.ended = true;
                    }
                    Err(why) => {
                        self.state = State::Over;
                        self.ahead.push_back(Err(why));
                    }
                }
            }
            Tag::Start(number) => {
                let id: Result<u64, _> = self.decoded("iterator_record_start", answer);
                match (self.records.get_mut(&number), id) {
                    (Some(records), Ok(id)) => records.iterator = Some(id),
                    (Some(records), Err(why)) => {
                        records.state = State::Over;
                        records.come.push_back(Err(why));
                    }
                    (None, Ok(id)) => self.collect(id),
                    (None, Err(_)) => {}
                }
                self.ask_ahead(number);
            }
            Tag::Record(number) => {
                let record = self.decoded("iterator_record_next", answer);
                let Some(records) = self.records.get_mut(&number) else {
                    return;
                };
                records.state = State::Idle;
                match record {
                    Ok(Some(record)) => {
                        let record = owned(record);
                        self.bytes += size(&record);
                        records.come.push_back(Ok(record));
                    }
                    Ok(None) => records.state = State::Over,
                    Err(why) => {
                        records.state = State::Over;
                        records.come.push_back(Err(why));
                    }
                }
                self.ask_ahead(number);
            }
        }
    }

    /// Asks for the next record before it is wanted.
    fn ask_ahead(&mut self, number: u64) {
        if self.bytes < AHEAD_BYTES {
            self.ask_record(number);
        }
    }

    fn begun(&mut self, transaction: IteratedTransaction<'static>) {
        if transaction.tid >= self.stop {
            self.state = State::Over;
        }
        if transaction.tid > self.stop {
            return;
        }
        let number = self.count;
        self.count += 1;
        let (id, tid) = (self.iterator, transaction.tid);
        let call = Call::IteratorRecordStart { id, tid };
        self.calls.push((Tag::Start(number), call));
        let records = Records {
            iterator: None,
            come: VecDeque::new(),
            state: State::Idle,
        };
        self.records.insert(number, records);
        self.ahead.push_back(Ok((number, transaction)));
        self.ask_next();
    }

    fn decoded<T: Decode<'static>>(
        &self,
        method: &'static str,
        answer: Answer,
    ) -> Result<T, Error> {
        let wrong = |why| self.link.misunderstood(method, why);
        T::decode(answer?).map_err(wrong)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let open = { self.records.values() }
            .filter(|records| records.state != State::Over)
            .filter_map(|records| records.iterator);
        let own = (!self.ended).then_some(self.iterator);
        let ids: Vec<u64> = open.chain(own).collect();
        if !ids.is_empty() {
            // If it can't be sent, the server forgets all.
            let _ = self.link.send_async(&Call::IteratorGc { ids });
        }
    }
}

fn owned(record: IteratedRecord<'static>) -> DataRecord {
    DataRecord {
        oid: record.oid,
        tid: record.tid,
        data: record.data.map(|data| Cow::into_owned(data).into()),
        data_txn: record.data_txn,
    }
}

fn size(record: &DataRecord) -> usize {
    record.data.as_ref().map_or(0, |data| data.len())
}

/// The extension as the pickle that stands in the file.
pub(super) fn extension(value: Value<'static>) -> Vec<u8> {
    use zeo_proto::pickle::{Memo, encode};
    match value {
        Value::Bytes(pickle) => pickle.into_owned(),
        Value::Dict(pairs) if pairs.is_empty() => Vec::new(),
        value => {
            let mut out = Vec::new();
            // What has come in a message can be written.
            let written = encode(&value, &mut out, Memo::Memoizing);
            written.map_or_else(|_| Vec::new(), |()| out)
        }
    }
}
