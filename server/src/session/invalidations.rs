//! Session: `getInvalidations`, what a client that comes back has missed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use slog::{Logger, info, warn};
use zeo_proto::message::Invalidations;
use zeo_proto::{Tid, Value};
use zeo_storage::Storage;

use super::helper::ClientWatch;
use super::{Answer, Outcome, Session, Stage};
use crate::messages::event::Missed;
use crate::messages::request::Request;
use crate::settings::DEFAULT_QUEUE_SIZE;
use crate::status::outcomes::Verification;
use crate::storages::ServedStorage;

/// How many changed objects a returning client is told of. If there are more, the answer is None,
/// and the client drops its cache.
const MAX_CHANGED_OBJECTS: usize = 1_000_000;

/// How many transactions at the end of the storage are read for a client that was away for longer
/// than the queue reaches back, if no age is configured. It takes about 100 ms.
const REACH_TRANSACTIONS: usize = 16_384;
/// How many are read first; four times as many each time that it is not enough.
const FIRST_REACH_TRANSACTIONS: usize = 256;

/// How far back the storage is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Over the last transactions: [`REACH_TRANSACTIONS`].
    Transactions,
    /// To whatever is younger than the configured age.
    Age,
}

impl Session {
    /// Asks the coordinator what has changed since a tid; [`Self::invalidations`] goes on.
    pub(super) fn get_invalidations(
        &mut self,
        storage: &ServedStorage,
        id: &Value<'static>,
        since: Tid,
    ) -> Outcome {
        if self.is_busy() {
            return Ok(Answer::Hold);
        }
        self.asked.push_back((id.clone(), since));
        self.send(
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
    #[inline(never)]
    pub(super) fn invalidations(&mut self, missed: Missed) {
        let Some((id, since)) = self.asked.pop_front() else {
            return;
        };
        let queued = match missed {
            Missed::Objects(last, oids) => {
                let missed = Some(Invalidations { last, oids });
                log_answer(&self.log, since, missed.as_ref(), Verification::Queue);
                self.count_verification(Verification::Queue);
                return self.reply(&id, &missed);
            }
            Missed::Unknown => {
                info!(
                    self.log,
                    "it is not known what has changed since tid {since}; \
                     the client must drop its cache"
                );
                self.count_verification(Verification::Unknown);
                return self.reply(&id, &None::<Invalidations>);
            }
            Missed::Between(last, oids) => Some(Invalidations { last, oids }),
            Missed::TooMuch => None,
        };
        let Stage::Open(_, storage) = &self.stage else {
            return;
        };
        let storage = Arc::clone(storage);
        let reach = self.reach(since);
        if queued.is_none() && reach.is_none() {
            info!(
                self.log,
                "tid {since} is too old for the invalidation queue; \
                 the client must drop its cache"
            );
            self.count_verification(Verification::TooOld);
            return self.reply(&id, &());
        }
        let log = self.log.clone();
        let look = move |storage: &ServedStorage, client: &ClientWatch| {
            let (counts, storage) = (&storage.stats.verifications, &*storage.storage);
            let found = match queued {
                Some(missed) => Ok((Some(missed), Verification::Queue)),
                None => look_back(storage, since, reach == Some(Reach::Age), client),
            };
            let (mut missed, mut outcome) =
                found.inspect_err(|_| counts.count(Verification::Failed))?;
            // What can't be read now need not be lost.
            if missed.is_some() && storage.lacks(since).unwrap_or(false) {
                (missed, outcome) = (None, Verification::Lost);
            }
            counts.count(outcome);
            log_answer(&log, since, missed.as_ref(), outcome);
            Ok(missed)
        };
        if let Err(exception) = self.answer_later(&storage, &id, look) {
            self.reply_error(&id, &exception);
        }
    }

    /// How far the storage is read for a client that has missed more than the queue holds; `None`: not
    /// at all.
    fn reach(&self, since: Tid) -> Option<Reach> {
        let Some(age) = self.settings.invalidation_age else {
            // A queue that is configured to be shorter than the default asks for caches to be dropped.
            let is_long = self.settings.invalidation_queue_size >= DEFAULT_QUEUE_SIZE;
            return is_long.then_some(Reach::Transactions);
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let away = now.as_secs_f64() - since.unix_time();
        (age.as_secs_f64() > away).then_some(Reach::Age)
    }

    fn count_verification(&self, outcome: Verification) {
        if let Stage::Open(_, storage) = &self.stage {
            storage.stats.verifications.count(outcome);
        }
    }
}

/// Logs what a client is answered.
fn log_answer(log: &Logger, since: Tid, missed: Option<&Invalidations>, outcome: Verification) {
    match missed {
        Some(Invalidations { last, oids }) => {
            let from = match outcome {
                Verification::Queue => "",
                _ => ", from the end of the storage",
            };
            let count = oids.len();
            info!(log, "Return {count} invalidations up to tid {last}{from}");
        }
        None if outcome == Verification::Lost => warn!(
            log,
            "the client has seen tid {since}, and the storage has no such transaction, nor has a pack \
             removed it: it is lost, as after a backup was restored; the client must drop its cache"
        ),
        None => info!(
            log,
            "tid {since} is too old: too much has changed since; the client must drop its cache"
        ),
    }
}

/// What has changed since a tid, from the storage, and how that was found or not.
fn look_back(
    storage: &dyn Storage,
    since: Tid,
    by_age: bool,
    client: &ClientWatch,
) -> zeo_storage::Result<(Option<Invalidations>, Verification)> {
    let (missed, beyond) = if let Some(missed) = told_by_others(storage, since) {
        (Some(missed), Verification::Storage)
    } else if by_age {
        let missed = changed_since(storage, since, MAX_CHANGED_OBJECTS, client)?;
        (missed, Verification::TooMuch)
    } else {
        // Without an answer from the file, the client drops its cache, as ever.
        let missed = changed_recently(storage, since, client).unwrap_or_default();
        (missed, Verification::TooOld)
    };
    let is_found = missed.is_some();
    let outcome = if is_found {
        Verification::Storage
    } else {
        beyond
    };
    Ok((missed, outcome))
}

/// The same from those who change the storage, too, if they know.
fn told_by_others(storage: &dyn Storage, since: Tid) -> Option<Invalidations> {
    let found = storage.outside()?.changed_since(since).ok()??;
    let (last, oids) = found;
    Some(Invalidations { last, oids })
}

/// The last tid and all objects changed after `since`, from the file; none if
/// there are more than `most`.
fn changed_since(
    storage: &dyn Storage,
    since: Tid,
    most: usize,
    client: &ClientWatch,
) -> zeo_storage::Result<Option<Invalidations>> {
    let mut last = None;
    let mut oids = BTreeSet::new();
    let start = since.as_u64().checked_add(1).map(Tid::new);
    for transaction in storage.iterator(start, None)? {
        let transaction = transaction?;
        client.check()?;
        for record in (transaction.records)() {
            oids.insert(record?.oid);
            if oids.len() > most {
                return Ok(None);
            }
        }
        last = Some(transaction.tid);
    }
    Ok(last.map(|last| Invalidations {
        last,
        oids: oids.into_iter().collect(),
    }))
}

/// The last tid and all objects changed after `since`, if that is among the last transactions.
fn changed_recently(
    storage: &dyn Storage,
    since: Tid,
    client: &ClientWatch,
) -> zeo_storage::Result<Option<Invalidations>> {
    let (mut reach, mut before) = (FIRST_REACH_TRANSACTIONS, 0);
    loop {
        client.check()?;
        let recent = storage.last_invalidations(reach)?.unwrap_or_default();
        let (Some((oldest, _)), Some((last, _))) = (recent.first(), recent.last()) else {
            return Ok(None);
        };
        if *oldest <= since {
            let newer = recent.iter().filter(|(tid, _)| *tid > since);
            let oids: BTreeSet<_> = newer.flat_map(|(_, oids)| oids).copied().collect();
            let oids = oids.into_iter().collect();
            return Ok(Some(Invalidations { last: *last, oids }));
        }
        let objects: usize = recent.iter().map(|(_, oids)| oids.len()).sum();
        if reach >= REACH_TRANSACTIONS || recent.len() == before || objects > MAX_CHANGED_OBJECTS {
            return Ok(None);
        }
        (reach, before) = (reach * 4, recent.len());
    }
}

#[cfg(test)]
mod tests {
    use zeo_proto::Oid;
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
        let client = ClientWatch::over(mailbox);
        let changed = |since, most| {
            let since = Tid::new(since);
            changed_since(&storage, since, most, &client).unwrap()
        };
        let all = Invalidations {
            last: Tid::new(3),
            oids: [2, 3].map(Oid::new).to_vec(),
        };
        assert_eq!(changed(1, 2), Some(all));
        assert_eq!(changed(1, 1), None);
        assert_eq!(changed(3, 1), None, "nothing is new");
    }
}
