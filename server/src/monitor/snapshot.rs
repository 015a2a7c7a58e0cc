//! What the monitor finds out before it answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};

use super::process::Process;
use crate::clients;
use crate::messages::channel::TrySendError;
use crate::messages::report::CoordinatorReport;
use crate::messages::request::Request;
use crate::server::Server;
use crate::storages::ServedStorage;

/// How long a coordinator may take to answer before it counts as stuck.
const COORDINATOR_PATIENCE: Duration = Duration::from_secs(2);
/// How long the log writer may be at work on one batch before it counts as stuck.
const LOG_WRITER_PATIENCE: Duration = Duration::from_secs(60);
/// For so long, the coordinators' answers are given to others who ask, so that many who ask don't
/// keep the coordinators from their work.
const REPORT_LIFE: Duration = Duration::from_millis(200);
/// How often it is tried again to ask a coordinator whose inbox is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The answers of all coordinators, in the order of storages. `None`: it did not answer in time.
type Reports = Arc<Vec<Option<CoordinatorReport>>>;

/// Asks the coordinators.
#[derive(Debug, Default)]
pub(super) struct Inspector {
    last: Mutex<Option<(Instant, Reports)>>,
}

impl Inspector {
    /// The answers of all coordinators. Whoever asks waits for them at most for
    /// [`COORDINATOR_PATIENCE`], and as long for whoever has asked before.
    fn reports(&self, server: &Server) -> Reports {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, reports)) = &*last
            && at.elapsed() < REPORT_LIFE
        {
            return Arc::clone(reports);
        }
        let deadline = Instant::now() + COORDINATOR_PATIENCE;
        let asked: Vec<_> = server
            .storages()
            .iter()
            .map(|(_, s)| ask(s, deadline))
            .collect();
        let answers = asked
            .into_iter()
            .map(|asked| asked?.recv_deadline(deadline).ok());
        let reports = Arc::new(answers.collect());
        *last = Some((Instant::now(), Arc::clone(&reports)));
        reports
    }
}

/// Asks a coordinator; its inbox may be full for a while, but nobody waits for it here for ever.
fn ask(storage: &ServedStorage, deadline: Instant) -> Option<Receiver<CoordinatorReport>> {
    let (report, answer) = bounded(1);
    let mut request = Request::Inspect { report };
    loop {
        match storage.coordinator.queue().try_send(request) {
            Ok(()) => return Some(answer),
            Err(TrySendError::Full(again)) if Instant::now() < deadline => request = again,
            Err(_) => return None,
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
}

/// The server at one moment.
pub(super) struct Snapshot<'a> {
    pub server: &'a Server,
    pub time: SystemTime,
    pub now: Instant,
    pub process: Process,
    pub clients: clients::Snapshot,
    pub storages: Vec<StorageSnapshot<'a>>,
    pub faults: Faults,
}

/// A storage at one moment.
pub(super) struct StorageSnapshot<'a> {
    pub name: &'a str,
    pub served: &'a ServedStorage,
    /// `None`: its coordinator did not answer in time.
    pub coordinator: Option<CoordinatorReport>,
    /// Registered clients' mailboxes: how many events wait in them, and how full the fullest is.
    pub mailbox_events: usize,
    pub mailbox_fullest: f64,
}

/// What is wrong with a server.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// A part of it does not answer.
    pub dead: Vec<String>,
    /// Clients can't commit.
    pub unready: Vec<String>,
}

impl Faults {
    pub fn is_alive(&self) -> bool {
        self.dead.is_empty()
    }

    pub fn is_ready(&self) -> bool {
        self.dead.is_empty() && self.unready.is_empty()
    }

    /// A line for each.
    pub fn lines(&self) -> Vec<&str> {
        let all = self.dead.iter().chain(&self.unready);
        all.map(String::as_str).collect()
    }

    fn find(server: &Server, reports: &Reports) -> Self {
        let mut faults = Self::default();
        if server.is_stopping() {
            // Its threads end one after the other.
            faults.unready.push("the server is stopping".to_owned());
            return faults;
        }
        for ((name, served), report) in server.storages().iter().zip(&**reports) {
            if report.is_none() {
                let patience = COORDINATOR_PATIENCE.as_secs();
                faults.dead.push(format!(
                    "storage '{name}': the coordinator did not answer within {patience} s"
                ));
            }
            let busy = served.stats.log_writer.busy();
            if let Some(busy) = busy.filter(|busy| *busy >= LOG_WRITER_PATIENCE) {
                let busy = busy.as_secs();
                faults.dead.push(format!(
                    "storage '{name}': the log writer has been at work on one batch for {busy} s"
                ));
            }
            if let Some(why) = served.storage.latched() {
                faults
                    .unready
                    .push(format!("storage '{name}' accepts no more commits: {why}"));
            }
        }
        faults
    }
}

impl<'a> Snapshot<'a> {
    /// All of it.
    pub fn take(server: &'a Server, inspector: &Inspector) -> Self {
        let reports = inspector.reports(server);
        let clients = server.clients().snapshot();
        let of = |((name, served), report): ((&'a str, &'a ServedStorage), &Option<_>)| {
            let mut fullest = 0.0_f64;
            let mut events = 0;
            for client in &clients.present {
                if client
                    .status
                    .storage
                    .get()
                    .is_some_and(|other| other == name)
                {
                    events += client.mailbox.load().0;
                    fullest = fullest.max(client.mailbox.fill());
                }
            }
            StorageSnapshot {
                name,
                served,
                coordinator: Option::clone(report),
                mailbox_events: events,
                mailbox_fullest: fullest,
            }
        };
        Self {
            storages: server.storages().iter().zip(&*reports).map(of).collect(),
            faults: Faults::find(server, &reports),
            clients,
            server,
            time: SystemTime::now(),
            now: Instant::now(),
            process: Process::now(),
        }
    }
}

/// What is wrong with a server now.
pub(super) fn faults(server: &Server, inspector: &Inspector) -> Faults {
    Faults::find(server, &inspector.reports(server))
}
