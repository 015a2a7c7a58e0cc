//! Calls that read, and those that are about the session itself.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use slog::info;
use zeo_proto::exception::Exception;
use zeo_proto::message::Call;
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::Storage;
use zeo_storage::storage::UndoEntry;

use super::helper::Wanted;
use super::undo_info::{Room, Specification};
use super::values::{current_record_value, history_value, undo_fields};
use super::{Answer, Outcome, Session};
use crate::errors::exception_from;
use crate::messages::notice::size_info;
use crate::messages::request::Request;
use crate::storages::ServedStorage;

/// A history of more revisions than this is walked on a helper thread.
const SHORT_HISTORY: usize = 20;
/// How many oids one call gives at most (Python's limit).
const MAX_NEW_OIDS: i64 = 100;
/// How many changed objects a client may catch up with that was away; behind
/// more, it is told nothing, so that it empties its cache.
const MAX_CHANGED: usize = 1_000_000;

impl Session {
    /// Does what a call asks for, once the client has registered.
    pub(super) fn answer(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        call: Call<'_>,
    ) -> Outcome {
        match call {
            Call::LoadBefore { oid, before } => self.load_before(storage, id, oid, before),
            Call::LoadSerial { oid, serial } => {
                let data = storage.storage.load_serial(oid, serial).map_err(raise)?;
                self.reply(id, &Value::bytes(&data));
                Ok(Answer::Written)
            }
            Call::GetTid { oid } => value(storage.storage.get_tid(oid).map_err(raise)?.into()),
            Call::LastTransaction => value(storage.storage.last_tid().into()),
            Call::GetInfo => value(get_info(storage)),
            Call::GetInvalidations { since } => self.get_invalidations(storage, id, since),
            Call::History { oid, size } => self.history(storage, id, oid, size),
            Call::RecordIternext { from } => {
                let record = storage.storage.record_iternext(from).map_err(raise)?;
                value(current_record_value(&record))
            }
            Call::UndoLog { first, last } => self.undo_log(storage, id, first, last, None),
            Call::UndoInfo {
                first,
                last,
                specification,
            } => {
                let specification = Specification::new(specification)?;
                self.undo_log(storage, id, first, last, specification)
            }
            Call::IteratorStart { start, stop } => self.iterator_start(storage, id, start, stop),
            Call::IteratorNext { id } => self.iterator_next(id),
            Call::IteratorRecordStart { id, tid } => self.iterator_record_start(id, tid),
            Call::IteratorRecordNext { id } => self.iterator_record_next(id),
            Call::IteratorGc { ids } => {
                self.iterators.drop_all(&ids);
                value(Value::None)
            }
            Call::NewOid => value(self.new_oids(storage, 1)?.pop().unwrap_or(Value::None)),
            Call::NewOids { count } => value(Value::List(self.new_oids(storage, count)?)),
            Call::ServerStatus => value(storage.status()),
            Call::SetClientLabel { label } => {
                self.set_label(&label);
                value(Value::None)
            }
            Call::Ping => value(Value::None),
            Call::Pack { time, wait } => self.pack(storage, id, time, wait),
            Call::StoreBlobStart => self.store_blob_start(storage),
            Call::StoreBlobChunk { chunk } => self.store_blob_chunk(&chunk),
            Call::SendBlob { oid, serial } => self.send_blob(storage, id, oid, serial),
            commit => self.commit_call(storage, id, commit),
        }
    }

    fn load_before(
        &mut self,
        storage: &ServedStorage,
        id: &Value<'static>,
        oid: Oid,
        before: Tid,
    ) -> Outcome {
        storage.stats.loads.fetch_add(1, Relaxed);
        let Some(found) = storage.storage.load_before(oid, before).map_err(raise)? else {
            return value(Value::None);
        };
        let next = found.next.map_or(Value::None, Value::from);
        let revision = vec![Value::bytes(&found.data), found.serial.into(), next];
        self.reply(id, &Value::Tuple(revision));
        Ok(Answer::Written)
    }

    fn get_invalidations(
        &mut self,
        storage: &ServedStorage,
        id: &Value<'static>,
        since: Tid,
    ) -> Outcome {
        if self.is_busy() {
            return Ok(Answer::Hold);
        }
        self.asked.push_back((id.clone(), since));
        self.ask(
            storage,
            Request::Invalidations {
                client: self.id,
                since,
            },
        );
        Ok(Answer::Later)
    }

    /// The coordinator's answer: from its queue, or else, for a client that
    /// was away not longer than the configured age, from the storage.
    pub(super) fn invalidations(&mut self, answer: Option<(Tid, Vec<Oid>)>) {
        let Some((id, since)) = self.asked.pop_front() else {
            return;
        };
        if let Some((last, oids)) = answer {
            info!(
                self.log,
                "Return {} invalidations up to tid {last}",
                oids.len()
            );
            let oids = oids.into_iter().map(Value::from).collect();
            return self.reply(&id, &Value::Tuple(vec![last.into(), Value::List(oids)]));
        }
        let super::Stage::Open(_, storage) = &self.stage else {
            return;
        };
        let storage = Arc::clone(storage);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let away = now.as_secs_f64() - since.unix_time();
        if self.settings.invalidation_age.is_none_or(|age| age <= away) {
            info!(
                self.log,
                "tid {since} is too old for the invalidation queue"
            );
            return self.reply(&id, &Value::None);
        }
        let walk = move |storage: &ServedStorage, wanted: &Wanted| {
            changed_since(&*storage.storage, since, MAX_CHANGED, wanted)
        };
        if let Err(exception) = self.answer_later(&storage, &id, walk) {
            self.reply_error(&id, &exception);
        }
    }

