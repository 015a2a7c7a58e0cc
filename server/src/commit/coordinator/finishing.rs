//! Coordinator: finishes. Tids are given out, transactions handed to the log writer, and when they
//! are durable, published and announced in the order of their tids.

use std::sync::atomic::Ordering::Relaxed;

use slog::{crit, error};
use zeo_proto::Tid;
use zeo_proto::exception::Exception;
use zeo_storage::storage::{Commit, Prepared};

use super::{Coordinator, State};
use crate::commit::log_writer::{PendingCommit, Task};
use crate::errors::exception_from;
use crate::messages::event::Event;
use crate::messages::request::ClientId;
use crate::messages::rules;

impl Coordinator {
    /// Gives out the tid: after the clock and after the last one.
    pub(super) fn finish(&mut self, client: ClientId, prepared: Prepared, tid: Option<Tid>) {
        if !matches!(self.state(client), Some(State::Locked(_))) {
            // Its time ran out, and its locks are somebody else's.
            self.refuse(client, prepared, "transaction aborted");
            return;
        }
        let now = tid.unwrap_or_else(|| Tid::from_time(self.parts.clock.now()));
        let given = if tid.is_some() && now <= self.last_tid {
            None
        } else {
            Some(now)
        };
        let Some(tid) = given.and_then(|now| now.later_than(self.last_tid)) else {
            let why = format!(
                "transaction {now} is not later than the last one, {}",
                self.last_tid
            );
            self.refuse(client, prepared, &why);
            self.release(client);
            return;
        };
        self.last_tid = tid;
        self.set_state(client, State::Finishing);
        self.finishing.insert(client);
        let queued = PendingCommit {
            client,
            commit: Commit { tid, prepared },
        };
        if self.log_writer.send(Task::Append(queued)).is_err() {
            crit!(self.parts.log, "the log writer is gone");
            self.fail_finish(client, Exception::transaction("the server stops"));
        }
    }

    /// The client hears of it when its transaction is gone: so it has no other
    /// one before.
    fn refuse(&mut self, client: ClientId, prepared: Prepared, why: &str) {
        let why = Exception::transaction(why);
        let task = Task::Drop {
            client,
            prepared,
            why,
        };
        if self.log_writer.send(task).is_err() {
            crit!(self.parts.log, "the log writer is gone");
        }
    }

    pub(super) fn appended(
        &mut self,
        clients: Vec<ClientId>,
        commits: Vec<Commit>,
        result: zeo_storage::Result<()>,
    ) {
        match result {
            Ok(()) => {
                let finished = clients.into_iter().zip(&commits);
                for (client, commit) in rules::in_tid_order(finished) {
                    self.publish(client, commit);
                }
            }
            Err(error) => {
                match self.parts.storage.latched() {
                    Some(_) => crit!(self.parts.log, "no more commits are taken: {error}"),
                    None => error!(self.parts.log, "commits have failed: {error}"),
                }
                for client in clients {
                    self.fail_finish(client, exception_from(&error));
                }
            }
        }
    }

    fn fail_finish(&mut self, client: ClientId, why: Exception) {
        let next = self.end(client);
        self.post(client, Event::FinishFailed(why));
        self.grant_all(next);
    }

    /// Makes a transaction visible, and only then announces it.
    fn publish(&mut self, committer: ClientId, commit: &Commit) {
        let (tid, oids) = (commit.tid, &commit.prepared.oids);
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

    /// The transaction of a client is over, one way or the other. Returns
    /// whose turn it is now.
    pub(super) fn end(&mut self, client: ClientId) -> Vec<ClientId> {
        self.finishing.remove(&client);
        self.set_state(client, State::Idle);
        let next = self.locks.release(client);
        self.note_locks();
        next
    }
}
