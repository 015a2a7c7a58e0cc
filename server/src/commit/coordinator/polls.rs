//! Polls for what others have changed in a storage.

use std::time::Instant;

use crate::messages::mailbox::Mailbox;
use crate::messages::request::ClientId;
use crate::messages::rules;

/// A client that is to be entered behind a poll: it begins with all that is committed, wherever it
/// was.
pub(super) struct Newcomer {
    pub(super) client: ClientId,
    pub(super) mailbox: Mailbox,
    /// Then it is entered without.
    pub(super) until: Instant,
}

/// When the storage is asked what others have changed, and for whom.
///
/// Never more than one poll is with the log writer. Who asks meanwhile waits for the next one: the
/// one under way may have begun before.
#[derive(Default)]
pub(super) struct Polls {
    /// Those who wait for the poll that the log writer has; `None`: it has none.
    pub(super) under_way: Option<Vec<ClientId>>,
    /// Those who wait for the next one; `None`: nobody wants it.
    pub(super) wanted: Option<Vec<ClientId>>,
    /// Who is entered when the poll under way has reported; each list in the order of time.
    pub(super) entering: Vec<Newcomer>,
    /// And when the next one has.
    newcomers: Vec<Newcomer>,
    /// When it is time for one that nobody has asked for.
    pub(super) due: Option<Instant>,
    /// The last one has failed.
    pub(super) failing: bool,
}

impl Polls {
    /// None yet; the first one is due then.
    pub fn starting(due: Option<Instant>) -> Self {
        Self {
            due,
            ..Self::default()
        }
    }

    /// A client waits for the next poll, to be entered then.
    pub fn add(&mut self, newcomer: Newcomer) {
        if self.under_way.is_some() && rules::polled_before_asking() {
            self.entering.push(newcomer);
        } else {
            self.newcomers.push(newcomer);
        }
    }

    /// A poll begins, for these clients and all who wait to be entered. Whether there are any.
    pub fn begin(&mut self, clients: Vec<ClientId>) -> bool {
        self.entering = std::mem::take(&mut self.newcomers);
        let asked = !clients.is_empty() || !self.entering.is_empty();
        self.under_way = Some(clients);
        asked
    }

    /// The client is gone before it was entered.
    pub fn forget(&mut self, client: ClientId) {
        self.entering.retain(|waits| waits.client != client);
        self.newcomers.retain(|waits| waits.client != client);
    }

    /// Takes out who does not wait any longer.
    pub fn take_due(&mut self, now: Instant) -> Vec<Newcomer> {
        let mut due = Vec::new();
        for list in [&mut self.entering, &mut self.newcomers] {
            let count = list.partition_point(|newcomer| newcomer.until <= now);
            due.extend(list.drain(..count));
        }
        due
    }

    /// Who is not entered any more, as the server stops.
    pub fn take_newcomers(&mut self) -> Vec<Newcomer> {
        let mut all = std::mem::take(&mut self.entering);
        all.append(&mut self.newcomers);
        all
    }

    /// When the next poll is due, or who waits for one is to be entered.
    pub fn due(&self) -> Option<Instant> {
        let first = |list: &[Newcomer]| list.first().map(|newcomer| newcomer.until);
        let waiting = first(&self.entering)
            .into_iter()
            .chain(first(&self.newcomers));
        waiting.chain(self.due).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::messages::mailbox::mailbox;

    fn add(polls: &mut Polls, clients: std::ops::Range<ClientId>, until: Instant) {
        for client in clients {
            let (mailbox, _) = mailbox().unwrap();
            polls.add(Newcomer {
                client,
                mailbox,
                until,
            });
        }
    }

    /// However many register, they wait for one poll, and nobody for longer than it may take.
    #[test]
    fn newcomers_share_a_poll() {
        let (mut polls, now) = (Polls::starting(None), Instant::now());
        let later = now + Duration::from_secs(5);
        add(&mut polls, 1..3, now);
        assert!(polls.begin(Vec::new()));
        // Too late for that one.
        add(&mut polls, 3..43, later);
        assert_eq!(polls.entering.len(), 2);
        assert_eq!(polls.due(), Some(now));
        polls.forget(1);
        let due = polls.take_due(now);
        assert_eq!(due.iter().map(|due| due.client).collect::<Vec<_>>(), [2]);
        assert_eq!(polls.due(), Some(later));
        polls.forget(42);
        assert!(polls.begin(Vec::new()) && polls.entering.len() == 39);
        assert_eq!(polls.take_newcomers().len(), 39);
        assert!(!polls.begin(Vec::new()) && polls.due().is_none());
    }
}
