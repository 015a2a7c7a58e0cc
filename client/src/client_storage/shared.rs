//! What the threads of a storage share: the state of its connection, and what is known of it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use zeo_proto::Oid;
use zeo_proto::message::StorageInfo;
use zeo_storage::log::Level;

use super::error::{Attempt, Disconnected, Error};
use super::link::Link;
use super::listeners::Listeners;
use super::lock::locked;
use super::settings::Settings;

pub(super) struct Shared {
    pub settings: Settings,
    pub listeners: Arc<Listeners>,
    /// What the server has told of the storage, last.
    pub info: Mutex<StorageInfo<'static>>,
    /// Oids that the server has given and nobody has taken yet, the next one last.
    pub oids: Mutex<Vec<Oid>>,
    /// One transaction at a time.
    pub committing: Turn,
    state: Mutex<State>,
    changed: Condvar,
    /// Becomes readable when the storage is closed.
    closing: OwnedFd,
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
    pub fn new(settings: Settings) -> io::Result<Self> {
        Ok(Self {
            settings,
            listeners: Arc::default(),
            info: Mutex::default(),
            oids: Mutex::default(),
            committing: Turn::default(),
            state: Mutex::new(State {
                phase: Phase::Connecting,
                was_connected: false,
                attempts: Vec::new(),
                reader: None,
            }),
            changed: Condvar::new(),
            closing: eventfd(0, EventfdFlags::CLOEXEC)?,
        })
    }

    pub fn log(&self, level: Level, text: &str) {
        (self.settings.log)(level, text);
    }

    /// The connection; waits for one, up to `wait_timeout`.
    pub fn link(&self, what: &'static str) -> Result<Arc<Link>, Error> {
        let mut state = locked(&self.state);
        if let Phase::Connected(link) = &state.phase {
            return Ok(Arc::clone(link));
        }
        let never = !state.was_connected && !self.settings.wait;
        let disconnected = |why| Error::Disconnected { what, why };
        let is_reader = state.reader == Some(thread::current().id());
        let limit = self.settings.wait_timeout;
        let until = Instant::now().checked_add(limit);
        loop {
            let attempts = || state.attempts.clone();
            match &state.phase {
                Phase::Connected(link) => return Ok(Arc::clone(link)),
                Phase::Closed => return Err(Error::Closed),
                Phase::Connecting if never => {
                    let attempts = attempts();
                    return Err(disconnected(Disconnected::NeverConnected { attempts }));
                }
                Phase::Connecting if is_reader => {
                    let attempts = attempts();
                    return Err(disconnected(Disconnected::NotConnected { attempts }));
                }
                Phase::Connecting => {}
            }
            // A limit that is too far away to be told is as good as none.
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(disconnected(Disconnected::TimedOut {
                    waited: limit,
                    attempts: attempts(),
                }));
            }
            state = match left {
                Some(left) => match self.changed.wait_timeout(state, left) {
                    Ok((state, _)) => state,
                    Err(why) => why.into_inner().0,
                },
                None => { self.changed.wait(state) }.unwrap_or_else(|why| why.into_inner()),
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

    /// There is a connection; false if the storage was closed meanwhile.
    pub fn set_connected(&self, link: &Arc<Link>) -> bool {
        let mut state = locked(&self.state);
        if matches!(state.phase, Phase::Closed) {
            return false;
        }
        state.phase = Phase::Connected(Arc::clone(link));
        state.was_connected = true;
        state.attempts.clear();
        self.changed.notify_all();
        true
    }

    /// The connection is lost. Oids that a server has given may be given again by the next one.
    pub fn set_connecting(&self) {
        let mut state = locked(&self.state);
        if !matches!(state.phase, Phase::Closed) {
            state.phase = Phase::Connecting;
        }
        locked(&self.oids).clear();
    }

    /// Keeps oids that were given over this connection, if it is still there.
    pub fn keep_oids(&self, link: &Arc<Link>, given: Vec<Oid>) {
        let state = locked(&self.state);
        if matches!(&state.phase, Phase::Connected(current) if Arc::ptr_eq(current, link)) {
            locked(&self.oids).splice(0..0, given);
        }
    }

    /// Attempts to connect have failed.
    pub fn set_attempts(&self, attempts: Vec<Attempt>) {
        locked(&self.state).attempts = attempts;
    }

    /// This thread reads.
    pub fn set_reader(&self) {
        locked(&self.state).reader = Some(thread::current().id());
    }

    /// Whether this is the thread that reads, which must not wait for a reply.
    pub fn is_reader(&self) -> bool {
        locked(&self.state).reader == Some(thread::current().id())
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
        // It fails only if it was done 2^64 times.
        let _ = rustix::io::write(&self.closing, &1_u64.to_ne_bytes());
        if let Some(link) = link {
            link.fail(&Error::Closed);
        }
        self.committing.close();
    }

    pub fn is_closed(&self) -> bool {
        matches!(locked(&self.state).phase, Phase::Closed)
    }

    /// Becomes readable when the storage is closed, and stays so.
    pub fn closing(&self) -> &OwnedFd {
        &self.closing
    }
}

/// A turn that one has at a time, in any thread.
#[derive(Default)]
pub(super) struct Turn {
    state: Mutex<TurnState>,
    over: Condvar,
}

#[derive(Default)]
struct TurnState {
    taken: bool,
    closed: bool,
}

impl Turn {
    /// Waits for the turn.
    ///
    /// # Errors
    ///
    /// The storage is closed.
    pub fn take(&self) -> Result<TurnGuard<'_>, Error> {
        let mut state = locked(&self.state);
        while state.taken && !state.closed {
            state = { self.over.wait(state) }.unwrap_or_else(|why| why.into_inner());
        }
        if state.closed {
            return Err(Error::Closed);
        }
        state.taken = true;
        Ok(TurnGuard(self))
    }

    fn close(&self) {
        locked(&self.state).closed = true;
        self.over.notify_all();
    }
}

/// Who has the turn, until this is dropped.
pub(super) struct TurnGuard<'a>(&'a Turn);

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        locked(&self.0.state).taken = false;
        self.0.over.notify_one();
    }
}
