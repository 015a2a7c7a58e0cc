//! Coordinator: votes. Locks are asked for, granted, and given back, by their owners or when their
//! time has run out.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use slog::{crit, debug, warn};

use super::{Coordinator, Holder, State};
use crate::messages::event::Event;
use crate::messages::mailbox::STOPPING;
use crate::messages::request::{AtWork, Claim, ClientId};

/// Up to this many deadlines are kept without checking whether their transactions have ended.
const SPARE_DEADLINES: usize = 1000;
/// Who looks at a deadline so late was kept from it.
const LATE: Duration = Duration::from_millis(100);

impl Coordinator {
    pub(super) fn lock(&mut self, client: ClientId, vote: u64, claim: &Claim, at_work: AtWork) {
        if self.state(client) != Some(State::Idle) {
            return;
        }
        if self.stopping.is_some() {
            return self.close(client, STOPPING);
        }
        if let Some(entry) = self.clients.get_mut(&client) {
            entry.state = State::Waiting(vote);
            entry.at_work = at_work;
        }
        if self.locks.claim(client, claim) {
            self.grant(client);
        } else {
            let waiting = self.locks.waiting();
            self.log_waiting(waiting);
        }
    }

    /// Logs how many votes wait, at the levels of Python's server.
    fn log_waiting(&self, waiting: usize) {
        let log = &self.parts.log;
        match waiting {
            0..=3 => debug!(
                log,
                "a vote waits for locks; transactions waiting: {waiting}"
            ),
            4..=9 => warn!(
                log,
                "a vote waits for locks; transactions waiting: {waiting}"
            ),
            _ => crit!(
                log,
                "a vote waits for locks; transactions waiting: {waiting}"
            ),
        }
    }

    /// Tells a client that its locks are its own, from now until a deadline.
    fn grant(&mut self, client: ClientId) {
        let Some(State::Waiting(vote)) = self.state(client) else {
            return;
        };
        self.grants += 1;
        if let Some(deadline) = self.deadline() {
            self.drop_old_deadlines();
            self.deadlines.push_back((deadline, client, self.grants));
        }
        self.set_state(client, State::Locked(self.grants));
        self.holders.push_back(Holder {
            client,
            since: self.parts.clock.now(),
            granted: self.parts.clock.instant(),
        });
        self.post(client, Event::Granted(vote));
    }

    /// A transaction that holds its locks for long keeps the deadlines behind its
    /// own from being looked at; so those of transactions that have ended are
    /// removed before there are too many.
    fn drop_old_deadlines(&mut self) {
        if self.deadlines.len() > 2 * self.clients.len() + SPARE_DEADLINES {
            let clients = &self.clients;
            self.deadlines.retain(|(_, client, grant)| {
                let entry = clients.get(client);
                entry.is_some_and(|entry| entry.state == State::Locked(*grant))
            });
        }
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
        let next = self.take_locks(client);
        self.grant_all(next);
    }

    /// Takes a claim back, granted or not. Returns whose turn it is now.
    pub(super) fn take_locks(&mut self, client: ClientId) -> Vec<ClientId> {
        // The first one, as a rule.
        let place = self.holders.iter().position(|held| held.client == client);
        if let Some(held) = place.and_then(|place| self.holders.remove(place)) {
            let now = self.parts.clock.instant();
            let hold = now.saturating_duration_since(held.granted);
            self.parts.stats.durations.lock_hold.observe(hold);
        }
        self.locks.release(client)
    }

    /// Drops a vote that waits for locks, as nobody waits for it any more: it
    /// is not to hold up those behind it.
    pub(super) fn give_up(&mut self, client: ClientId, vote: u64) {
        if self.state(client) == Some(State::Waiting(vote)) {
            self.release(client);
            self.post(client, Event::GivenUp(vote));
        }
    }

    pub(super) fn grant_all(&mut self, clients: Vec<ClientId>) {
        clients.into_iter().for_each(|client| self.grant(client));
    }

