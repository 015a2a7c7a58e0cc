//! What the threads of a storage share: the state of its connection, and what is known.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Instant;

use zeo_proto::message::StorageInfo;
use zeo_proto::{Oid, Tid};
use zeo_storage::log::Level;

use super::error::{Attempt, Disconnected, Error, Refusal};
use super::known::Known;
use super::link::Link;
use super::settings::Settings;
use super::turn::Turn;
use crate::address::Address;
use crate::cancel::{Cancel, Cancels};
use crate::lock::locked;

pub(super) struct Shared {
    pub settings: Settings,
    pub known: Known,
    /// What the server has told of the storage, last.
    pub info: Mutex<StorageInfo<'static>>,
    /// One transaction at a time.
    pub committing: Turn,
    /// The servers, as of now.
    addresses: Mutex<Vec<Address>>,
    /// Oids that the server has given and nobody has taken yet, the next one last.
    oids: Mutex<Vec<Oid>>,
    state: Mutex<State>,
    changed: Condvar,
    /// Threads that are about to end, or have.
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The storage is closed.
    closing: Cancel,
    /// There are other addresses.
    readdressed: Cancel,
}

struct State {
    phase: Phase,
    was_connected: bool,
    /// What came of the last attempt at each address.
    attempts: Vec<Attempt>,
    reader: Option<ThreadId>,
}

enum Phase {
    Connecting,
    Connected(Arc<Link>),
    Closed,
}

impl Shared {
    pub fn new(settings: Settings, known: Known) -> io::Result<Self> {
        Ok(Self {
            addresses: Mutex::new(settings.addresses.clone()),
            settings,
            known,
            info: Mutex::default(),
            committing: Turn::default(),
            oids: Mutex::default(),
            state: Mutex::new(State {
                phase: Phase::Connecting,
                was_connected: false,
                attempts: Vec::new(),
                reader: None,
            }),
            changed: Condvar::new(),
            threads: Mutex::default(),
            closing: Cancel::new()?,
            readdressed: Cancel::new()?,
        })
    }

    pub fn log(&self, level: Level, text: &str) {
        (self.settings.log)(level, text);
    }

    /// The connection; waits for one, up to `wait_timeout`.
    pub fn link(&self, what: &'static str) -> Result<Arc<Link>, Error> {
        let mut state = locked(&self.state);
        let never = !state.was_connected && !self.settings.wait;
        let is_reader = state.reader == Some(thread::current().id());
        let waited = self.settings.wait_timeout;
        let until = Instant::now().checked_add(waited);
        loop {
            match &state.phase {
                Phase::Connected(link) => return Ok(Arc::clone(link)),
                Phase::Closed => return Err(Error::Closed),
                Phase::Connecting => {}
            }
            // A limit that is too far away to be told is as good as none.
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let is_over = left.is_some_and(|left| left.is_zero());
            if never || is_reader || is_over {
                let attempts = state.attempts.clone();
                let why = match (never, is_reader) {
                    (true, _) => Disconnected::NeverConnected { attempts },
                    (_, true) => Disconnected::NotConnected { attempts },
                    _ => Disconnected::TimedOut { waited, attempts },
                };
                return Err(Error::Disconnected { what, why });
            }
            state = match left {
                Some(left) => match self.changed.wait_timeout(state, left) {
                    Ok((state, _)) => state,
                    Err(why) => why.into_inner().0,
                },
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(|why| why.into_inner()),
            };
        }
    }

    /// The connection, if there is one now.
    pub fn link_now(&self, what: &'static str) -> Result<Arc<Link>, Error> {
        let state = locked(&self.state);
        match &state.phase {
            Phase::Connected(link) => Ok(Arc::clone(link)),
            Phase::Closed => Err(Error::Closed),
            Phase::Connecting => Err(Error::Disconnected {
                what,
                why: Disconnected::NotConnected {
                    attempts: state.attempts.clone(),
                },
            }),
        }
    }

    /// There is a connection. (Not if the storage was closed meanwhile.)
    pub fn set_connected(&self, link: &Arc<Link>) {
        let mut state = locked(&self.state);
        if matches!(state.phase, Phase::Closed) {
            drop(state);
            return link.fail(&Error::Closed);
        }
        state.phase = Phase::Connected(Arc::clone(link));
        state.was_connected = true;
        state.attempts.clear();
        self.changed.notify_all();
    }

