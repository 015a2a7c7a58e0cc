//! The scheduler of the simulation, and what must be true when all is quiet.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use slog::{Discard, Logger, o};
use zeo_proto::stream::Stream;
use zeo_proto::{Oid, Tid};
use zeo_storage::MappingStorage;
use zeo_storage::Storage;
use zeo_storage::storage::Op;

use super::client::{Client, OBJECTS};
use super::history::{History, Work};
use super::plan::{Plan, Random, StillClock};
use super::shared::{Database, View};
use super::storage::{Chance, Contended, Interrupted};
use crate::commit::clock::Clock;
use crate::commit::coordinator::{Coordinator, Parts, SharedCoordinator};
use crate::commit::log_writer::{self, Task};
use crate::messages::channel::{self, Receiver};
use crate::messages::mailbox::{STOPPING, mailbox};
use crate::messages::request::Request;
use crate::messages::requests::Requests;
use crate::messages::rules::{Rule, help_itself, is_broken, narrow_sockets};
use crate::net::connection::Connection;
use crate::session::Session;
use crate::settings::Settings;
use crate::status::client::ClientStatus;
use crate::status::stats::Stats;
use crate::storages::{ServedStorage, Storages};

const CLIENTS: usize = 6;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Everything but the clients. Each part is borrowed by itself, so that a
/// step may interrupt another one that it does not touch.
pub(super) struct World {
    random: RefCell<Random>,
    plan: Plan,
    clock: Arc<StillClock>,
    storage: Arc<Interrupted>,
    /// What others change, too.
    database: Option<Arc<Database>>,
    /// The log writer is at work.
    appending: Cell<bool>,
    /// Somebody writes to a socket.
    writing: Cell<bool>,
    /// Others go on in the middle of something short: there is no other such step in them.
    interrupted: Cell<bool>,
    /// Nobody begins anything new.
    resting: Cell<bool>,
    /// Nobody connects any more.
    stopping: Cell<bool>,
    /// Where nobody knew what was changed.
    lost: RefCell<Vec<Tid>>,
    stats: Arc<Stats>,
    storages: Arc<Storages>,
    settings: Arc<Settings>,
    coordinator: Arc<SharedCoordinator>,
    requests: Requests,
    queue: Receiver<Task>,
    clients: Vec<RefCell<Client>>,
    history: RefCell<History>,
    /// What a client found wrong.
    found: RefCell<Option<String>>,
    next_client: RefCell<u64>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The time in the world.
pub(super) fn now() -> SystemTime {
    let world = WORLD.with(|world| world.borrow().clone());
    world.map_or(SystemTime::UNIX_EPOCH, |world| world.clock.now())
}

/// Whether something goes wrong that does so once in `n` times.
pub(super) fn one_in(n: u64) -> bool {
    let world = WORLD.with(|world| world.borrow().clone());
    world.is_some_and(|world| !world.resting.get() && world.random.borrow_mut().one_in(n))
}

/// Lets others go on in the middle of a step.
pub(super) fn interrupt() {
    if let Some(world) = WORLD.with(|world| world.borrow().clone())
        && !world.resting.get()
    {
        // Who publishes may be held up for long.
        let publishes = world.writing.get() && world.coordinator.with(|_, _| ()).is_none();
        let long = publishes || world.random.borrow_mut().one_in(4);
        let steps = world.random.borrow_mut().below(if long { 60 } else { 6 });
        (0..steps).for_each(|_| world.step());
    }
}

/// Lets others go on a little: between a request and the look at the coordinator, say.
pub(super) fn interrupt_shortly() {
    if let Some(world) = WORLD.with(|world| world.borrow().clone())
        && !world.resting.get()
        && !world.interrupted.replace(true)
    {
        // Not in the middle of another one: there would be no end of it.
        let steps = world.random.borrow_mut().below(4);
        (0..steps).for_each(|_| world.step());
        world.interrupted.set(false);
    }
}

/// How much of so many bytes a socket takes, and what others do meanwhile.
fn room(count: usize) -> usize {
    let Some(world) = WORLD.with(|world| world.borrow().clone()) else {
        return count;
    };
    // Not in the middle of such a step, and without more work by others: there would be no end of it.
    if !world.writing.replace(true) {
        interrupt();
        world.writing.set(false);
    }
    if one_in(6) {
        world.random.borrow_mut().below(count as u64 + 1) as usize
    } else {
        count
    }
}

impl World {
    pub(super) fn new(seed: u64, plan: &Plan) -> Rc<Self> {
        let database = plan
            .others
            .then(|| Database::new(Chance(plan.clone())).unwrap());
        let storage = Arc::new(Interrupted {
            inner: match &database {
                Some(database) => Arc::new(View::new(database, 0)),
                None => Arc::new(MappingStorage::new("simulated").unwrap()),
            },
            failing: false.into(),
        });
        let clock = Arc::new(StillClock::new());
        let stats = Arc::new(Stats::new(true));
        let (log_writer, queue) = channel::unbounded();
        let parts = Parts {
            storage: Arc::clone(&storage) as Arc<dyn Storage>,
            stats: Arc::clone(&stats),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            log: Logger::root(Discard, o!()),
            timeout: Some(TIMEOUT),
            queue_size: 10,
        };
        let coordinator = Coordinator::new(parts, log_writer).unwrap();
        let (sender, receiver) = channel::unbounded();
        let (coordinator, _) = SharedCoordinator::new(coordinator, receiver);
        let requests = Requests::new(sender, Arc::new(Contended(Arc::clone(&coordinator))));
        let handle = ServedStorage {
            storage: Arc::clone(&storage) as Arc<dyn Storage>,
            stats: Arc::clone(&stats),
            coordinator: requests.clone(),
        };
        let settings = plan.settings(seed, TIMEOUT);
        let mut world = Self {
            random: RefCell::new(Random::new(seed)),
            plan: plan.clone(),
            database,
            appending: Cell::new(false),
            writing: Cell::new(false),
            interrupted: Cell::new(false),
            resting: Cell::new(false),
            stopping: Cell::new(false),
            lost: RefCell::default(),
            clock,
            storage,
            stats,
            storages: Arc::new(Storages::of([("1".to_owned(), handle)])),
            settings: Arc::new(settings),
            coordinator,
            requests,
            queue,
            clients: Vec::new(),
            history: RefCell::default(),
            found: RefCell::default(),
            next_client: RefCell::new(1),
        };
        world.clients = (0..CLIENTS)
            .map(|n| RefCell::new(world.connect(plan.sleepers && n == 0)))
            .collect();
        Rc::new(world)
    }

