//! The one loop of a storage that owns object locks, tids, deadlines, and
//! the order in which transactions become visible and are announced.
//!
//! It never reads object data, never waits for a disk and never for a client:
//! it takes a [`Request`], changes its own state, and posts to mailboxes and
//! to the log writer. See `THREADS.md` for the rules that it keeps.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use slog::{Logger, crit, info};
use zeo_proto::exception::Exception;
use zeo_proto::{Oid, Tid};
use zeo_storage::Storage;
use zeo_storage::storage::{Commit, Prepared};

use crate::channel::{Receiver, RecvTimeoutError, Sender};
use crate::clock::Clock;
use crate::errors::exception_from;
use crate::invalidations::Invalidations;
use crate::lock_table::{Claim, ClientId, LockTable};
use crate::log_writer::Queued;
use crate::mailbox::{Event, Mailbox};
use crate::notice::Notice;
use crate::order::{Rule, is_broken};
pub use crate::request::Request;
use crate::stats::Stats;

struct Client {
    mailbox: Mailbox,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// For the locks of this vote.
    Waiting(u64),
    /// Holds its locks, by the grant of this number.
    Locked(u64),
    /// Handed to the log writer: can't be aborted any more.
    Finishing,
}

/// What a coordinator works with.
pub struct Parts {
    /// The storage.
    pub storage: Arc<dyn Storage>,
    /// Its counters.
    pub stats: Arc<Stats>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The log.
    pub log: Logger,
    /// How long a transaction may hold its locks before it finishes.
    pub timeout: Option<Duration>,
    /// How many transactions to keep for clients that come back.
    pub queue_size: usize,
}

/// The state of the loop.
pub struct Coordinator {
    parts: Parts,
    clients: HashMap<ClientId, Client>,
    locks: LockTable,
    /// When locks run out, in the order of grants; entries of grants that
    /// have ended are skipped.
    deadlines: VecDeque<(Instant, ClientId, u64)>,
    grants: u64,
    invalidations: Invalidations,
    /// The last tid given out.
    last_tid: Tid,
    log_writer: Sender<Queued>,
    /// Whose transactions the log writer has. A client may be gone by now:
    /// then its locks, which last until the end, are all that is left of it.
    finishing: HashSet<ClientId>,
    stopping: bool,
    /// Who has an answer in its mailbox and is to be woken.
    answered: Vec<ClientId>,
    /// Everybody is to be woken: there are invalidations.
    announced: bool,
}

impl Coordinator {
    /// A coordinator that gives its transactions to `log_writer`.
    pub fn new(parts: Parts, log_writer: Sender<Queued>) -> zeo_storage::Result<Self> {
        let last_tid = parts.storage.last_tid();
        let known = parts.storage.last_invalidations(parts.queue_size)?;
        Ok(Self {
            clients: HashMap::new(),
            locks: LockTable::default(),
            deadlines: VecDeque::new(),
            grants: 0,
            invalidations: Invalidations::new(parts.queue_size, last_tid, known),
            last_tid,
            log_writer,
            finishing: HashSet::new(),
            stopping: false,
            answered: Vec::new(),
            announced: false,
            parts,
        })
    }

