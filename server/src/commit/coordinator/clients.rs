//! Coordinator: whom it serves, and how it tells them something: first into the mailboxes of all,
//! then every session is woken once, or is sent its notices while it sleeps.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use zeo_proto::{Oid, Tid};

use super::polls::Newcomer;
use super::{Client, Coordinator, State};
use crate::messages::event::Event;
use crate::messages::mailbox::{Mailbox, STOPPING};
use crate::messages::notice::Notice;
use crate::messages::request::{AtWork, ClientId};

/// How many clients may be gone while the log writer still has their
/// transactions. Without a limit, clients that connect, finish and leave while the
/// disk is stuck would fill the memory.
pub(super) const MAX_ORPHANS: usize = 256;
/// How long a client that registers waits for what others have committed.
const ENTER_MAX: Duration = Duration::from_secs(5);

impl Coordinator {
    /// Enters a client; where others commit too, when it is known what they have committed so far
    /// (rule 6), since it may have heard of that from another server.
    pub(super) fn subscribe(&mut self, client: ClientId, mailbox: Mailbox) {
        if self.parts.storage.outside().is_none() {
            return self.enter(client, mailbox);
        }
        let newcomer = Newcomer {
            client,
            mailbox,
            until: self.parts.clock.instant() + ENTER_MAX,
        };
        self.polls.add(newcomer);
        self.poll(None);
    }

    /// Enters those who have waited long enough for a poll: the storage can't be reached, or is slow.
    /// They begin with what the server knows, as all who are there.
    pub(crate) fn enter_when_due(&mut self) {
        for newcomer in self.polls.take_due(self.parts.clock.instant()) {
            self.enter(newcomer.client, newcomer.mailbox);
        }
    }

    /// Enters the client first and reads the last tid then, so that it
    /// misses nothing in between.
    pub(super) fn enter(&mut self, client: ClientId, mailbox: Mailbox) {
        if self.stopping.is_some() {
            mailbox.close(STOPPING);
            return;
        }
        if self.finishing.len() >= self.clients.len() + MAX_ORPHANS {
            mailbox.close("too many transactions wait for the disk");
            return;
        }
        self.clients.insert(
            client,
            Client {
                mailbox,
                state: State::Idle,
                at_work: AtWork::default(),
            },
        );
        if self.unsent.count > 0 {
            // It may stand in the ring before others.
            self.unsent.count += 1;
        }
        self.parts.stats.connections.fetch_add(1, Relaxed);
        self.post(client, Event::Registered(self.parts.storage.last_tid()));
    }

    pub(super) fn forget(&mut self, client: ClientId) {
        self.polls.forget(client);
        if self.clients.remove(&client).is_some() {
            self.parts.stats.connections.fetch_sub(1, Relaxed);
        }
        // What is being written goes on; its locks are released when it is.
        if !self.finishing.contains(&client) {
            self.release_locks(client);
        }
    }

    /// Closes a client's connection, for this reason: it comes back and verifies its cache.
    pub(super) fn close(&mut self, client: ClientId, reason: &'static str) {
        if let Some(entry) = self.clients.get(&client) {
            entry.mailbox.close(reason);
        }
        self.forget(client);
    }

    pub(super) fn state(&self, client: ClientId) -> Option<State> {
        self.clients.get(&client).map(|entry| entry.state)
    }

    pub(super) fn set_state(&mut self, client: ClientId, state: State) {
        if let Some(entry) = self.clients.get_mut(&client) {
            entry.state = state;
        }
    }

    pub(super) fn post(&mut self, client: ClientId, event: Event) {
        let full = self
            .clients
            .get(&client)
            .is_some_and(|entry| !entry.mailbox.post_quietly(event));
        if full {
            self.forget(client);
        } else {
            self.answered.push(client);
        }
    }

    pub(crate) fn announce(&mut self, committer: ClientId, tid: Tid, oids: &[Oid]) {
        if self.clients.len() <= usize::from(self.clients.contains_key(&committer)) {
            return;
        }
        self.tell(Notice::invalidate(tid, oids), Some(committer));
    }

    pub(super) fn tell(&mut self, notice: Notice, except: Option<ClientId>) {
        let notice = Arc::new(notice);
        let full: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|&(&client, _)| Some(client) != except)
            .filter(|(_, entry)| {
                !entry
                    .mailbox
                    .post_quietly(Event::Notice(Arc::clone(&notice)))
            })
            .map(|(&client, _)| client)
            .collect();
        full.into_iter().for_each(|client| self.forget(client));
        self.unsent.count = self.clients.len();
    }

    /// Wakes, once each, the sessions that have answers in their mailboxes.
    pub(super) fn wake(&mut self) {
        for client in self.answered.drain(..) {
            if let Some(entry) = self.clients.get(&client) {
                entry.mailbox.wake();
            }
        }
    }

    /// Sends notices to at most so many clients, or wakes their sessions, where some are left.
    pub(crate) fn send_notices(&mut self, most: usize) {
        let count = most.min(self.unsent.count);
        let (from, behind) = (self.unsent.next.., ..self.unsent.next);
        let ring = self.clients.range(from).chain(self.clients.range(behind));
        for (client, entry) in ring.take(count) {
            entry.mailbox.wake();
            self.unsent.next = client + 1;
        }
        self.unsent.count -= count;
    }

    /// Whether there are clients for [`Self::send_notices`].
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent.count > 0
    }
}