    fn connect(&self, asleep: bool) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (mailbox, inbox) = mailbox().unwrap();
        let mut id = self.next_client.borrow_mut();
        *id += 1;
        let session = Session::new(
            Arc::new(ClientStatus::new(*id, "simulated".to_owned(), false)),
            Arc::clone(&self.settings),
            Arc::clone(&self.storages),
            mailbox,
            &Logger::root(Discard, o!()),
        );
        let stream = Stream::unix(theirs).unwrap();
        let connection = Connection::new(stream, &session, &inbox).unwrap();
        Client::new(
            ours,
            (connection, session, inbox),
            self.settings.encoding,
            asleep,
            self.database.clone().filter(|_| !self.plan.lies),
        )
    }

    /// Takes random steps, lets everything come to rest, and checks what is
    /// left.
    pub(super) fn run(self: &Rc<Self>, steps: usize) -> Result<(), String> {
        WORLD.set(Some(Rc::clone(self)));
        help_itself();
        narrow_sockets(room);
        let result = self.run_steps(steps);
        WORLD.set(None);
        result
    }

    fn run_steps(&self, steps: usize) -> Result<(), String> {
        for step in 0..steps {
            self.step();
            if self.plan.disk_fails && step == steps / 2 {
                self.storage.failing.store(true, Ordering::Relaxed);
            }
            if self.plan.stops && step == steps / 2 {
                self.stopping.set(true);
                let until = self.clock.instant() + Duration::from_secs(3600);
                let _ = self.requests.send(Request::Stop { until });
            }
            if let Some(found) = self.found.take() {
                return Err(found);
            }
        }
        if self.plan.sleepers {
            self.flood();
        }
        self.come_to_rest()?;
        self.check()
    }