    fn history(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        oid: Oid,
        size: usize,
    ) -> Outcome {
        let walk = move |storage: &ServedStorage| {
            let entries = storage.storage.history(oid, size)?;
            Ok(Value::List(entries.iter().map(history_value).collect()))
        };
        if size <= SHORT_HISTORY {
            return value(walk(storage).map_err(raise)?);
        }
        self.answer_later(storage, id, move |storage, _| walk(storage))
    }

    /// `last` below zero is a count from `first` on.
    fn undo_log(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        first: i64,
        last: i64,
        specification: Option<Specification>,
    ) -> Outcome {
        if !storage.storage.capabilities().undo {
            return value(Value::Tuple(Vec::new()));
        }
        let last = if last < 0 {
            first.saturating_sub(last)
        } else {
            last
        };
        let range = [first, last].map(|n| usize::try_from(n.max(0)).unwrap_or(usize::MAX));
        let mut room = Room::behind(range[0]);
        self.answer_later(storage, id, move |storage, wanted| {
            let mut admits = |entry: &UndoEntry| {
                wanted.check()?;
                let specification = specification.as_ref();
                let is_wanted =
                    specification.is_none_or(|wanted| wanted.admits(&undo_fields(entry)));
                if is_wanted {
                    room.take(entry)?;
                }
                Ok(is_wanted)
            };
            let entries = storage.storage.undo_log(range[0], range[1], &mut admits)?;
            Ok(Value::List(
                entries
                    .iter()
                    .map(|entry| Value::Dict(undo_fields(entry)))
                    .collect(),
            ))
        })
    }

    fn new_oids(
        &self,
        storage: &ServedStorage,
        count: i64,
    ) -> Result<Vec<Value<'static>>, Exception> {
        if self.read_only {
            return Err(Exception::read_only());
        }
        let oids = (0..count.clamp(1, MAX_NEW_OIDS)).map(|_| storage.storage.new_oid());
        oids.map(|oid| oid.map(Value::from).map_err(raise))
            .collect()
    }
}

fn value(value: Value<'static>) -> Outcome {
    Ok(Answer::Value(value))
}

fn raise(error: zeo_storage::Error) -> Exception {
    exception_from(&error)
}

fn get_info(storage: &ServedStorage) -> Value<'static> {
    let able = storage.storage.capabilities();
    let names = able
        .interfaces
        .iter()
        .map(|(module, name)| Value::Tuple(vec![Value::str(module), Value::str(name)]));
    let Value::Dict(mut info) = size_info(storage.storage.len(), storage.storage.size()) else {
        return Value::None;
    };
    info.extend([
        (
            Value::str("name"),
            Value::Str(storage.storage.name().into()),
        ),
        (Value::str("supportsUndo"), Value::Bool(able.undo)),
        (
            Value::str("supports_record_iternext"),
            Value::Bool(able.record_iternext),
        ),
        (Value::str("interfaces"), Value::Tuple(names.collect())),
    ]);
    Value::Dict(info)
}

/// The last tid and all objects changed after `since`, from the file; none if
/// there are more than `most`.
fn changed_since(
    storage: &dyn Storage,
    since: Tid,
    most: usize,
    wanted: &Wanted,
) -> zeo_storage::Result<Value<'static>> {
    let mut last = None;
    let mut oids = std::collections::BTreeSet::new();
    let start = since.as_u64().checked_add(1).map(Tid::new);
    for transaction in storage.iterator(start, None)? {
        let transaction = transaction?;
        wanted.check()?;
        for record in (transaction.records)() {
            oids.insert(record?.oid);
            if oids.len() > most {
                return Ok(Value::None);
            }
        }
        last = Some(transaction.tid);
    }
    let last = last.map_or(Value::None, Value::from);
    Ok(match last {
        Value::None => Value::None,
        last => Value::Tuple(vec![
            last,
            Value::List(oids.into_iter().map(Value::from).collect()),
        ]),
    })
}

#[cfg(test)]
mod tests {
    use zeo_storage::MappingStorage;
    use zeo_storage::storage::{Commit, OnConflict, Op, TransactionMeta, Vote};

    use super::*;
    use crate::messages::mailbox::mailbox;

    #[test]
    fn a_client_that_missed_too_much_is_told_nothing() {
        let storage = MappingStorage::new("test").unwrap();
        for tid in 1..=3 {
            let (oid, data) = (Oid::new(tid), b"N.N.".to_vec());
            let serial = Tid::ZERO;
            let mut ops = [Ok(Op::Store { oid, serial, data })].into_iter();
            let status = b' ';
            let meta = TransactionMeta {
                status,
                ..TransactionMeta::default()
            };
            let vote = storage.prepare(&meta, &mut ops, OnConflict::Resolve);
            let Ok(Vote::Ready(prepared)) = vote else {
                panic!("{vote:?}");
            };
            let tid = Tid::new(tid);
            let mut batch = [Commit { tid, prepared }];
            storage.append(&mut batch).unwrap();
            storage.publish(&batch[0]);
        }
        let (mailbox, _inbox) = mailbox().unwrap();
        let wanted = Wanted::by(mailbox);
        let changed = |since, most| {
            let since = Tid::new(since);
            changed_since(&storage, since, most, &wanted).unwrap()
        };
        let oids = [2, 3].map(|oid| Oid::new(oid).into()).to_vec();
        let all = Value::Tuple(vec![Tid::new(3).into(), Value::List(oids)]);
        assert_eq!(changed(1, 2), all);
        assert_eq!(changed(1, 1), Value::None);
        assert_eq!(changed(3, 1), Value::None, "nothing is new");
    }
}
