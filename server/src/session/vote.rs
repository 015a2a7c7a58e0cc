//! Session: the vote. Locks are asked for, and once they are granted, the transaction is
//! prepared, here or on a helper thread.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use slog::{debug, error, info};
use zeo_proto::Value;
use zeo_proto::exception::Exception;
use zeo_proto::message::Voted;
use zeo_storage::Error;
use zeo_storage::conflict::{Question, Resolver, Unmerged};
use zeo_storage::storage::{OnConflict, TransactionMeta, Vote};

use super::after_poll::AfterPoll;
use super::commit_log::CommitLog;
use super::transaction::Phase;
use super::{Answer, Outcome, Session, Stage};
use crate::errors::exception_from;
use crate::messages::request::{AtWork, Request};
use crate::settings::Settings;
use crate::status::client::Phase as Seen;
use crate::status::conflict_counts::Ending;
use crate::storages::ServedStorage;

/// A transaction with more steps or bytes than this is checked on a helper
/// thread, so that the session goes on with its mailbox.
const SMALL_VOTE_STEPS: u64 = 200;
const SMALL_VOTE_BYTES: u64 = 1 << 20;

/// A transaction whose locks are granted.
struct Preparation {
    storage: Arc<ServedStorage>,
    settings: Arc<Settings>,
    meta: TransactionMeta,
    at_work: AtWork,
    log: CommitLog,
}

impl Preparation {
    /// Prepares it.
    fn run(&mut self) -> zeo_storage::Result<Vote> {
        let settings = Arc::clone(&self.settings);
        let asking = settings.conflict_resolver.as_ref().map(|r| r.for_vote());
        self.prepare(asking.as_ref().map(|asking| asking as &dyn Resolver))
    }

    /// Prepares it without waiting for the conflict resolver; `None` when that would have to be
    /// asked.
    fn run_here(&mut self) -> Option<zeo_storage::Result<Vote>> {
        let later = Later::default();
        let resolver = self.settings.conflict_resolver.is_some();
        let vote = self.prepare(resolver.then_some(&later as &dyn Resolver));
        (!later.0.get()).then_some(vote)
    }

    fn prepare(&mut self, resolver: Option<&dyn Resolver>) -> zeo_storage::Result<Vote> {
        let on_conflict = if self.settings.client_conflict_resolution {
            OnConflict::Report
        } else {
            OnConflict::ResolveWith {
                resolver,
                compressed: None,
            }
        };
        let (storage, meta, log) = (&self.storage.storage, &self.meta, &mut self.log);
        self.at_work.during(|| {
            let mut steps = log.replay()?;
            storage.prepare(meta, &mut steps, on_conflict)
        })
    }
}

/// In place of the conflict resolver: whether it is needed.
#[derive(Default)]
struct Later(Cell<bool>);

impl Resolver for Later {
    fn resolve(&self, _: &Question<'_>) -> Result<Vec<u8>, Unmerged> {
        self.0.set(true);
        Err(Unmerged::Failed("not asked yet".to_owned()))
    }
}

impl Session {
    /// Asks for the locks; [`Self::granted`] goes on.
    pub(super) fn vote(
        &mut self,
        storage: &ServedStorage,
        call_id: &Value<'static>,
        id: &Value<'_>,
    ) -> Outcome {
        let number = self.next_vote();
        let transaction = self.current(id)?;
        match transaction.phase {
            Phase::Open => {}
            Phase::Voted(_) => return Err(Exception::transaction("Already voting (locked)")),
            Phase::Waiting(_) | Phase::Preparing(_) => {
                return Err(Exception::transaction("Already voting (waiting)"));
            }
            Phase::Finishing(_) => return Ok(Answer::Hold),
        }
        transaction.phase = Phase::Waiting(call_id.clone());
        transaction.vote = number;
        let claim = transaction.log.claim().clone();
        let at_work = transaction.at_work.clone();
        self.status.enter(Seen::Waiting);
        self.ask(
            storage,
            Request::Lock {
                client: self.id,
                vote: number,
                claim,
                at_work,
            },
        );
        Ok(Answer::Later)
    }