    /// One step of whoever comes first; of nobody, if that one is busy
    /// further up.
    fn step(&self) {
        if let Some(database) = &self.database
            && !self.resting.get()
            && !self.writing.get()
            && self.random.borrow_mut().one_in(12)
        {
            self.step_others(database);
        }
        let who = self.random.borrow_mut().below(3 * CLIENTS as u64 + 5);
        match who {
            0 | 1 => drop(self.coordinate()),
            4 => drop(self.send_notices()),
            2 => drop(self.append()),
            3 => self.wind(),
            _ => self.step_client((who as usize - 5) / 3, (who as usize - 5) % 3),
        }
    }

    /// Others commit, or lose track.
    fn step_others(&self, database: &Database) {
        let Ok(mut history) = self.history.try_borrow_mut() else {
            return;
        };
        let mut random = self.random.borrow_mut();
        if self.plan.loses_track && random.one_in(40) {
            self.lost.borrow_mut().push(database.lose_track());
            return;
        }
        let oids = (0..OBJECTS).map(Oid::new).filter(|_| random.one_in(3));
        let stores: Vec<_> = oids.map(|oid| (oid, database.serial(oid))).collect();
        let ops = stores.iter().map(|&(oid, serial)| Op::Store {
            oid,
            serial,
            data: b"others'".to_vec(),
        });
        let tid = database.commit(&ops.collect::<Vec<_>>()).unwrap();
        let checks = Vec::new();
        history.finished.insert(tid, Work { stores, checks });
    }

    fn coordinate(&self) -> bool {
        let worked = self.coordinator.with(|coordinator, requests| {
            if coordinator.is_done() {
                coordinator.close_all();
                // As the server does with all that the coordinator has not heard of.
                for request in requests.try_iter() {
                    if let Request::Subscribe { mailbox, .. } = request {
                        mailbox.close(STOPPING);
                    }
                }
                return false;
            }
            coordinator.expire();
            coordinator.enter_when_due();
            if !self.resting.get() {
                coordinator.poll_when_due();
            }
            let request = requests.try_recv().ok();
            request.map(|request| coordinator.handle(request)).is_some()
        });
        worked.unwrap_or_default()
    }

    /// Notices go to one client more.
    fn send_notices(&self) -> bool {
        let sent = self.coordinator.with(|coordinator, _| {
            let has_unsent = coordinator.has_unsent();
            coordinator.send_notices(1);
            has_unsent
        });
        sent.unwrap_or_default()
    }

    fn append(&self) -> bool {
        if self.appending.get() {
            return false;
        }
        let Some(first) = self.queue.try_recv() else {
            return false;
        };
        let storage = Arc::clone(&self.storage) as Arc<dyn Storage>;
        self.appending.set(true);
        for done in log_writer::work(&storage, &self.stats, first, &self.queue) {
            let _ = log_writer::report(done, &self.queue, &self.requests);
        }
        self.appending.set(false);
        true
    }

    fn wind(&self) {
        let mut random = self.random.borrow_mut();
        let long = self.plan.stalls && random.one_in(20);
        let by = if long {
            TIMEOUT
        } else {
            Duration::from_millis(random.below(3))
        };
        self.clock.wind(by);
    }

    fn step_client(&self, number: usize, kind: usize) {
        let Ok(mut client) = self.clients[number].try_borrow_mut() else {
            return;
        };
        let Ok(mut history) = self.history.try_borrow_mut() else {
            return;
        };
        match kind {
            0 if client.is_written_for() && !is_broken(Rule::WaitForToken) => {}
            2 if client.is_written_for() => {}
            0 => {
                // The history is nobody's business while others go on.
                drop(history);
                let mut gone = History::default();
                if let Err(found) = client.turn(&mut gone) {
                    self.found.borrow_mut().get_or_insert(found);
                }
                let mut history = self.history.borrow_mut();
                history.unknown += gone.unknown;
                history.finished.extend(gone.finished);
            }
            1 => {
                if let Err(found) = client.read(&mut history) {
                    self.found.borrow_mut().get_or_insert(found);
                }
            }
            _ if client.is_connected() => {
                let mut random = self.random.borrow_mut();
                client.act(&mut random, &self.plan, &mut history);
            }
            _ if self.stopping.get() => {}
            _ => *client = self.connect(false),
        }
    }

