//! Other servers on the database: each is told when another has committed, so that it polls at once.
//!
//! It is only ever a wake-up (`LISTEN`, `NOTIFY`). RelStorage tells nobody, and what gets lost is
//! found by the next poll. It is told after the commit, in a transaction of its own: within the
//! commit's, PostgreSQL would hold a lock of the whole cluster for it until the sync.
//!
//! The thread that notifies also unlocks objects that no vote has unlocked on its way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::after_commit::AfterCommit;
use super::connect::Connector;
use super::lockers::Lockers;
use super::readers::Readers;
use super::servers::{LOOK_INTERVAL, Servers};
use super::session::{Session, failed};
use crate::log::Level;
use crate::storage::Wake;
use crate::{Error, Result};

/// How long locks may wait for a vote that gives them back on its way.
const UNLOCK_DELAY: Duration = Duration::from_millis(1);
/// Between two notifications, at least.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(5);
/// How soon the thread that listens notices that it is over.
const LISTEN_TIME: Duration = Duration::from_secs(1);
/// Between two attempts to listen.
const LISTEN_PAUSE: Duration = Duration::from_secs(5);

const LISTEN: &str = "LISTEN rzeo";
/// (who): tells all that listen.
const NOTIFY: &str = "SELECT pg_notify('rzeo', $1)";

/// This server among those on the database.
pub(super) struct Peers {
    pub after_commit: Arc<AfterCommit>,
    pub servers: Arc<Servers>,
    connector: Arc<Connector>,
    /// By what this server knows its own messages.
    name: String,
}

impl Peers {
    pub fn new(connector: Arc<Connector>, servers: Servers) -> Self {
        Self {
            after_commit: Arc::default(),
            servers: Arc::new(servers),
            connector,
            name: format!("{:016x}", fastrand::u64(..)),
        }
    }

    /// Starts the thread that unlocks and notifies.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(&self, lockers: Arc<Lockers>, readers: Arc<Readers>) -> Result<()> {
        let mut notifier = Notifier {
            readers,
            connector: Arc::clone(&self.connector),
            servers: Arc::clone(&self.servers),
            name: self.name.clone(),
            notified: None,
        };
        let after_commit = Arc::clone(&self.after_commit);
        start("committed", move || {
            while let Some(notify) = after_commit.wait() {
                std::thread::sleep(UNLOCK_DELAY);
                lockers.give_back_all();
                if notify && !notifier.notify() {
                    after_commit.committed();
                }
            }
        })
    }

    /// Starts the thread that listens. Without it, others' commits are found by polls.
    pub fn listen(&self, wake: Wake) {
        let (after_commit, connector) =
            (Arc::clone(&self.after_commit), Arc::clone(&self.connector));
        let (servers, name) = (Arc::clone(&self.servers), self.name.clone());
        let started = start("listen", move || {
            let mut failing = false;
            while !after_commit.is_over() {
                let mut told = || {
                    failing = false;
                    wake.wake();
                };
                let Err(why) = listen(&connector, &after_commit, &servers, &name, &mut told) else {
                    return;
                };
                servers.forget();
                if !after_commit.is_over() && !std::mem::replace(&mut failing, true) {
                    let text = format!("other servers' commits are found by polls: {why}");
                    connector.log(Level::Info, &text);
                }
                let until = Instant::now() + LISTEN_PAUSE;
                while !after_commit.is_over() && Instant::now() < until {
                    std::thread::sleep(LISTEN_TIME);
                }
            }
        });
        if let Err(why) = started {
            self.connector.log(Level::Warning, &why.to_string());
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.after_commit.end();
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started
        .map(drop)
        .map_err(|why| Error::Unavailable(format!("can't start a thread: {why}")))
}

/// Listens until it is over, or the connection is lost. `wake` is called when there may be something.
fn listen(
    connector: &Connector,
    after_commit: &AfterCommit,
    servers: &Servers,
    name: &str,
    wake: &mut dyn FnMut(),
) -> Result<()> {
    let mut session: Session = connector.connect_for_short("listen")?;
    session.batch(LISTEN).map_err(failed("listening"))?;
    // Who was alone until now looks who is there.
    let told = session.query(NOTIFY, &[&name]);
    told.map_err(failed("notifying servers"))?;
    // What was committed before.
    wake();
    let (mut told, mut looked) = (String::new(), None::<Instant>);
    while !after_commit.is_over() {
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL) {
            looked = Some(Instant::now());
            servers.look(&mut session, &mut told)?;
        }
        let heard = session.notified(LISTEN_TIME)?;
        if heard.is_some_and(|who| who != name) {
            wake();
            if !servers.has_others() {
                looked = None;
            }
        }
    }
    Ok(())
}

/// How other servers are notified.
struct Notifier {
    readers: Arc<Readers>,
    connector: Arc<Connector>,
    servers: Arc<Servers>,
    name: String,
    notified: Option<Instant>,
}

impl Notifier {
    /// Notifies others of a commit; false if they were notified a moment ago.
    fn notify(&mut self) -> bool {
        if !self.servers.has_others() {
            return true;
        }
        let now = Instant::now();
        let is_soon = |then| now.duration_since(then) < NOTIFY_INTERVAL;
        if self.notified.is_some_and(is_soon) {
            return false;
        }
        self.notified = Some(now);
        // Nothing is lost if it fails: they poll.
        let _ = self.readers.query(
            &self.connector,
            "notifying servers",
            (NOTIFY, &[&self.name]),
        );
        true
    }
}
