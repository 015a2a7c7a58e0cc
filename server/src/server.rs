//! The server as a whole: its storages with their threads, its addresses,
//! its clients.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use slog::{Logger, crit, info, o, warn};
use zeo_proto::stream::Stream;
use zeo_storage::Storage;
use zeo_storage::storage::Wake;

use crate::clients::Clients;
use crate::commit::clock::SystemClock;
use crate::commit::coordinator::{Coordinator, Parts, SharedCoordinator};
use crate::commit::log_writer;
use crate::config::open::NamedStorage;
use crate::messages::channel;
use crate::messages::mailbox::{STOPPING, mailbox};
use crate::messages::request::Request;
use crate::messages::requests::{Requests, TakesRequests};
use crate::net::connection::Connection;
use crate::net::gate::Gate;
use crate::net::refusals::Refusals;
use crate::places;
use crate::session::Session;
use crate::settings::Settings;
use crate::status::client::ClientStatus;
use crate::status::outcomes::{Outcomes, TlsRefusal};
use crate::status::stats::Stats;
use crate::storages::{ServedStorage, Storages};

/// How long a stop waits for client threads before it goes on without them. With the time for
/// those who have voted, a stop takes less than the 10 seconds after which supervisord kills.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a stop waits for a database after the time for those who have voted.
const GIVE_UP_TIME: Duration = Duration::from_secs(1);

/// A storage's index is saved when the file has grown by this many bytes, which take about a second
/// to scan.
const INDEX_SAVE_BYTES: u64 = 256 << 20;
/// So does one that was not saved for so long.
const INDEX_SAVE_INTERVAL: Duration = Duration::from_secs(3600);

/// A running server.
pub struct Server {
    settings: Arc<Settings>,
    storages: Arc<Storages>,
    clients: Clients,
    /// Connections that were refused for TLS.
    refusals: Refusals,
    next_client: AtomicU64,
    log: Logger,
    threads: Mutex<Vec<JoinHandle<()>>>,
    addresses: Mutex<Vec<String>>,
    /// A stop waits for nobody but the disk.
    hurried: AtomicBool,
    /// Sizes of the storages when their indexes were saved, and when that was.
    saved: Mutex<HashMap<String, (u64, Instant)>>,
    started: SystemTime,
    began: Instant,
    stopping: AtomicBool,
}

impl Server {
    /// Starts the threads of every storage.
    ///
    /// # Errors
    /// [`StartError`]: a thread can't be started, or a storage not be read.
    pub fn start(
        mut settings: Settings,
        storages: Vec<NamedStorage>,
        log: Logger,
    ) -> Result<Arc<Self>, StartError> {
        let mut served = Vec::new();
        let mut threads = Vec::new();
        for (name, storage) in storages {
            let storage = start_storage(&settings, &name, storage, &log, &mut threads)?;
            served.push((name, storage));
        }
        settings.max_clients = Some(places::places(settings.max_clients, &log));
        Ok(Arc::new(Self {
            settings: Arc::new(settings),
            storages: Arc::new(Storages::of(served)),
            clients: Clients::default(),
            refusals: Refusals::default(),
            next_client: AtomicU64::new(1),
            log,
            threads: Mutex::new(threads),
            addresses: Mutex::default(),
            hurried: AtomicBool::new(false),
            saved: Mutex::default(),
            started: SystemTime::now(),
            began: Instant::now(),
            stopping: AtomicBool::new(false),
        }))
    }

    /// True while as many connections are there as may be: clients, and some that have not
    /// registered or are refused.
    pub(crate) fn is_full(&self) -> bool {
        let clients = self.settings.max_clients.unwrap_or(u64::MAX);
        self.clients.len() as u64 >= clients.saturating_add(places::LOBBY)
    }

    /// Whether all coordinators and log writers answer within this time.
    ///
    /// # Errors
    /// The name of the first storage where they don't.
    pub(crate) fn beat(&self, timeout: Duration) -> Result<(), String> {
        for (name, served) in self.storages.iter() {
            let (told, answer) = crossbeam_channel::bounded(1);
            let asked = served.coordinator.send(Request::Beat { told });
            if asked.is_err() || answer.recv_timeout(timeout).is_err() {
                return Err(name.to_owned());
            }
        }
        Ok(())
    }