    /// Aborts the transactions whose time has run out, and closes their
    /// clients. A vote that the server is still at work on (a disk may stand
    /// still, or the transaction be very large) gets its time once more; so does
    /// one whose time ran out while the server did not run (it was stopped, or its
    /// machine suspended): its client's `tpc_finish` may wait in the socket.
    pub fn expire(&mut self) {
        let now = self.parts.clock.instant();
        while let Some(&(deadline, client, grant)) = self.deadlines.front() {
            let holds = self.state(client) == Some(State::Locked(grant));
            if holds && deadline > now {
                return;
            }
            self.deadlines.pop_front();
            if !holds {
                continue;
            }
            let at_work = (self.clients.get(&client)).is_some_and(|c| c.at_work.is_set());
            match self.deadline() {
                Some(later) if at_work => self.deadlines.push_back((later, client, grant)),
                Some(later) if now - deadline > LATE => {
                    let late = (now - deadline).as_secs_f64();
                    warn!(self.parts.log, "a transaction's time ran out {late:.1} seconds ago, while \
                        the server did not run (was it stopped, or its machine suspended?): \
                        it gets that time once more"; "session" => client);
                    self.deadlines.push_back((later, client, grant));
                }
                _ => self.time_out(client),
            }
        }
    }

    fn time_out(&mut self, client: ClientId) {
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

    /// The deadline of a transaction that is granted its locks now.
    fn deadline(&self) -> Option<Instant> {
        let timeout = self.parts.timeout?;
        self.parts.clock.instant().checked_add(timeout)
    }

    pub(super) fn note_locks(&self) {
        self.parts
            .stats
            .waiting
            .store(self.locks.waiting() as u64, Relaxed);
        let oldest = self.holders.front();
        self.parts
            .stats
            .set_lock_time(oldest.map(|held| held.since));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock, Mutex};
    use std::time::SystemTime;

    use slog::{Discard, Logger, o};
    use zeo_proto::Oid;
    use zeo_storage::MappingStorage;
    use zeo_storage::storage::{OnConflict, TransactionMeta, Vote};

    use super::super::Parts;
    use super::super::clients::MAX_ORPHANS;
    use super::*;
    use crate::commit::clock::Clock;
    use crate::messages::channel::unbounded;
    use crate::messages::mailbox::{Inbox, Mailbox, mailbox};
    use crate::messages::request::Request;
    use crate::status::stats::Stats;

    /// A clock that the test winds.
    #[derive(Default)]
    struct Wound(Mutex<Duration>);

    impl Clock for Wound {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + *self.0.lock().unwrap()
        }

        fn instant(&self) -> Instant {
            static START: LazyLock<Instant> = LazyLock::new(Instant::now);
            *START + *self.0.lock().unwrap()
        }
    }

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// A coordinator with the clients 1 and 2, and their mailboxes.
    fn coordinator() -> (Coordinator, Arc<Wound>, [(Mailbox, Inbox); 2]) {
        let clock = Arc::new(Wound::default());
        let parts = Parts {
            storage: Arc::new(MappingStorage::new("test").unwrap()),
            stats: Arc::new(Stats::new(true)),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            log: Logger::root(Discard, o!()),
            timeout: Some(TIMEOUT),
            queue_size: 10,
        };
        let mut coordinator = Coordinator::new(parts, unbounded().0).unwrap();
        let clients = [1, 2].map(|client| {
            let (mailbox, inbox) = mailbox().unwrap();
            let subscriber = mailbox.clone();
            coordinator.handle(Request::Subscribe {
                client,
                mailbox: subscriber,
            });
            (mailbox, inbox)
        });
        (coordinator, clock, clients)
    }

    fn lock(client: ClientId, vote: u64) -> Request {
        lock_while(client, vote, AtWork::default())
    }

    fn lock_while(client: ClientId, vote: u64, at_work: AtWork) -> Request {
        let claim = Claim {
            stored: vec![Oid::new(client)],
            ..Claim::default()
        };
        Request::Lock {
            client,
            vote,
            claim,
            at_work,
        }
    }

