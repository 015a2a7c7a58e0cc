//! Connecting: from addresses to a registered connection.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use zeo_proto::Tid;

use super::error::Refusal;
use super::settings::Settings;
use super::shared::Shared;
use crate::address::Address;
use crate::cancel::{Cancel, Cancels, Waited};
use crate::connection::{Connection, Options};
use crate::connection_error::{ConnectionError, Raised};

/// How long to wait for descriptors or threads, when the system has none left.
const RESOURCES_PAUSE: Duration = Duration::from_secs(1);

/// A server that has taken this client.
pub(super) struct Candidate {
    pub connection: Connection,
    pub read_only: bool,
    /// The server's last transaction.
    pub last_tid: Tid,
}

/// Which servers will do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Those that the settings allow for.
    Any,
    /// Those that take changes.
    Writable,
}

/// Looks for a server, at all addresses at once, each with pauses of its own that grow from that of
/// so many failures. None when the storage is closed, or has other addresses now, or `stop` is set.
pub(super) fn search(
    shared: &Arc<Shared>,
    wanted: Wanted,
    failures: u32,
    stop: Option<&Cancel>,
) -> Option<Box<Candidate>> {
    let addresses = shared.begin_search();
    let Ok(over) = Cancel::new() else {
        // No descriptor is left, maybe soon one is.
        let _ = shared.closing().pause(Instant::now() + RESOURCES_PAUSE);
        return None;
    };
    let mut cancels = shared.search_cancels();
    cancels.extend(stop.cloned());
    cancels.push(over.clone());
    let cancels = Cancels::new(cancels);
    if let [address] = &addresses[..] {
        return keep_trying(shared, address, wanted, failures, &cancels);
    }
    let (sender, receiver) = channel();
    let mut threads = 0;
    for address in addresses {
        let (sender, searching, cancels) = (sender.clone(), Arc::clone(shared), cancels.clone());
        let thread = thread::Builder::new().name("zeo-connect".to_owned());
        let begun = thread.spawn(move || {
            let found = keep_trying(&searching, &address, wanted, failures, &cancels);
            // Who looks for a server no more closes it.
            let _ = found.map(|candidate| sender.send(candidate));
        });
        // Without a thread there are the others.
        threads += usize::from(begun.is_ok());
        shared.keep_thread(begun.ok());
    }
    if threads == 0 {
        let _ = shared.closing().pause(Instant::now() + RESOURCES_PAUSE);
    }
    drop(sender);
    let found = receiver.recv().ok();
    over.cancel();
    found
}

/// Tries one address again and again.
fn keep_trying(
    shared: &Shared,
    address: &Address,
    wanted: Wanted,
    mut failures: u32,
    cancels: &Cancels,
) -> Option<Box<Candidate>> {
    loop {
        let until = Instant::now() + pause(&shared.settings, failures);
        match cancels.pause(until) {
            Ok(Waited::TimeOver) => {}
            _ => return None,
        }
        match register(shared, address, wanted, cancels) {
            Ok(candidate) => return Some(Box::new(candidate)),
            Err(why) => shared.refused(address, why),
        }
        failures = failures.saturating_add(1);
    }
}

/// None at first, and then longer and longer; with some chance, so that not all clients come at the
/// same moment.
fn pause(settings: &Settings, failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let grown = settings
        .disconnect_poll
        .saturating_mul(1 << doublings.min(16));
    grown
        .min(settings.max_disconnect_poll)
        .mul_f64(0.5 + 0.5 * fastrand::f64())
}

/// Connects to a server and registers there: for changes, unless the client is to make none; or
/// else, with `read_only_fallback`, for reading only.
fn register(
    shared: &Shared,
    address: &Address,
    wanted: Wanted,
    cancels: &Cancels,
) -> Result<Candidate, Refusal> {
    let lost = |why| Refusal::Connection(Arc::new(why));
    let settings = &shared.settings;
    let mut options = Options::within(settings.connect_timeout);
    options.tls = settings.tls.clone();
    options.cancels = cancels.clone();
    let mut connection = Connection::open(address, &options).map_err(lost)?;
    let mut read_only = settings.read_only && !settings.read_only_fallback;
    let mut registered = connection.register(&settings.storage, read_only);
    if settings.read_only_fallback && wanted == Wanted::Any && is_read_only(&registered) {
        read_only = true;
        registered = connection.register(&settings.storage, read_only);
    }
    if is_read_only(&registered) {
        return Err(Refusal::ReadOnly);
    }
    let last_tid = registered.map_err(lost)?.unwrap_or_default();
    shared.check_not_behind(last_tid)?;
    Ok(Candidate {
        connection,
        read_only,
        last_tid,
    })
}

fn is_read_only<T>(registered: &Result<T, ConnectionError>) -> bool {
    matches!(registered, Err(why) if why.raised() == Some(Raised::ReadOnly))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_vary() {
        let mut settings = Settings::new(Vec::new());
        settings.max_disconnect_poll = Duration::from_secs(7);
        assert_eq!(pause(&settings, 0), Duration::ZERO);
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (4, 7), (5, 7), (u32::MAX, 7)] {
            let longest = Duration::from_secs(longest);
            let pauses: Vec<_> = (0..50).map(|_| pause(&settings, failures)).collect();
            assert!(
                pauses
                    .iter()
                    .all(|pause| longest / 2 <= *pause && *pause <= longest)
            );
            assert!(
                pauses.iter().any(|pause| *pause != pauses[0]),
                "no chance in it"
            );
        }
    }
}