    /// Serves one connection on a thread of its own.
    ///
    /// # Errors
    /// The system has no descriptor or thread left.
    pub fn serve(self: &Arc<Self>, stream: Stream, peer: String) -> io::Result<()> {
        self.serve_behind(None, stream, peer)
    }

    /// Serves one connection, with TLS if there is a gate.
    ///
    /// # Errors
    /// The system has no descriptor, thread or memory left.
    pub(crate) fn serve_behind(
        self: &Arc<Self>,
        gate: Option<&Arc<Gate>>,
        stream: Stream,
        peer: String,
    ) -> io::Result<()> {
        let stream = match gate {
            Some(gate) => gate.secure(stream)?,
            None => stream,
        };
        let (mailbox, inbox) = mailbox()?;
        let id = self.next_client.fetch_add(1, Relaxed);
        let status = Arc::new(ClientStatus::new(id, peer, gate.is_some()));
        // In a box each: they would be moved about on the stack of the thread, which keeps each page
        // that was used once.
        let mut session = Box::new(Session::new(
            Arc::clone(&status),
            Arc::clone(&self.settings),
            Arc::clone(&self.storages),
            mailbox.clone(),
            &self.log,
        ));
        let mut connection = Box::new(Connection::new(stream, &session, &inbox)?);
        let newcomer = gate.map(|gate| gate.enter(id, mailbox.clone()));
        self.clients.insert(mailbox, status);
        let server = Arc::clone(self);
        let run = move || {
            connection.run(&mut session, &inbox, newcomer, &server.refusals);
            drop((connection, session));
            server.clients.remove(id);
        };
        let started = thread::Builder::new()
            .name(format!("session {id}"))
            .spawn(run);
        started.map(|_| ()).map_err(|why| {
            self.clients.remove(id);
            // Of another kind than that of a socket where nobody waits to be accepted.
            io::Error::other(format!("no thread can be started: {why}"))
        })
    }

