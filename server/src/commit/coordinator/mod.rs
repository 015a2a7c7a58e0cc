//! The one loop of a storage that owns object locks, tids, deadlines, and
//! the order in which transactions become visible and are announced.
//!
//! It never reads object data, never waits for a disk and never for a client:
//! it takes a [`Request`], changes its own state, and posts to mailboxes and
//! to the log writer. See `THREADS.md` for the rules that it keeps.

mod clients;
mod finishing;
mod locking;
mod outside;
mod polls;
mod report;
mod shared;
mod stopping;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use slog::Logger;
use zeo_proto::Tid;
use zeo_storage::Storage;

use self::polls::Polls;
pub use self::shared::SharedCoordinator;
use crate::commit::clock::Clock;
use crate::commit::invalidations::Invalidations;
use crate::commit::lock_table::LockTable;
use crate::commit::log_writer::Task;
use crate::messages::channel::Sender;
use crate::messages::event::Event;
use crate::messages::mailbox::Mailbox;
use crate::messages::notice::Notice;
use crate::messages::request::{AtWork, ClientId, Request};
use crate::status::stats::Stats;

struct Client {
    mailbox: Mailbox,
    state: State,
    /// Whether the server is at work on its vote.
    at_work: AtWork,
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

/// Who holds its locks.
struct Holder {
    client: ClientId,
    /// Since when: for people, and to be measured.
    since: SystemTime,
    granted: Instant,
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

/// The order of one storage: who holds which objects, which tid comes next, who is told what.
///
/// Its methods by file:
///
/// | file | what |
/// |---|---|
/// | `mod.rs` | requests by kind |
/// | `shared.rs` | who takes requests, and when |
/// | `clients.rs` | who is served; posting to mailboxes and waking |
/// | `locking.rs` | votes: locks and their deadlines |
/// | `finishing.rs` | tids, the log writer, publication |
/// | `stopping.rs` | the stop of the server |
/// | `outside.rs` | changes by others, and the polls that find them |
/// | `report.rs` | what the monitor is told |
///
/// Invariants:
///
/// - `last_tid` is at least the tid of every transaction that was given out, and grows with each.
///   The log writer gets transactions in the order of their tids, one of each client at a time.
///   (A storage that others change gives the tids itself, when the log writer appends.)
/// - `published` is the storage's last transaction and grows with each publication. What would not
///   come after it is not announced: all clients are closed.
/// - What is announced has been published before, in the order of tids; so mailboxes hold tids in
///   that order.
/// - A client has a claim in `locks` just while its state is `Waiting`, `Locked` or `Finishing`, or
///   while it is gone and `finishing` holds it. `Locked` and `Finishing` mean that the claim is
///   granted, `Waiting` that it is not.
/// - `finishing` holds whose transaction the log writer has: never more than
///   `MAX_ORPHANS` beyond the clients.
/// - `deadlines` is sorted by time. The one of a grant that holds is in it, if there is a timeout.
/// - A client whose mailbox was full is forgotten at once: nothing is posted behind a gap.
/// - Who has an answer in its mailbox is woken by `settle`, before the next request. Notices are sent
///   when there is no request, or between requests, to so many clients that `unsent` gets shorter.
pub struct Coordinator {
    parts: Parts,
    clients: BTreeMap<ClientId, Client>,
    locks: LockTable,
    /// Who holds its locks; in the order of grants.
    holders: VecDeque<Holder>,
    /// When locks run out, in the order of grants; entries of grants that
    /// have ended are skipped.
    deadlines: VecDeque<(Instant, ClientId, u64)>,
    grants: u64,
    invalidations: Invalidations,
    /// The last tid given out.
    last_tid: Tid,
    /// The log was told that the clock is behind `last_tid`.
    clock_behind: bool,
    /// The last transaction published, of our clients or of others.
    published: Tid,
    polls: Polls,
    log_writer: Sender<Task>,
    /// Whose transactions the log writer has. A client may be gone by now:
    /// then its locks, which last until the end, are all that is left of it.
    finishing: HashSet<ClientId>,
    /// The server stops: until then is waited for those who have voted.
    stopping: Option<Instant>,
    /// Who has an answer in its mailbox and is to be woken.
    answered: Vec<ClientId>,
    /// For whom there may be notices that nobody has sent yet.
    unsent: Unsent,
}

/// So many clients, in a ring from this one on.
#[derive(Default)]
struct Unsent {
    next: ClientId,
    count: usize,
}

impl Coordinator {
    /// A coordinator that gives its transactions to `log_writer`.
    ///
    /// # Errors
    /// The storage can't be read.
    pub fn new(parts: Parts, log_writer: Sender<Task>) -> zeo_storage::Result<Self> {
        let last_tid = parts.storage.last_tid();
        let known = parts.storage.last_invalidations(parts.queue_size)?;
        let shared = parts.storage.outside().is_some();
        let polls = Polls::starting(shared.then(|| parts.clock.instant()));
        Ok(Self {
            clients: BTreeMap::new(),
            locks: LockTable::default(),
            holders: VecDeque::new(),
            deadlines: VecDeque::new(),
            grants: 0,
            invalidations: Invalidations::new(parts.queue_size, last_tid, known),
            last_tid,
            clock_behind: false,
            published: last_tid,
            polls,
            log_writer,
            finishing: HashSet::new(),
            stopping: None,
            answered: Vec::new(),
            unsent: Unsent::default(),
            parts,
        })
    }

    /// When there is something to do without a request.
    fn due(&self) -> Option<Instant> {
        let deadline = self.deadlines.front().map(|&(deadline, ..)| deadline);
        let due = deadline.into_iter().chain(self.polls.due());
        due.chain(self.stop_due()).min()
    }

    /// Does what one request asks for.
    #[cfg(test)]
    pub(crate) fn handle(&mut self, request: Request) {
        self.take(request);
        self.settle();
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Subscribe { client, mailbox } => self.subscribe(client, mailbox),
            Request::Unsubscribe { client } => self.forget(client),
            Request::Lock {
                client,
                vote,
                claim,
                at_work,
            } => self.lock(client, vote, &claim, at_work),
            Request::Release { client } => self.release(client),
            Request::GiveUp { client, vote } => self.give_up(client, vote),
            Request::Finish {
                client,
                prepared,
                tid,
            } => self.finish(client, prepared, tid),
            Request::Invalidations { client, since } => {
                let answer = self.invalidations.since(since);
                self.post(client, Event::Invalidations(Box::new(answer)));
            }
            Request::Refused { client, why } => {
                self.post(client, Event::FinishFailed(Box::new(why)))
            }
            Request::Appended {
                clients,
                commits,
                refused,
                outside,
            } => self.appended(clients, &commits, refused, &outside),
            Request::NotAppended { clients, why } => self.not_appended(clients, &why),
            Request::Poll { client } => self.poll(client),
            Request::Polled { found } => self.polled(found),
            Request::TellSizes { told } => {
                let storage = &self.parts.storage;
                let notice = Notice::info(storage.len(), storage.size());
                self.tell(notice, None);
                // Who has asked may be gone.
                let _ = told.try_send(());
            }
            // Who has asked may have lost patience.
            Request::Inspect { report } => drop(report.try_send(self.report())),
            Request::Beat { told } => {
                // When the log writer has ended, nobody is told.
                let _ = self.log_writer.send(Task::Beat(told));
            }
            Request::Stop { until } => self.stop(until),
        }
    }

    /// Tells the world what requests have changed.
    fn settle(&mut self) {
        self.note_locks();
        self.wake();
    }
}