    /// Takes requests until it is stopped and nothing is in flight.
    pub fn run(mut self, requests: &Receiver<Request>) {
        while !(self.stopping && self.finishing.is_empty()) {
            match self.next_request(requests) {
                Ok(request) => self.handle(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.expire();
        }
        for client in self.clients.values() {
            client.mailbox.close("the server stops");
        }
    }

    fn next_request(&self, requests: &Receiver<Request>) -> Result<Request, RecvTimeoutError> {
        requests.recv(self.deadlines.front().map(|&(deadline, ..)| deadline))
    }

    /// Does what one request asks for.
    pub fn handle(&mut self, request: Request) {
        match request {
            Request::Subscribe { client, mailbox } => self.subscribe(client, mailbox),
            Request::Unsubscribe { client } => self.forget(client),
            Request::Lock {
                client,
                vote,
                claim,
            } => self.lock(client, vote, &claim),
            Request::Release { client } => self.release(client),
            Request::Finish {
                client,
                prepared,
                tid,
            } => self.finish(client, prepared, tid),
            Request::Invalidations { client, since } => {
                let answer = self.invalidations.since(since);
                self.post(client, Event::Invalidations(answer));
            }
            Request::Appended {
                clients,
                commits,
                result,
            } => {
                self.appended(clients, commits, result);
            }
            Request::TellSizes { told } => {
                let storage = &self.parts.storage;
                let notice = Notice::info(storage.len(), storage.size());
                self.tell(notice, None);
                // Who has asked may be gone.
                let _ = told.try_send(());
            }
            Request::Stop => self.stop(),
        }
        self.note_locks();
        self.wake();
    }

    /// Wakes, once each, the sessions that something was posted to: those
    /// that wait for an answer first.
    fn wake(&mut self) {
        for client in self.answered.drain(..) {
            if let Some(entry) = self.clients.get(&client) {
                entry.mailbox.wake();
            }
        }
        if std::mem::take(&mut self.announced) {
            self.clients.values().for_each(|entry| entry.mailbox.wake());
        }
    }

    /// Enters the client first and reads the last tid then, so that it
    /// misses nothing in between.
    fn subscribe(&mut self, client: ClientId, mailbox: Mailbox) {
        if self.stopping {
            mailbox.close("the server stops");
            return;
        }
        self.clients.insert(
            client,
            Client {
                mailbox,
                state: State::Idle,
            },
        );
        self.parts.stats.connections.fetch_add(1, Relaxed);
        self.post(client, Event::Registered(self.parts.storage.last_tid()));
    }

    fn forget(&mut self, client: ClientId) {
        if self.clients.remove(&client).is_some() {
            self.parts.stats.connections.fetch_sub(1, Relaxed);
        }
        // What is being written goes on; its locks are released when it is.
        if !self.finishing.contains(&client) {
            self.release_locks(client);
        }
    }

    fn lock(&mut self, client: ClientId, vote: u64, claim: &Claim) {
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

    fn release(&mut self, client: ClientId) {
        if matches!(
            self.state(client),
            Some(State::Waiting(_) | State::Locked(_))
        ) {
            self.set_state(client, State::Idle);
            self.release_locks(client);
        }
    }

    fn release_locks(&mut self, client: ClientId) {
        let next = self.locks.release(client);
        self.grant_all(next);
    }

    fn grant_all(&mut self, clients: Vec<ClientId>) {
        clients.into_iter().for_each(|client| self.grant(client));
    }

    /// Gives out the tid: after the clock and after the last one.
    fn finish(&mut self, client: ClientId, prepared: Prepared, tid: Option<Tid>) {
        if !matches!(self.state(client), Some(State::Locked(_))) {
            // Its time ran out, and its locks are somebody else's.
            self.post(
                client,
                Event::FinishFailed(Exception::transaction("transaction aborted")),
            );
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
            self.post(client, Event::FinishFailed(Exception::transaction(why)));
            self.release(client);
            return;
        };
        self.last_tid = tid;
        self.set_state(client, State::Finishing);
        self.finishing.insert(client);
        let queued = Queued {
            client,
            commit: Commit { tid, prepared },
        };
        if self.log_writer.send(queued).is_err() {
            crit!(self.parts.log, "the log writer is gone");
            self.fail_finish(client, Exception::transaction("the server stops"));
        }
    }

    fn appended(
        &mut self,
        clients: Vec<ClientId>,
        commits: Vec<Commit>,
        result: zeo_storage::Result<()>,
    ) {
        match result {
            Ok(()) => {
                let mut pairs: Vec<_> = clients.into_iter().zip(&commits).collect();
                if is_broken(Rule::MailboxInTidOrder) {
                    pairs.reverse();
                }
                pairs
                    .into_iter()
                    .for_each(|(client, commit)| self.publish(client, commit));
            }
            Err(error) => {
                crit!(self.parts.log, "no more commits are taken: {error}");
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
        if is_broken(Rule::PublishThenAnnounce) {
            self.announce(committer, tid, oids);
        }
        self.parts.storage.publish(commit);
        self.parts.stats.commits.fetch_add(1, Relaxed);
        self.invalidations.push(tid, oids);
        // Who is told finds the locks free; who gets them has been told.
        let next = self.end(committer);
        self.post(committer, Event::Finished(tid));
        if !is_broken(Rule::PublishThenAnnounce) {
            self.announce(committer, tid, oids);
        }
        self.grant_all(next);
    }

    pub(crate) fn announce(&mut self, committer: ClientId, tid: Tid, oids: &[Oid]) {
        if self.clients.len() <= usize::from(self.clients.contains_key(&committer)) {
            return;
        }
        self.tell(Notice::invalidate(tid, oids), Some(committer));
    }

    fn tell(&mut self, notice: Notice, except: Option<ClientId>) {
        self.announced = true;
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
    }

    /// The transaction of a client is over, one way or the other. Returns
    /// whose turn it is now.
    fn end(&mut self, client: ClientId) -> Vec<ClientId> {
        self.finishing.remove(&client);
        self.set_state(client, State::Idle);
        let next = self.locks.release(client);
        self.note_locks();
        next
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

    fn stop(&mut self) {
        self.stopping = true;
        for client in self
            .clients
            .values()
            .filter(|client| client.state != State::Finishing)
        {
            client.mailbox.close("the server stops");
        }
    }

    fn state(&self, client: ClientId) -> Option<State> {
        self.clients.get(&client).map(|entry| entry.state)
    }

    fn set_state(&mut self, client: ClientId, state: State) {
        if let Some(entry) = self.clients.get_mut(&client) {
            entry.state = state;
        }
    }

    fn post(&mut self, client: ClientId, event: Event) {
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

    fn note_locks(&self) {
        self.parts
            .stats
            .waiting
            .store(self.locks.waiting() as u64, Relaxed);
        self.parts.stats.set_locked(self.locks.held() > 0);
    }
}
