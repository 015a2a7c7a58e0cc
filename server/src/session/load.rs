//! Session: loads, and the history of an object.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use zeo_proto::message::Revision;
use zeo_proto::{Oid, Tid, Value};

use super::values::history_entry;
use super::{Outcome, Session};
use crate::errors::exception_from;
use crate::storages::ServedStorage;

/// A history of more revisions than this is walked on a helper thread.
const SHORT_HISTORY_REVISIONS: usize = 20;

impl Session {
    /// Finds the revision of an object that was current before a tid. Its data is copied once,
    /// into the output.
    pub(super) fn load_before(
        &mut self,
        storage: &ServedStorage,
        id: &Value<'static>,
        oid: Oid,
        before: Tid,
    ) -> Outcome {
        storage.stats.loads.fetch_add(1, Relaxed);
        self.status.loads.add(1);
        let begun = self.load_begins();
        let found = storage.storage.load_before(oid, before);
        let outcome = match found {
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
        };
        self.load_ends(storage, begun, oid);
        outcome
    }

    /// Finds the revision of an object that a transaction has stored.
    pub(super) fn load_serial(
        &mut self,
        storage: &ServedStorage,
        id: &Value<'static>,
        oid: Oid,
        serial: Tid,
    ) -> Outcome {
        let data = storage
            .storage
            .load_serial(oid, serial)
            .map_err(|why| exception_from(&why))?;
        self.answer(id, &data.as_ref())
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
        if size <= SHORT_HISTORY_REVISIONS {
            let entries = walk(storage).map_err(|why| exception_from(&why))?;
            return self.answer(id, &entries);
        }
        self.answer_later(storage, id, move |storage, _| walk(storage))
    }
}
