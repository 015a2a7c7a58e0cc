//! The storage's own thread: it connects, reads all that the server sends, and connects again.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use zeo_proto::message::{Call, Reply, StorageInfo};
use zeo_storage::log::Level;

use super::connect::{self, Candidate};
use super::dispatch::dispatch;
use super::error::{Attempt, Error, Refusal};
use super::input::{Found, Input};
use super::link::Link;
use super::lock::locked;
use super::shared::Shared;
use crate::connection_error::ConnectionError;

/// How often the server is told that this client is there.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Runs until the storage is closed.
pub(super) fn run(shared: &Shared) {
    shared.set_reader();
    let mut failures = 0;
    while !shared.is_closed() {
        match connected(shared) {
            Ok((link, input)) => {
                failures = 0;
                serve(shared, &link, input);
            }
            Err(attempts) => {
                shared.set_attempts(attempts);
                failures += 1;
            }
        }
        if !shared.is_closed() {
            pause(shared, failures);
        }
    }
}

fn pause(shared: &Shared, failures: u32) {
    let settings = &shared.settings;
    let grown =
        { settings.disconnect_poll }.saturating_mul(1 << failures.min(16).saturating_sub(1));
    let longest = grown.min(settings.max_disconnect_poll);
    let time = longest.mul_f64(0.5 + 0.5 * fastrand::f64());
    let timeout = Timespec::try_from(time).ok();
    let mut watched = [PollFd::new(shared.closing(), PollFlags::IN)];
    let _ = poll(&mut watched, timeout.as_ref());
}

/// A connection whose storage is known.
fn connected(shared: &Shared) -> Result<(Arc<Link>, Input), Vec<Attempt>> {
    let mut attempts = Vec::new();
    for address in &shared.settings.addresses {
        let made = connect::register(&shared.settings, address);
        let why = match made.and_then(|candidate| established(shared, candidate)) {
            Ok(connected) => return Ok(connected),
            Err(why) => why,
        };
        shared.log(Level::Warning, &format!("{address}: {why}"));
        attempts.push(Attempt {
            address: address.clone(),
            why,
        });
    }
    Err(attempts)
}

fn established(shared: &Shared, candidate: Candidate) -> Result<(Arc<Link>, Input), Refusal> {
    let lost = |why| Refusal::Connection(Arc::new(why));
    let Candidate {
        mut connection,
        read_only,
        last_tid,
    } = candidate;
    let owned = |reply: Reply<'_>| {
        reply
            .into_owned()
            .result::<StorageInfo<'static>>("get_info")
    };
    let info = { connection.call_with(&Call::GetInfo, &mut |_| {}, owned) }.map_err(lost)?;
    if let Some(label) = &shared.settings.client_label {
        let label = label.as_str().into();
        connection
            .send_async(&Call::SetClientLabel { label })
            .map_err(lost)?;
    }
    let address = connection.address().clone();
    let made = Link::new(connection, read_only);
    let (link, input) = made.map_err(|why| {
        lost(ConnectionError::Disconnected {
            address,
            what: "connection".to_owned(),
            why: Some(why),
            hint: "",
        })
    })?;
    *locked(&shared.info) = info;
    let link = Arc::new(link);
    { &shared.listeners }.moved(last_tid, |listener| listener.everything_changed(last_tid));
    { &shared.listeners }.tell(|listener| listener.connected(&link.address, link.read_only));
    shared.set_connected(&link);
    Ok((link, input))
}

/// Takes what comes until the connection ends.
fn serve(shared: &Shared, link: &Link, input: Input) {
    let why = match read(shared, link, input) {
        Ok(()) => link.lost_by(None),
        Err(why) => link.lost_by(Some(&why)),
    };
    let is_closed = shared.is_closed();
    let why = if is_closed { Error::Closed } else { why };
    shared.set_connecting();
    link.fail(&why);
    if !is_closed {
        shared.log(Level::Warning, &why.to_string());
        shared.listeners.tell(|listener| listener.disconnected());
    }
}

fn read(shared: &Shared, link: &Link, mut input: Input) -> io::Result<()> {
    let mut due = Instant::now() + HEARTBEAT;
    loop {
        while let Some(frame) = input.frame().map_err(io::Error::other)? {
            dispatch(shared, link, frame).map_err(io::Error::other)?;
            let length = frame.len();
            input.consume(length);
        }
        match input.read()? {
            Found::Bytes => {}
            Found::End => return Ok(()),
            Found::Nothing => {
                while !wait(link, due)? {
                    link.heartbeat();
                    due = Instant::now() + HEARTBEAT;
                }
                input.note_readable();
            }
        }
    }
}

/// Waits for something to read; false when a heartbeat is due.
fn wait(link: &Link, due: Instant) -> io::Result<bool> {
    let left = due.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).ok();
    let mut watched = [PollFd::new(link.socket(), PollFlags::IN)];
    match poll(&mut watched, timeout.as_ref()) {
        Ok(0) => Ok(false),
        Ok(_) | Err(Errno::INTR) => Ok(true),
        Err(why) => Err(why.into()),
    }
}
