//! Votes: locks asked for, granted, and given back, by their owners or when
//! their time has run out.

use std::sync::atomic::Ordering::Relaxed;

use slog::{crit, info};

use super::{Coordinator, State};
use crate::lock_table::{Claim, ClientId};
use crate::mailbox::Event;

impl Coordinator {
    pub(super) fn lock(&mut self, client: ClientId, vote: u64, claim: &Claim) {
        if self.stopping || self.state(client) != Some(State::Idle) {
            return;
        }
        self.set_state(client, State::Waiting(vote));
        if self.locks.claim(client, claim) {
            self.grant(client);
        } else {
            let waiting = self.locks.waiting();
            info!(self.parts.log, "a vote waits for locks; waiting: {waiting}");
        }
    }

    /// Tells a client that its locks are its own, from now until a deadline.
    fn grant(&mut self, client: ClientId) {
        let Some(State::Waiting(vote)) = self.state(client) else {
            return;
        };
        self.grants += 1;
        let now = self.parts.clock.instant();
        if let Some(deadline) = self
            .parts
            .timeout
            .and_then(|timeout| now.checked_add(timeout))
        {
            self.deadlines.push_back((deadline, client, self.grants));
        }
        self.set_state(client, State::Locked(self.grants));
        self.post(client, Event::Granted(vote));
    }

    pub(super) fn release(&mut self, client: ClientId) {
        if matches!(
            self.state(client),
            Some(State::Waiting(_) | State::Locked(_))
        ) {
            self.set_state(client, State::Idle);
            self.release_locks(client);
        }
    }

    pub(super) fn release_locks(&mut self, client: ClientId) {
        let next = self.locks.release(client);
        self.grant_all(next);
    }

    pub(super) fn grant_all(&mut self, clients: Vec<ClientId>) {
        clients.into_iter().for_each(|client| self.grant(client));
    }

    /// Aborts the transactions whose time has run out, and closes their
    /// clients.
    pub fn expire(&mut self) {
        let now = self.parts.clock.instant();
        while let Some(&(deadline, client, grant)) = self.deadlines.front() {
            let over = self.state(client) != Some(State::Locked(grant));
            if !over && deadline > now {
                return;
            }
            self.deadlines.pop_front();
            if !over {
                let timeout = self.parts.timeout.unwrap_or_default().as_secs_f64();
                crit!(self.parts.log, "Transaction timeout after {timeout} seconds";
                    "session" => client);
                if let Some(entry) = self.clients.get(&client) {
                    entry.mailbox.close("its transaction took too long");
                }
                self.forget(client);
                self.note_locks();
                self.wake();
            }
        }
    }

    pub(super) fn note_locks(&self) {
        self.parts
            .stats
            .waiting
            .store(self.locks.waiting() as u64, Relaxed);
        self.parts.stats.set_locked(self.locks.held() > 0);
    }
}