    /// The connection is lost. Oids that a server has given may be given again by the next one.
    pub fn set_connecting(&self) {
        let mut state = locked(&self.state);
        if !matches!(state.phase, Phase::Closed) {
            state.phase = Phase::Connecting;
        }
        locked(&self.oids).clear();
    }

    /// Takes one of the oids that were given already.
    pub fn take_oid(&self) -> Option<Oid> {
        locked(&self.oids).pop()
    }

    /// Keeps oids that were given over this connection, if it is still there.
    pub fn keep_oids(&self, link: &Arc<Link>, given: Vec<Oid>) {
        let state = locked(&self.state);
        if matches!(&state.phase, Phase::Connected(current) if Arc::ptr_eq(current, link)) {
            locked(&self.oids).splice(0..0, given);
        }
    }

    /// The addresses for a search that begins now.
    pub fn begin_search(&self) -> Vec<Address> {
        self.readdressed.reset();
        locked(&self.addresses).clone()
    }

    /// What the end of the storage ends.
    pub fn closing(&self) -> Cancels {
        Cancels::new(vec![self.closing.clone()])
    }

    /// What ends a search.
    pub fn search_cancels(&self) -> Vec<Cancel> {
        vec![self.closing.clone(), self.readdressed.clone()]
    }

    /// Looks for these servers from now on, if there is no connection, and after its loss.
    pub fn set_addresses(&self, addresses: Vec<Address>) {
        *locked(&self.addresses) = addresses;
        locked(&self.state).attempts.clear();
        self.readdressed.cancel();
    }

    /// Refuses a server that is behind the cache.
    pub fn check_not_behind(&self, server: Tid) -> Result<(), Refusal> {
        match self.known.cached_tid() {
            Some(cache) if cache > server => Err(Refusal::Behind { server, cache }),
            _ => Ok(()),
        }
    }

    /// An attempt to connect has failed.
    pub fn refused(&self, address: &Address, why: Refusal) {
        if self.closing.is_cancelled() {
            return;
        }
        let attempt = Attempt {
            address: address.clone(),
            why,
        };
        let text = attempt.to_string();
        let behind = match attempt.why {
            Refusal::Behind { server, cache } => Some((server, cache)),
            _ => None,
        };
        let is_new = {
            let mut state = locked(&self.state);
            let last = state
                .attempts
                .iter_mut()
                .find(|last| last.address == *address);
            let was = last.as_ref().map(|last| last.to_string());
            match last {
                Some(last) => *last = attempt,
                None => state.attempts.push(attempt),
            }
            was.is_none_or(|was| was != text)
        };
        if is_new {
            self.log(Level::Warning, &format!("not connected: {text}"));
        }
        if let Some((server, cache)) = behind {
            self.known
                .listeners
                .tell(|listener| listener.behind(address, server, cache));
        }
    }

    /// This thread reads.
    pub fn set_reader(&self) {
        locked(&self.state).reader = Some(thread::current().id());
    }

    /// Whether this is the thread that reads, which must not wait for a reply.
    pub fn is_reader(&self) -> bool {
        locked(&self.state).reader == Some(thread::current().id())
    }

    /// A thread that ends soon; those that have ended already are forgotten.
    pub fn keep_thread(&self, thread: Option<JoinHandle<()>>) {
        let mut threads = locked(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.extend(thread);
    }

    /// Waits for the end of all threads that were kept.
    pub fn join_threads(&self) {
        let threads = std::mem::take(&mut *locked(&self.threads));
        for thread in threads {
            // A panic in it has been told by itself.
            let _ = thread.join();
        }
    }

    /// Ends all: who waits is told so.
    pub fn close(&self) {
        let link = {
            let mut state = locked(&self.state);
            self.changed.notify_all();
            match std::mem::replace(&mut state.phase, Phase::Closed) {
                Phase::Connected(link) => Some(link),
                _ => None,
            }
        };
        self.closing.cancel();
        if let Some(link) = link {
            link.fail(&Error::Closed);
        }
        self.committing.close();
    }

    pub fn is_closed(&self) -> bool {
        matches!(locked(&self.state).phase, Phase::Closed)
    }
}
