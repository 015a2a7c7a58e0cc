//! Session: loads, and the history of an object.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use zeo_proto::exception::Exception;
use zeo_proto::message::{Around, encode_reply_around};
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::storage::{OpenData, Revision};

use super::after_poll::AfterPoll;
use super::slow::LoadBegun;
use super::transaction::{Phase, Transaction};
use super::values::history_entry;
use super::{Answer, Outcome, Session, is_nobody};
use crate::errors::exception_from;
use crate::messages::rules;
use crate::storages::ServedStorage;

/// A history of more revisions than this is walked on a helper thread.
const SHORT_HISTORY_REVISIONS: usize = 20;

/// How often a helper looks for a revision that is changed meanwhile each time, before the session
/// does it itself.
const MAX_TRIES: u8 = 3;

/// Records from this size on, in bytes, are sent from where they are, without a copy.
const APART_BYTES: usize = if cfg!(test) { 32 } else { 64 * 1024 };

type Found = zeo_storage::Result<Option<Revision<OpenData>>>;

/// A load that is on its way.
struct Load {
    id: Value<'static>,
    oid: Oid,
    before: Tid,
    begun: LoadBegun,
    tries: u8,
}

/// Whether another machine has to be asked.
fn must_ask(storage: &ServedStorage, oid: Oid, before: Tid) -> bool {
    let outside = storage.storage.outside();
    storage.is_remote() && outside.is_some_and(|outside| outside.must_ask(oid, before))
}

impl Session {
    /// Finds the revision of an object that was current before a tid.
    pub(super) fn load_before(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        oid: Oid,
        before: Tid,
    ) -> Outcome {
        let ask = must_ask(storage, oid, before);
        if ask && (self.is_busy() || self.waits_for_polls()) {
            return Ok(Answer::Hold);
        }
        storage.stats.loads.fetch_add(1, Relaxed);
        self.status.loads.add(1);
        let begun = self.load_begins();
        if ask {
            if let Some(found) = self.load_here(storage, oid, before) {
                let outcome = self.answer_load(storage, id, Ok(Some(found)));
                self.load_ends(storage, begun, oid);
                return outcome;
            }
            let (storage, id) = (Arc::clone(storage), id.clone());
            let load = Load {
                id,
                oid,
                before,
                begun,
                tries: 0,
            };
            self.ask_for(storage, load)?;
            return Ok(Answer::Later);
        }
        let found = storage.storage.open_before(oid, before);
        let outcome = self.answer_load(storage, id, found);
        self.load_ends(storage, begun, oid);
        outcome
    }

    /// Asks another machine in this thread, if the client waits for nothing else. Events are left in the
    /// mailbox meanwhile, so that the answer comes before the invalidation of what it tells, as if it
    /// had been at hand.
    fn load_here(
        &mut self,
        storage: &ServedStorage,
        oid: Oid,
        before: Tid,
    ) -> Option<Revision<OpenData>> {
        if self.waits.is_left_to_helper() {
            return None;
        }
        let is_open = |transaction: &Transaction| matches!(transaction.phase, Phase::Open);
        let is_idle = self.jobs.is_empty()
            && self.asked.is_empty()
            && self.polling.is_empty()
            && !self.has_chunks()
            && self.transaction.as_ref().is_none_or(is_open)
            && !rules::helps_itself();
        if !is_idle {
            return None;
        }
        self.waits.wait();
        storage.storage.open_before_soon(oid, before)
    }

    /// Whether the session has waited for another machine since this was asked before.
    pub(crate) fn has_waited(&mut self) -> bool {
        self.waits.has_waited()
    }

    /// The client has asked for something while the session waited: it has several threads.
    pub(crate) fn was_wanted(&mut self) {
        self.waits.leave_to_helpers();
    }