    /// The locks are granted: checks serials, resolves conflicts, lays the
    /// records out.
    #[inline(never)]
    pub(super) fn granted(&mut self, vote: u64) {
        let Stage::Open(_, storage) = &self.stage else {
            return;
        };
        let storage = Arc::clone(storage);
        // A grant that an abort has crossed is for nobody: the abort has
        // released its locks.
        let Some(transaction) = self.transaction.as_mut().filter(|t| t.vote == vote) else {
            return;
        };
        let Phase::Waiting(call_id) = &transaction.phase else {
            return;
        };
        transaction.phase = Phase::Preparing(call_id.clone());
        let waited = self.status.enter(Seen::Preparing);
        let log = std::mem::replace(&mut transaction.log, CommitLog::new(false));
        let small = log.steps() <= SMALL_VOTE_STEPS
            && log.bytes() <= SMALL_VOTE_BYTES
            && !log.claim().whole
            && !log.has_blobs()
            // Others are asked then, and may take their time.
            && !storage.is_remote();
        let mut preparation = Preparation {
            storage,
            settings: Arc::clone(&self.settings),
            meta: transaction.meta.clone(),
            at_work: transaction.at_work.clone(),
            log,
        };
        self.lock_wait_ended(&preparation.storage, waited);
        if small && let Some(vote) = preparation.run_here() {
            return self.prepared((preparation.log, vote));
        }
        let work = move || {
            let vote = preparation.run();
            (preparation.log, vote)
        };
        if let Err(exception) = self.spawn(work, Session::prepared) {
            self.vote_failed(exception);
        }
    }

    fn prepared(&mut self, (log, vote): (CommitLog, zeo_storage::Result<Vote>)) {
        let Stage::Open(_, storage) = &self.stage else {
            return;
        };
        let storage = Arc::clone(storage);
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        let Phase::Preparing(call_id) = &transaction.phase else {
            return;
        };
        let call_id = call_id.clone();
        transaction.log = log;
        let seen = match &vote {
            Ok(Vote::Ready(_)) => Seen::Voted,
            // It votes again, or its end is next.
            Ok(Vote::Conflicts(_)) | Err(_) => Seen::Open,
        };
        if let Some(took) = self.status.enter(seen) {
            storage.stats.durations.prepare.observe(took);
        }
        match vote {
            Ok(Vote::Ready(mut prepared)) => {
                let resolved = prepared.resolved.iter().map(|&oid| Voted::Resolved(oid));
                let resolved: Vec<_> = resolved.collect();
                let merged = std::mem::take(&mut prepared.merged);
                transaction.phase = Phase::Voted(prepared);
                self.count_resolved(&storage, &merged);
                self.reply(&call_id, &resolved);
            }
            Ok(Vote::Conflicts(conflicts)) => {
                transaction.phase = Phase::Open;
                self.ask(&storage, Request::Release { client: self.id });
                for conflict in &conflicts {
                    self.count_conflict(&storage, conflict, Ending::LeftToClient);
                }
                self.answer_after_poll(&storage, &call_id, AfterPoll::Conflicts(conflicts));
            }
            Err(error) => {
                if error.is_conflict() {
                    storage.stats.conflicts.fetch_add(1, Relaxed);
                    debug!(self.log, "conflict error {error}");
                }
                self.count_unresolved(&storage, &error);
                if matches!(error, Error::Io { .. } | Error::Corrupt { .. }) {
                    error!(self.log, "While voting: {error}");
                }
                self.vote_failed(exception_from(&error));
            }
        }
    }

    /// The client has closed its sending half. A client that was killed looks the same, so a vote
    /// that waits for locks is given up, in order not to hold up others.
    pub fn give_up_waiting(&mut self) {
        let Stage::Open(_, storage) = &self.stage else {
            return;
        };
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        let waits = matches!(transaction.phase, Phase::Waiting(_));
        if waits && !std::mem::replace(&mut transaction.gives_up, true) {
            let vote = transaction.vote;
            let storage = Arc::clone(storage);
            let client = self.id;
            self.ask(&storage, Request::GiveUp { client, vote });
        }
    }

    /// The coordinator has given up a vote that waited for locks.
    #[inline(never)]
    pub(super) fn given_up(&mut self, vote: u64) {
        let transaction = self.transaction.as_ref();
        let waits = transaction.is_some_and(|transaction| {
            transaction.vote == vote && matches!(transaction.phase, Phase::Waiting(_))
        });
        if waits && let Some(Phase::Waiting(call_id)) = self.drop_transaction("given up") {
            if let Stage::Open(_, storage) = &self.stage {
                storage.stats.aborts.fetch_add(1, Relaxed);
            }
            info!(
                self.log,
                "its vote waited for locks: given up, as the client has ended"
            );
            self.reply_error(&call_id, &Exception::transaction("aborted"));
        }
    }

    /// A vote that fails has aborted the transaction.
    fn vote_failed(&mut self, exception: Exception) {
        let Stage::Open(_, storage) = &self.stage else {
            return;
        };
        let storage = Arc::clone(storage);
        let aborted = self.drop_transaction("failed");
        self.ask(&storage, Request::Release { client: self.id });
        if let Some(Phase::Preparing(call_id)) = aborted {
            self.answer_after_poll(&storage, &call_id, AfterPoll::Failed(exception));
        }
    }

    fn next_vote(&mut self) -> u64 {
        self.votes += 1;
        self.votes
    }
}