    /// More transactions than a mailbox holds, past a client that sleeps.
    fn flood(&self) {
        let most = crate::messages::mailbox::CAPACITY_EVENTS as u64;
        let flooded = self.coordinator.with(|coordinator, _| {
            let tids = (0..2 * most).map(|number| Tid::new(u64::MAX / 2 + number));
            tids.for_each(|tid| coordinator.announce(0, tid, &[]));
        });
        assert!(flooded.is_some());
    }

    fn come_to_rest(&self) -> Result<(), String> {
        self.resting.set(true);
        let mut polled = self.database.is_none();
        for _ in 0..2000 {
            let mut busy = self.coordinate() || self.send_notices() || self.append();
            for number in 0..CLIENTS {
                self.step_client(number, 0);
                self.step_client(number, 1);
                let client = self.clients[number].borrow();
                let idle = client.is_idle() || client.is_asleep();
                drop(client);
                if !idle {
                    self.step_client(number, 2);
                    busy = true;
                }
            }
            if let Some(found) = self.found.take() {
                return Err(found);
            }
            if !busy && self.requests.len() == 0 && self.queue.is_empty() {
                if std::mem::replace(&mut polled, true) {
                    return Ok(());
                }
                let _ = self.requests.send(Request::Poll { client: None });
            }
            if self.plan.stalls {
                self.clock.wind(Duration::from_secs(1));
            }
        }
        Err("the world does not come to rest: somebody waits for ever".into())
    }

    fn check(&self) -> Result<(), String> {
        let history = self.history.borrow();
        if self.stopping.get() {
            if history.unknown > 0 {
                return Err("a stop has not waited for one that had voted".into());
            }
            if self
                .coordinator
                .with(|coordinator, _| coordinator.is_done())
                != Some(true)
            {
                return Err("the coordinator does not stop".into());
            }
        }
        if history.unknown == 0 {
            self.check_history(&history)?;
        }
        for client in &self.clients {
            let client = client.borrow();
            let Some(since) = client.checks.since().filter(|_| client.is_connected()) else {
                continue;
            };
            if client.is_asleep() && self.plan.sleepers {
                return Err("a client that reads nothing is still there".into());
            }
            if let Some(lost) = self.lost.borrow().iter().find(|&&lost| lost > since) {
                return Err(format!(
                    "a client that registered at {since} was not closed at {lost}"
                ));
            }
            let seen: BTreeSet<Tid> = client.checks.seen.iter().copied().collect();
            let missed = history
                .finished
                .range(since..)
                .find(|&(tid, _)| *tid > since && !seen.contains(tid));
            if let Some((tid, _)) = missed {
                return Err(format!(
                    "a client that registered at {since} was not told of {tid}"
                ));
            }
        }
        if let Some(database) = &self.database {
            let (published, last) = (self.storage.last_tid(), database.last());
            if published != last && !self.plan.lies {
                return Err(format!("{published} is published as the last, not {last}"));
            }
        }
        match self.stats.waiting.load(Ordering::Relaxed) {
            0 => Ok(()),
            n => Err(format!("{n} votes wait for ever")),
        }
    }

    /// With every outcome known, the storage holds what was acknowledged and
    /// nothing else.
    fn check_history(&self, history: &History) -> Result<(), String> {
        for (oid, tid) in history.replay()? {
            let found = self
                .storage
                .inner
                .get_tid(oid)
                .map_err(|why| why.to_string())?;
            if found != tid {
                return Err(format!("{oid} should be at {tid} and is at {found}"));
            }
        }
        Ok(())
    }
}
