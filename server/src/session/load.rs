//! Session: loads, and the history of an object.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use zeo_proto::exception::Exception;
use zeo_proto::marshal::{Encode, EncodeError, Encoder};
use zeo_proto::message::Revision;
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::storage::{self, Data};

use super::slow::LoadBegun;
use super::values::history_entry;
use super::{Answer, Outcome, Session};
use crate::errors::exception_from;
use crate::messages::rules;
use crate::storages::ServedStorage;

/// A history of more revisions than this is walked on a helper thread.
const SHORT_HISTORY_REVISIONS: usize = 20;

/// How often a helper looks for a revision that is changed meanwhile each time, before the session
/// does it itself.
const MAX_TRIES: u8 = 3;

type Loaded = zeo_storage::Result<Option<storage::Revision>>;

/// A load that is on its way.
struct Load {
    id: Value<'static>,
    oid: Oid,
    before: Tid,
    begun: LoadBegun,
    tries: u8,
}

/// A record, as it is sent.
struct Bytes(Data);

impl Encode for Bytes {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        self.0.encode(to)
    }
}

/// Whether another machine has to be asked.
fn must_ask(storage: &ServedStorage, oid: Oid, before: Tid) -> bool {
    let outside = storage.storage.outside();
    storage.is_remote() && outside.is_some_and(|outside| outside.must_ask(oid, before))
}

impl Session {
    /// Finds the revision of an object that was current before a tid. Its data is copied once,
    /// into the output.
    pub(super) fn load_before(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        oid: Oid,
        before: Tid,
    ) -> Outcome {
        let ask = must_ask(storage, oid, before);
        if ask && self.is_busy() {
            return Ok(Answer::Hold);
        }
        storage.stats.loads.fetch_add(1, Relaxed);
        self.status.loads.add(1);
        let begun = self.load_begins();
        if ask {
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
        let found = storage.storage.load_before(oid, before);
        let outcome = self.answer_load(id, found);
        self.load_ends(storage, begun, oid);
        outcome
    }

    fn answer_load(&mut self, id: &Value<'static>, found: Loaded) -> Outcome {
        match found {
            Ok(Some(found)) => {
                let revision = Revision {
                    data: Cow::Borrowed(&found.data),
                    serial: found.serial,
                    next: found.next,
                };
                self.answer(id, &revision)
            }
            Ok(None) => self.answer(id, &()),
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
                (last, asked.storage.load_before(oid, before))
            },
            move |session, (last, found)| session.asked_for(storage, load, last, found),
        )
    }

    /// What a helper has found when `last` was the last transaction. A revision that was current then
    /// may have got its invalidation meanwhile, which must not come before it: then it is looked for
    /// again.
    fn asked_for(&mut self, storage: Arc<ServedStorage>, load: Load, last: Tid, found: Loaded) {
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
            storage.storage.load_before(oid, before)
        };
        if let Err(why) = self.answer_load(&load.id, found) {
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
        self.answer_of(storage, id, move |storage| {
            let data = storage.storage.load_serial(oid, serial)?;
            Ok(Bytes(data))
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
}
