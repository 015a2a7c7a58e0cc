//! Coordinator: finishes. Tids are given out, transactions handed to the log writer, and when they
//! are durable, published and announced in the order of their tids.

use std::sync::atomic::Ordering::Relaxed;

use slog::{crit, error, info, warn};
use zeo_proto::Tid;
use zeo_proto::exception::Exception;
use zeo_storage::Error;
use zeo_storage::storage::{Commit, OutsideChange, Prepared};

use super::{Coordinator, State};
use crate::commit::log_writer::{PendingCommit, Task};
use crate::errors::exception_from;
use crate::messages::event::Event;
use crate::messages::request::ClientId;
use crate::messages::rules;

/// A clock that was set back by less is not worth a line in the log.
const BEHIND_SECONDS: f64 = 60.0;

/// A transaction that is to be published.
pub(super) enum Publication<'a> {
    /// One of a client of ours.
    Own(ClientId, &'a Commit),
    /// One of others.
    Others(&'a OutsideChange),
}

impl Publication<'_> {
    fn tid(&self) -> Tid {
        match self {
            Self::Own(_, commit) => commit.tid,
            Self::Others(change) => change.tid(),
        }
    }
}

impl Coordinator {
    /// Gives a transaction to the log writer, with its tid.
    pub(super) fn finish(&mut self, client: ClientId, prepared: Prepared, tid: Option<Tid>) {
        if !matches!(self.state(client), Some(State::Locked(_))) {
            // Its time ran out, and its locks are somebody else's.
            self.refuse(client, prepared, "transaction aborted");
            return;
        }
        let tid = match self.next_tid(tid) {
            Ok(tid) => tid,
            Err(why) => {
                self.refuse(client, prepared, &why);
                self.release(client);
                return;
            }
        };
        self.set_state(client, State::Finishing);
        self.finishing.insert(client);
        let queued = PendingCommit {
            client,
            commit: Commit { tid, prepared },
        };
        if self.log_writer.send(Task::Append(queued)).is_err() {
            crit!(self.parts.log, "the log writer has ended");
            self.fail_finish(client, Exception::transaction("the server is stopping"));
        }
    }

    /// Gives out a tid: `wanted`, if the client insists on one, else that of the clock, but later
    /// than the last one. None (zero) where the storage gives the tids.
    fn next_tid(&mut self, wanted: Option<Tid>) -> Result<Tid, String> {
        if self.parts.storage.outside().is_some() {
            return Ok(Tid::ZERO);
        }
        let now = Tid::from_time(self.parts.clock.now());
        if wanted.is_none() {
            self.look_at_clock(now);
        }
        let tid = wanted.unwrap_or(now);
        let is_late = wanted.is_none_or(|tid| tid > self.last_tid);
        let next = tid.later_than(self.last_tid).filter(|_| is_late);
        self.last_tid = next.ok_or_else(|| {
            let last = self.last_tid;
            format!("transaction {tid} is not later than the last one, {last}")
        })?;
        Ok(self.last_tid)
    }

    /// Tells when the clock has been set back, or the last transaction is from a time when it was
    /// wrong: tids are no times then. And when that is over.
    fn look_at_clock(&mut self, now: Tid) {
        let (last, log) = (self.last_tid, &self.parts.log);
        let behind = last.unix_time() - now.unix_time();
        if behind > BEHIND_SECONDS && !self.clock_behind {
            self.clock_behind = true;
            warn!(
                log,
                "the clock is {behind:.0} seconds behind the last transaction, {last}: was it set \
                 back? Until it has caught up, transactions get tids just after that one, \
                 and a pack by age leaves them as they are"
            );
        } else if behind <= 0.0 && self.clock_behind {
            self.clock_behind = false;
            info!(log, "the clock has caught up with the last transaction");
        }
    }

    /// The client is told after its transaction was dropped, so it can't have another
    /// one before that.
    fn refuse(&mut self, client: ClientId, prepared: Prepared, why: &str) {
        let why = Exception::transaction(why);
        let task = Task::Drop {
            client,
            prepared,
            why,
        };
        if self.log_writer.send(task).is_err() {
            crit!(self.parts.log, "the log writer has ended");
        }
    }

