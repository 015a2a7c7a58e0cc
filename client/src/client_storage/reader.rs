//! The storage's own thread: it connects, reads all that the server sends, and connects again.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use zeo_storage::log::Level;

use super::connect::{Candidate, Wanted, search};
use super::dispatch::dispatch;
use super::error::{Disconnected, Error, Refusal};
use super::input::{Found, Input};
use super::link::Link;
use super::shared::Shared;
use super::verify::{Verified, verify};
use crate::cancel::{Cancel, Cancels, Waited};
use crate::connection_error::ConnectionError;
use crate::lock::locked;

/// How often the server is told that this client is there.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Why a connection is not read any more.
enum End {
    Lost(Option<io::Error>),
    /// There is a server that takes changes, which this one does not.
    Replaced(Box<Candidate>),
}

/// Runs until the storage is closed.
pub(super) fn run(shared: &Arc<Shared>) {
    shared.set_reader();
    // Also if this thread panics: nobody waits for it then.
    let _end = AtEnd(shared);
    let mut failures = 0_u32;
    let mut next = None;
    while !shared.is_closed() {
        let found = next.take();
        let Some(candidate) = found.or_else(|| search(shared, Wanted::Any, failures, None)) else {
            continue;
        };
        let address = candidate.connection.address().clone();
        let begun = Instant::now();
        match verify(shared, candidate).and_then(|verified| linked(shared, verified)) {
            Ok((link, input)) => next = serve(shared, &link, input),
            Err(why) => shared.refused(&address, why),
        }
        // One that is lost at once is as good as none.
        failures = if begun.elapsed() > shared.settings.max_disconnect_poll {
            0
        } else {
            failures.saturating_add(1)
        };
    }
}

struct AtEnd<'a>(&'a Shared);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Lets callers use a connection.
fn linked(shared: &Shared, verified: Verified) -> Result<(Arc<Link>, Input), Refusal> {
    let address = verified.connection.address().clone();
    let limit = shared.settings.call_timeout;
    let made = Link::new(verified.connection, verified.read_only, limit);
    let (link, input) = made.map_err(|why| {
        Refusal::Connection(Arc::new(ConnectionError::Disconnected {
            address,
            what: "connection".to_owned(),
            why: Some(why),
            hint: "",
        }))
    })?;
    *locked(&shared.info) = verified.info;
    let link = Arc::new(link);
    shared.log(Level::Info, &format!("connected to {}", link.address));
    shared
        .known
        .listeners
        .tell(|listener| listener.connected(&link.address, link.read_only));
    shared.set_connected(&link);
    Ok((link, input))
}

/// Takes what comes until the connection ends. Returns the server that is to replace this one, if
/// that is why.
fn serve(shared: &Arc<Shared>, link: &Arc<Link>, input: Input) -> Option<Box<Candidate>> {
    let falls_back = link.read_only && shared.settings.read_only_fallback;
    let mut upgrade = falls_back.then(|| Upgrade::begin(shared)).flatten();
    let end = read(shared, link, input, &mut upgrade);
    drop(upgrade);
    let (why, next) = match end {
        End::Lost(why) => (link.lost_by(why.as_ref()), None),
        End::Replaced(candidate) => {
            let why = "a server that takes changes replaces it".to_owned();
            let why = Disconnected::Lost {
                address: link.address.clone(),
                why,
            };
            let what = "connection";
            (Error::Disconnected { what, why }, Some(candidate))
        }
    };
    let is_closed = shared.is_closed();
    let why = if is_closed { Error::Closed } else { why };
    shared.set_connecting();
    link.fail(&why);
    if !is_closed {
        shared.log(Level::Warning, &why.to_string());
        shared
            .known
            .listeners
            .tell(|listener| listener.disconnected());
    }
    next
}

fn read(shared: &Arc<Shared>, link: &Link, mut input: Input, upgrade: &mut Option<Upgrade>) -> End {
    let mut due = Instant::now() + HEARTBEAT;
    loop {
        let taken = take_all(shared, link, &mut input);
        // All that came in together is written together.
        shared.known.flush();
        match taken {
            Ok(true) => {}
            Ok(false) => return End::Lost(None),
            Err(why) => return End::Lost(Some(why)),
        }
        let socket = (link.socket().as_fd(), PollFlags::IN);
        let found = upgrade.as_ref().map(|upgrade| upgrade.ready.clone());
        match Cancels::new(found.into_iter().collect()).wait(Some(socket), Some(due)) {
            Ok(Waited::Ready) => input.note_readable(),
            Ok(Waited::TimeOver) => {
                link.heartbeat();
                due = Instant::now() + HEARTBEAT;
                // Over TLS, something may have come that waited for room to write.
                input.note_readable();
                if upgrade.is_none() && link.read_only && shared.settings.read_only_fallback {
                    // There were no descriptors or threads left.
                    *upgrade = Upgrade::begin(shared);
                }
            }
            Ok(Waited::Cancelled) => {
                let found = upgrade
                    .take()
                    .and_then(|upgrade| locked(&upgrade.found).take());
                if let Some(candidate) = found {
                    match shared.check_not_behind(candidate.last_tid) {
                        Ok(()) => return End::Replaced(candidate),
                        Err(why) => shared.refused(candidate.connection.address(), why),
                    }
                }
                *upgrade = Upgrade::begin(shared);
            }
            Err(why) => return End::Lost(Some(why)),
        }
    }
}

/// Takes all messages that are there; false if the server has closed the connection.
fn take_all(shared: &Shared, link: &Link, input: &mut Input) -> io::Result<bool> {
    loop {
        while let Some(frame) = input.frame().map_err(io::Error::other)? {
            dispatch(shared, link, frame).map_err(io::Error::other)?;
            let length = frame.len();
            input.consume(length);
        }
        match input.read()? {
            Found::Bytes => {}
            Found::Nothing => return Ok(true),
            Found::End => return Ok(false),
        }
    }
}

/// The search for a server that takes changes, while a read-only one is used. Dropping it ends it.
struct Upgrade {
    stop: Cancel,
    found: Arc<Mutex<Option<Box<Candidate>>>>,
    /// Is set when one is found.
    ready: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Upgrade {
    fn begin(shared: &Arc<Shared>) -> Option<Self> {
        let (stop, ready) = (Cancel::new().ok()?, Cancel::new().ok()?);
        let found = Arc::new(Mutex::new(None));
        let (stopped, finds, tells) = (stop.clone(), Arc::clone(&found), ready.clone());
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("zeo-connect".to_owned());
        let thread = thread.spawn(move || {
            while !shared.is_closed() && !stopped.is_cancelled() {
                // The first attempt was made when the other server was found.
                let candidate = search(&shared, Wanted::Writable, 1, Some(&stopped));
                if candidate.is_some() {
                    *locked(&finds) = candidate;
                    tells.cancel();
                    return;
                }
            }
        });
        Some(Self {
            stop,
            found,
            ready,
            thread: Some(thread.ok()?),
        })
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