    /// Lets transactions finish that have voted, for [`Settings::stop_timeout`], closes all clients,
    /// and closes the storages. Begin with the addresses, so that no more clients come.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
        let until = Instant::now() + self.settings.stop_timeout;
        self.stop_at(until);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            self.await_end(&thread, until);
            let _ = thread.join();
        }
        // Votes may have needed it until now.
        if let Some(resolver) = &self.settings.conflict_resolver {
            resolver.stop();
        }
        self.close_clients();
        for (name, served) in self.storages.iter() {
            info!(self.log, "closing storage '{name}'");
            if let Err(why) = served.storage.close() {
                crit!(
                    self.log,
                    "storage '{name}' could not be closed cleanly: {why}"
                );
            }
        }
    }

    /// Waits for a thread that may wait for another machine, but not for long after `until`.
    fn await_end(&self, thread: &JoinHandle<()>, until: Instant) {
        let mut remote = self.storages.iter().map(|(_, served)| &served.storage);
        if !remote.any(|storage| storage.outside().is_some()) {
            return;
        }
        while !thread.is_finished() {
            if Instant::now() > until + GIVE_UP_TIME || self.hurried.load(Relaxed) {
                for (_, served) in self.storages.iter() {
                    if let Some(outside) = served.storage.outside() {
                        outside.give_up();
                    }
                }
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes a stop that is under way wait for nobody but the disk.
    pub fn hurry(&self) {
        self.hurried.store(true, Relaxed);
        self.stop_at(Instant::now());
    }

    fn stop_at(&self, until: Instant) {
        for (_, served) in self.storages.iter() {
            // It is gone already if it has stopped, or failed, with its own message.
            let _ = served.coordinator.send(Request::Stop { until });
        }
    }

    fn close_clients(&self) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        loop {
            let left = self.clients.len();
            if left == 0 {
                return;
            }
            self.clients.close_all(STOPPING);
            if Instant::now() > deadline || self.hurried.load(Relaxed) {
                warn!(
                    self.log,
                    "{left} clients are still being served; exiting without waiting for them"
                );
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Saves the index of every storage that has grown so much, or is so
    /// long unsaved, that a start after a crash would scan much.
    pub fn save_indexes(&self) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, served) in self.storages.iter() {
            let (size, now) = (served.storage.size(), Instant::now());
            let last = saved.entry(name.to_owned()).or_insert((size, now));
            if size.abs_diff(last.0) < INDEX_SAVE_BYTES
                && now.duration_since(last.1) < INDEX_SAVE_INTERVAL
            {
                continue;
            }
            *last = (size, now);
            if let Err(why) = served.storage.save_index() {
                warn!(
                    self.log,
                    "the index of storage '{name}' could not be saved: {why}"
                );
            }
        }
    }

    /// Where the server listens, as clients are configured with it: `HOST:PORT`, `[HOST]:PORT` or
    /// the path of a Unix socket. None before it listens.
    pub fn addresses(&self) -> Vec<String> {
        let addresses = self.addresses.lock();
        addresses.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note_addresses(&self, more: &[String]) {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        addresses.extend_from_slice(more);
        for (_, served) in self.storages.iter() {
            if let (Some(outside), Some(first)) = (served.storage.outside(), more.first()) {
                outside.announce(first);
            }
        }
    }

    /// How clients are treated.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The log.
    pub fn log(&self) -> &Logger {
        &self.log
    }

    /// The storages that are served.
    pub(crate) fn storages(&self) -> &Storages {
        &self.storages
    }

    /// The clients that are connected.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// When the server was started, by the wall clock.
    pub(crate) fn started(&self) -> SystemTime {
        self.started
    }

    /// For how long it has been running, whatever happened to that clock.
    pub(crate) fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// True once it has been told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Connections that were refused for TLS.
    pub(crate) fn tls_refusals(&self) -> &Outcomes<TlsRefusal> {
        self.refusals.counts()
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The storage can't tell its last transactions.
    #[error("storage '{name}': {source}")]
    Storage {
        /// Its name.
        name: String,
        /// The cause.
        source: zeo_storage::Error,
    },
    /// The system gives no threads.
    #[error("can't start a thread: {0}")]
    Thread(#[from] io::Error),
}

fn start_storage(
    settings: &Settings,
    name: &str,
    storage: Arc<dyn Storage>,
    log: &Logger,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<ServedStorage, StartError> {
    let stats = Arc::new(Stats::new(settings.transaction_timeout.is_some()));
    let log = log.new(o!("storage" => name.to_owned()));
    // Sessions wait when the coordinator is behind. It waits for nobody, and
    // hands over at most one transaction of each client to the log writer,
    // those included that have gone since.
    let (requests, inbox) = channel::bounded(256);
    let (log_writer, queue) = channel::unbounded();
    let parts = Parts {
        storage: Arc::clone(&storage),
        stats: Arc::clone(&stats),
        clock: Arc::new(SystemClock),
        log: log.clone(),
        timeout: settings.transaction_timeout,
        queue_size: settings.invalidation_queue_size,
    };
    if let Some(outside) = storage.outside() {
        let requests = requests.clone();
        outside.watch(Wake::new(move || {
            // It is gone when the server stops.
            let _ = requests.send(Request::Poll { client: None });
        }));
    }
    let coordinator =
        Coordinator::new(parts, log_writer).map_err(|source| StartError::Storage {
            name: name.to_owned(),
            source,
        })?;
    let (coordinator, parker) = SharedCoordinator::new(coordinator, inbox);
    let taker: Arc<dyn TakesRequests> = Arc::<SharedCoordinator>::clone(&coordinator);
    let requests = Requests::new(requests, taker);
    threads.push(essential("coordinator", &log, move || {
        coordinator.run(&parker)
    })?);
    let (writer_storage, writer_stats) = (Arc::clone(&storage), Arc::clone(&stats));
    let done = requests.clone();
    threads.push(essential("log writer", &log, move || {
        log_writer::run(&writer_storage, &writer_stats, &queue, &done);
    })?);
    Ok(ServedStorage {
        storage,
        stats,
        coordinator: requests,
    })
}

/// Starts a thread that the server can't go on without: should it panic, the
/// process ends, and recovery at the next start is quick.
fn essential(
    name: &'static str,
    log: &Logger,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let log = log.clone();
    thread::Builder::new().name(name.into()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            crit!(
                log,
                "the {name} has failed, and the server ends: this is a bug"
            );
            std::process::abort();
        }
    })
}
