//! The connections for commits: that for reading is one of them, and there are more when more
//! clients commit at once.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeo_storage::storage::TransactionMeta;
use zeo_storage::{Error, Result};

use super::committer::{Committer, Finished};
use super::errors::{broken, storage_error};
use crate::address::Address;
use crate::client_storage::{ClientStorage, Settings};
use crate::lock::locked;

/// How many transactions are in the upstream server at once; the next ones wait.
const COMMITTERS_MAX: usize = 8;
/// How long opening another connection may take.
const OPEN_MAX: Duration = Duration::from_secs(10);

pub(super) struct Committers {
    main: Arc<ClientStorage>,
    settings: Settings,
    state: Mutex<State>,
    /// One is idle again, or gone.
    given_back: Condvar,
}

#[derive(Default)]
struct State {
    /// The last one is taken first: that of the main connection, if it is idle, since its commits go
    /// into the cache.
    idle: Vec<Committer>,
    /// How many there are, in use or not.
    count: usize,
    closed: bool,
}

/// A transaction at the upstream server. Dropping it aborts it, without waiting.
pub(super) struct Transaction {
    committers: Arc<Committers>,
    committer: Option<Committer>,
}

impl Committers {
    pub fn new(main: &Arc<ClientStorage>, settings: Settings) -> Result<Arc<Self>> {
        let first = start(Arc::clone(main))?;
        Ok(Arc::new(Self {
            main: Arc::clone(main),
            settings,
            state: Mutex::new(State {
                idle: vec![first],
                count: 1,
                closed: false,
            }),
            given_back: Condvar::new(),
        }))
    }

    /// Begins a transaction, as soon as there is a connection for it.
    ///
    /// # Errors
    ///
    /// `Unavailable` without a connection to the server; `ReadOnly` if it takes no changes.
    pub fn begin(self: &Arc<Self>, meta: TransactionMeta) -> Result<Transaction> {
        let link = self.main.link_now("tpc_begin").map_err(storage_error)?;
        if link.read_only {
            return Err(Error::ReadOnly);
        }
        let committer = self.take(&link.address)?;
        committer.begin(meta);
        Ok(Transaction {
            committers: Arc::clone(self),
            committer: Some(committer),
        })
    }

    fn take(&self, address: &Address) -> Result<Committer> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Error::Unavailable("the storage is closed".to_owned()));
            }
            if let Some(idle) = state.idle.pop() {
                if self.is_of(&idle, address) {
                    return Ok(idle);
                }
                // The main connection is to another server now.
                state.count -= 1;
                drop(state);
                idle.stop();
                state = self.lock();
            } else if state.count < COMMITTERS_MAX {
                state.count += 1;
                drop(state);
                return self.open(address).inspect_err(|_| self.forget());
            } else {
                let waited = self.given_back.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn is_main(&self, committer: &Committer) -> bool {
        Arc::ptr_eq(committer.storage(), &self.main)
    }

    fn is_of(&self, committer: &Committer, address: &Address) -> bool {
        let link = committer.storage().link_now("tpc_begin");
        self.is_main(committer) || link.is_ok_and(|link| &link.address == address)
    }

    /// One more connection to the same server, which keeps no cache.
    fn open(&self, address: &Address) -> Result<Committer> {
        let mut settings = self.settings.clone();
        settings.addresses = vec![address.clone()];
        settings.cache = None;
        settings.cache_size = 0;
        settings.wait = true;
        settings.wait_timeout = settings.wait_timeout.min(OPEN_MAX);
        settings.read_only_fallback = false;
        start(Arc::new(
            ClientStorage::open(settings).map_err(storage_error)?,
        ))
    }

    fn forget(&self) {
        self.lock().count -= 1;
        self.given_back.notify_one();
    }

    fn give_back(&self, committer: Committer) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return committer.stop();
        }
        if self.is_main(&committer) {
            state.idle.push(committer);
        } else {
            state.idle.insert(0, committer);
        }
        drop(state);
        self.given_back.notify_one();
    }

    /// Closes the connections that are idle, and each other one when its transaction ends.
    pub fn close(&self) {
        let idle = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        self.given_back.notify_all();
        idle.into_iter().for_each(Committer::stop);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl Transaction {
    /// The connection that it is made over.
    pub fn committer(&self) -> Option<&Committer> {
        self.committer.as_ref()
    }

    /// Finishes it. The answer is to be waited for; the connection takes the next transaction behind
    /// it.
    pub fn finish(mut self) -> Option<Receiver<Finished>> {
        let committer = self.committer.take()?;
        let answer = committer.finish();
        self.committers.give_back(committer);
        Some(answer)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(committer) = self.committer.take() {
            committer.abort();
            self.committers.give_back(committer);
        }
    }
}

fn start(storage: Arc<ClientStorage>) -> Result<Committer> {
    let started = Committer::start(storage);
    started.map_err(|why| broken(format!("starting a thread for commits: {why}")))
}