    /// Publishes what is durable now, and what others have changed meanwhile, in the order of
    /// tids; and then tells those whose transactions are refused.
    pub(super) fn appended(
        &mut self,
        clients: Vec<ClientId>,
        commits: &[Commit],
        refused: Vec<(ClientId, Error)>,
        outside: &[OutsideChange],
    ) {
        let own = clients.into_iter().zip(commits);
        let own = own.map(|(client, commit)| Publication::Own(client, commit));
        let mut all: Vec<_> = own.chain(outside.iter().map(Publication::Others)).collect();
        if self.parts.storage.outside().is_some() {
            all.sort_by_key(Publication::tid);
        }
        self.publish_all(all.into_iter());
        for (client, why) in refused {
            if why.is_conflict() {
                self.parts.stats.conflicts.fetch_add(1, Relaxed);
            }
            self.not_finished(client, &why);
        }
        self.wait_for_next_poll();
    }

    /// A batch was not appended, or it is not known whether it was.
    pub(super) fn not_appended(&mut self, clients: Vec<ClientId>, why: &Error) {
        match self.parts.storage.latched() {
            Some(_) => crit!(self.parts.log, "no more commits are accepted: {why}"),
            None => error!(self.parts.log, "commits failed: {why}"),
        }
        for client in clients {
            self.not_finished(client, why);
        }
    }

    /// A transaction was not appended, or it is not known whether it was: then nothing is said, since
    /// anything could be wrong.
    fn not_finished(&mut self, client: ClientId, why: &Error) {
        if !matches!(why, Error::Unsettled(_)) {
            return self.fail_finish(client, exception_from(why));
        }
        let next = self.end(client);
        self.close(
            client,
            "it is not known whether its transaction is committed",
        );
        self.grant_all(next);
    }

    /// Makes transactions visible and announces them, in this order.
    pub(super) fn publish_all<'a>(
        &mut self,
        all: impl DoubleEndedIterator<Item = Publication<'a>>,
    ) {
        for publication in rules::in_tid_order(all) {
            match publication {
                Publication::Own(client, commit) => self.publish(client, commit),
                Publication::Others(change) => self.publish_outside(change),
            }
        }
    }

    fn fail_finish(&mut self, client: ClientId, why: Exception) {
        let next = self.end(client);
        self.post(client, Event::FinishFailed(Box::new(why)));
        self.grant_all(next);
    }

    /// Makes a transaction visible, and only then announces it.
    fn publish(&mut self, committer: ClientId, commit: &Commit) {
        let (tid, oids) = (commit.tid, &commit.prepared.oids);
        if tid <= self.published {
            return self.publish_too_late(committer, commit);
        }
        self.published = tid;
        let publish = |this: &mut Self| {
            this.parts.storage.publish(commit);
            this.parts.stats.commits.fetch_add(1, Relaxed);
            this.invalidations.push(tid, oids);
            // Who is told finds the locks free; who gets them has been told.
            this.end(committer)
        };
        let announce = |this: &mut Self| this.announce(committer, tid, oids);
        let next = rules::publish_then_announce(self, publish, announce);
        // Behind the others: they may hear of it from the committer.
        self.post(committer, Event::Finished(tid));
        self.grant_all(next);
    }

    /// The storage has assigned a tid that is not later than all before: no client, nor the
    /// committer, may see the transaction in that order.
    fn publish_too_late(&mut self, committer: ClientId, commit: &Commit) {
        crit!(
            self.parts.log,
            "the storage has assigned the tid {} after {}; all clients must verify their caches",
            commit.tid,
            self.published
        );
        self.parts.storage.publish(commit);
        self.parts.stats.commits.fetch_add(1, Relaxed);
        let next = self.end(committer);
        self.lose_track(commit.tid);
        self.grant_all(next);
    }

    /// A client's transaction has ended, committed or not. Returns the clients that get
    /// their locks now.
    pub(super) fn end(&mut self, client: ClientId) -> Vec<ClientId> {
        self.finishing.remove(&client);
        self.set_state(client, State::Idle);
        let next = self.take_locks(client);
        self.note_locks();
        next
    }
}