    fn answer_load(
        &mut self,
        storage: &ServedStorage,
        id: &Value<'static>,
        found: Found,
    ) -> Outcome {
        match found {
            Ok(Some(found)) => {
                let (serial, next) = (found.serial, found.next);
                let around = Around::Revision { serial, next };
                self.answer_with_record(id, &around, found.data)
            }
            // Others may have packed it, since it was changed again: the client hears of that first.
            Ok(None) => {
                self.answer_after_poll(storage, id, AfterPoll::NoRevision);
                Ok(Answer::Later)
            }
            Err(why) => Err(exception_from(&why)),
        }
    }

    /// Has a helper load what another machine has to be asked for.
    fn ask_for(&mut self, storage: Arc<ServedStorage>, mut load: Load) -> Result<(), Exception> {
        load.tries += 1;
        let (asked, oid, before) = (Arc::clone(&storage), load.oid, load.before);
        self.spawn(
            move || {
                let last = asked.storage.last_tid();
                (last, asked.storage.open_before(oid, before))
            },
            move |session, (last, found)| session.asked_for(storage, load, last, found),
        )
    }

    /// What a helper has found when `last` was the last transaction. A revision that was current then
    /// may have got its invalidation meanwhile, which must not come before it: then it is looked for
    /// again.
    fn asked_for(&mut self, storage: Arc<ServedStorage>, load: Load, last: Tid, found: Found) {
        let is_current = matches!(&found, Ok(Some(found)) if found.next.is_none());
        let (oid, before) = (load.oid, load.before);
        let found = if !is_current || rules::still_the_last(last, &*storage.storage) {
            found
        } else if load.tries < MAX_TRIES && must_ask(&storage, oid, before) {
            let id = load.id.clone();
            if let Err(why) = self.ask_for(storage, load) {
                self.reply_error(&id, &why);
            }
            return;
        } else {
            storage.storage.open_before(oid, before)
        };
        if let Err(why) = self.answer_load(&storage, &load.id, found) {
            self.reply_error(&load.id, &why);
        }
        self.load_ends(&storage, load.begun, oid);
    }

    /// Finds the revision of an object that a transaction has stored.
    pub(super) fn load_serial(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        oid: Oid,
        serial: Tid,
    ) -> Outcome {
        self.answer_with_record_of(storage, id, move |storage| {
            let record = storage.storage.open_serial(oid, serial)?;
            Ok((Around::Record, record))
        })
    }

    /// Lists the latest revisions of an object, at most `size`.
    pub(super) fn history(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        oid: Oid,
        size: usize,
    ) -> Outcome {
        let encoding = self.encoding();
        let walk = move |storage: &ServedStorage| {
            let entries = storage.storage.history(oid, size)?;
            let entries = entries.iter().map(|entry| history_entry(entry, encoding));
            Ok(entries.collect::<Vec<_>>())
        };
        if size <= SHORT_HISTORY_REVISIONS && !storage.is_remote() {
            let entries = walk(storage).map_err(|why| exception_from(&why))?;
            return self.answer(id, &entries);
        }
        self.answer_later(storage, id, move |storage, _| walk(storage))
    }

    /// Replies to a call with a record at once.
    pub(super) fn answer_with_record(
        &mut self,
        id: &Value<'_>,
        around: &Around,
        record: OpenData,
    ) -> Outcome {
        self.reply_with_record(id, around, record);
        Ok(Answer::Written)
    }

    /// Replies with a record and what stands around it. The data of a large one are not copied.
    pub(super) fn reply_with_record(&mut self, id: &Value<'_>, around: &Around, record: OpenData) {
        let record = match record {
            OpenData::Read(data) if data.len() < APART_BYTES => {
                return self.reply(id, &around.with(&data));
            }
            large => large,
        };
        if is_nobody(id) {
            return;
        }
        let (encoding, id) = (self.encoding(), &*self.echoed(id));
        let buffer = self.output.buffer();
        match encode_reply_around(buffer, encoding, id, around, record.len()) {
            Ok(place) => self.output.insert(place, record),
            Err(why) => self.not_encoded(id, &why),
        }
    }
}
