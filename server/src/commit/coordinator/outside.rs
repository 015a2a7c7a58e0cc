//! Coordinator: changes that others make in the storage. The log writer polls for them; what it
//! finds is published and announced between the server's own transactions.

use std::time::Instant;

use slog::{crit, info, warn};
use zeo_proto::Tid;
use zeo_storage::storage::{Outside, OutsideChange};

use super::Coordinator;
use super::finishing::Publication;
use crate::commit::log_writer::Task;
use crate::errors::exception_from;
use crate::messages::event::Event;
use crate::messages::notice::Notice;
use crate::messages::request::ClientId;
use crate::messages::rules;

impl Coordinator {
    /// Polls, for a client that wants to hear of it or because the storage has news.
    pub(super) fn poll(&mut self, client: Option<ClientId>) {
        if let Some(clients) = &mut self.polls.under_way
            && rules::polled_before_asking()
        {
            clients.extend(client);
        } else if self.parts.storage.outside().is_some() {
            self.polls.wanted.get_or_insert_default().extend(client);
            self.send_poll();
        } else if let Some(client) = client {
            self.post(client, Event::Polled(Ok(())));
        }
    }

    /// Polls if nobody has asked for it for too long.
    pub(crate) fn poll_when_due(&mut self) {
        let due = |due: Instant| due <= self.parts.clock.instant();
        if self.polls.due.is_some_and(due) {
            self.poll(None);
        }
    }

    fn send_poll(&mut self) {
        if self.polls.under_way.is_some() {
            return;
        }
        if let Some(clients) = self.polls.wanted.take() {
            let asked = self.polls.begin(clients);
            self.polls.due = None;
            if self.log_writer.send(Task::Poll { asked }).is_err() {
                crit!(self.parts.log, "the log writer has ended");
            }
        }
    }

    /// What a poll has found.
    pub(super) fn polled(&mut self, found: zeo_storage::Result<Vec<OutsideChange>>) {
        let result = match found {
            Ok(changes) => {
                if std::mem::take(&mut self.polls.failing) {
                    info!(self.parts.log, "changes made elsewhere can be read again");
                }
                self.publish_all(changes.iter().map(Publication::Others));
                Ok(())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.polls.failing, true) {
                    warn!(
                        self.parts.log,
                        "can't read the changes made elsewhere: {error}"
                    );
                }
                Err(Box::new(exception_from(&error)))
            }
        };
        for client in self.polls.under_way.take().unwrap_or_default() {
            self.post(client, Event::Polled(result.clone()));
        }
        // If it has failed, they can still read what is in memory.
        for newcomer in std::mem::take(&mut self.polls.entering) {
            self.enter(newcomer.client, newcomer.mailbox);
        }
        self.wait_for_next_poll();
        self.send_poll();
    }

    /// A report has come: for a while none is needed.
    pub(super) fn wait_for_next_poll(&mut self) {
        if self.polls.under_way.is_none()
            && let Some(outside) = self.parts.storage.outside()
        {
            let now = self.parts.clock.instant();
            self.polls.due = now.checked_add(outside.poll_interval());
        }
    }

    /// Publishes and announces a change by others.
    pub(super) fn publish_outside(&mut self, change: &OutsideChange) {
        match change {
            OutsideChange::Transaction { tid, oids } if *tid > self.published => {
                self.published = *tid;
                let publish = |this: &mut Self| {
                    this.outside(|outside| outside.publish_change(change));
                    this.invalidations.push(*tid, oids);
                };
                let announce = |this: &mut Self| this.tell(Notice::invalidate(*tid, oids), None);
                rules::publish_then_announce(self, publish, announce);
            }
            OutsideChange::Transaction { tid, .. } => {
                crit!(
                    self.parts.log,
                    "transaction {tid} made elsewhere comes after {}; all clients must verify their \
                     caches",
                    self.published
                );
                self.lose_track(*tid);
            }
            OutsideChange::Unknown { tid } => {
                warn!(
                    self.parts.log,
                    "it is not known what was changed elsewhere after {}; all clients must verify \
                     their caches",
                    self.published
                );
                self.lose_track(*tid);
            }
            OutsideChange::Renewed { .. } => self.make_all_verify(),
        }
    }

    /// Anything may have changed: from now on the last transaction is `tid`, or one that is later
    /// than all before, and every client comes back and finds that it has missed too much.
    pub(super) fn lose_track(&mut self, tid: Tid) {
        let tid = tid.later_than(self.published).unwrap_or(Tid::MAX);
        self.published = tid;
        self.outside(|outside| outside.publish_change(&OutsideChange::Unknown { tid }));
        self.invalidations.lose_track(tid);
        self.make_all_verify();
    }

    fn make_all_verify(&mut self) {
        let clients: Vec<ClientId> = self.clients.keys().copied().collect();
        for client in clients {
            self.close(client, "it must verify its cache");
        }
    }

    fn outside(&self, act: impl FnOnce(&dyn Outside)) {
        if let Some(outside) = self.parts.storage.outside() {
            act(outside);
        }
    }
}
