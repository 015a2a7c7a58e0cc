//! Coordinator: the stop. Who has voted may finish, for a while; everybody else stays connected and
//! reads until then, but whoever votes now is disconnected: Python's clients retry such a
//! transaction when they are connected again.

use std::time::Instant;

use slog::{info, warn};

use super::{Coordinator, State};
use crate::messages::mailbox::STOPPING;
use crate::messages::request::ClientId;

impl Coordinator {
    /// Stops, at `until` at the latest, but for what the log writer has. Asked again, the earlier
    /// time counts.
    pub(super) fn stop(&mut self, until: Instant) {
        let before = self.stopping;
        self.stopping = Some(before.map_or(until, |first| first.min(until)));
        let waiting = |state| matches!(state, State::Waiting(_));
        for client in self.clients_in(waiting) {
            self.close(client, STOPPING);
        }
        let voted = self.clients_in(is_voting).len();
        if before.is_none() && voted > 0 {
            info!(
                self.parts.log,
                "stopping: waiting for {voted} transactions that have voted"
            );
        }
    }

    /// When there is no more waiting, if that is to come.
    pub(super) fn stop_due(&self) -> Option<Instant> {
        let now = self.parts.clock.instant();
        self.stopping.filter(|until| *until > now)
    }

    /// The server stops, and nobody is waited for any more.
    pub(crate) fn is_done(&self) -> bool {
        self.stopping.is_some()
            && self.finishing.is_empty()
            && (self.stop_due().is_none() || self.clients_in(is_voting).is_empty())
    }

    /// Closes all clients, behind all that was posted to them.
    pub(crate) fn close_all(&mut self) {
        for newcomer in self.polls.take_newcomers() {
            newcomer.mailbox.close(STOPPING);
        }
        let voted = self.clients_in(is_voting).len();
        if voted > 0 {
            warn!(
                self.parts.log,
                "{voted} transactions that have voted did not finish in time: they are aborted"
            );
        }
        for client in self.clients.values() {
            client.mailbox.close(STOPPING);
        }
    }

    fn clients_in(&self, wanted: impl Fn(State) -> bool) -> Vec<ClientId> {
        let clients = self.clients.iter();
        let wanted = clients.filter(|(_, entry)| wanted(entry.state));
        wanted.map(|(&client, _)| client).collect()
    }
}

fn is_voting(state: State) -> bool {
    matches!(state, State::Locked(_))
}