    #[test]
    fn who_holds_its_locks_for_long_makes_nobody_elses_deadlines_stay() {
        let (mut coordinator, _clock, _clients) = coordinator();
        coordinator.handle(lock(1, 1));
        let first = coordinator.deadlines[0];
        for vote in 0..3 * SPARE_DEADLINES as u64 {
            coordinator.handle(lock(2, vote));
            coordinator.handle(Request::Release { client: 2 });
            coordinator.expire();
        }
        assert!(coordinator.deadlines.len() <= SPARE_DEADLINES + 10);
        assert_eq!(coordinator.deadlines[0], first);
    }

    #[test]
    fn a_clients_time_does_not_run_while_the_server_is_at_work() {
        let (mut coordinator, clock, clients) = coordinator();
        let first_vote = AtWork::default();
        coordinator.handle(lock_while(1, 1, first_vote.clone()));
        coordinator.handle(lock(2, 1));
        let [(first, _), (second, _)] = &clients;
        let mut wind = |time: Duration| {
            *clock.0.lock().unwrap() += time;
            coordinator.expire();
            [first.is_closed(), second.is_closed()]
        };
        assert_eq!(wind(TIMEOUT / 2), [false, false]);
        let found = first_vote.during(|| [wind(TIMEOUT / 2), wind(TIMEOUT)]);
        assert_eq!(found, [[false, true]; 2], "the second was at rest");
        assert_eq!(wind(TIMEOUT / 2), [false, true]);
        assert_eq!(wind(TIMEOUT / 2), [true, true]);
        assert!(coordinator.deadlines.is_empty());
    }

    #[test]
    fn a_clients_time_does_not_run_out_while_the_server_is_stopped() {
        let (mut coordinator, clock, clients) = coordinator();
        let wind = |coordinator: &mut Coordinator, time: Duration| {
            *clock.0.lock().unwrap() += time;
            coordinator.expire();
            clients.each_ref().map(|(mailbox, _)| mailbox.is_closed())
        };
        coordinator.handle(lock(1, 1));
        wind(&mut coordinator, TIMEOUT / 2);
        coordinator.handle(lock(2, 1));
        assert_eq!(wind(&mut coordinator, TIMEOUT * 100), [false, false]);
        assert_eq!(wind(&mut coordinator, TIMEOUT / 2), [false, false]);
        coordinator.handle(Request::Release { client: 2 });
        assert_eq!(wind(&mut coordinator, TIMEOUT / 2), [true, false]);
        assert!(coordinator.deadlines.is_empty());
    }

    /// A client that finishes a transaction and goes; whether it was turned
    /// away.
    fn come_and_go(coordinator: &mut Coordinator, client: ClientId) -> bool {
        let (mailbox, _inbox) = mailbox().unwrap();
        let subscriber = mailbox.clone();
        coordinator.handle(Request::Subscribe {
            client,
            mailbox: subscriber,
        });
        coordinator.handle(lock(client, 1));
        let status = b' ';
        let meta = TransactionMeta {
            status,
            ..TransactionMeta::default()
        };
        let storage = &coordinator.parts.storage;
        let vote = storage.prepare(&meta, &mut std::iter::empty(), OnConflict::Resolve);
        let Ok(Vote::Ready(prepared)) = vote else {
            panic!("{vote:?}");
        };
        coordinator.handle(Request::Finish {
            client,
            prepared,
            tid: None,
        });
        coordinator.handle(Request::Unsubscribe { client });
        mailbox.is_closed()
    }

    #[test]
    fn clients_that_finish_and_go_do_not_pile_up() {
        let (mut coordinator, ..) = coordinator();
        let (writer, _queue) = unbounded();
        coordinator.log_writer = writer;
        let turned_away = (10..10_000).find(|&client| come_and_go(&mut coordinator, client));
        assert!(turned_away.unwrap() < 10 + 2 * MAX_ORPHANS as u64);
        // The disk is back.
        let finishing = std::mem::take(&mut coordinator.finishing);
        for client in finishing {
            coordinator.end(client);
        }
        assert!(!come_and_go(&mut coordinator, 10_001));
    }
}
