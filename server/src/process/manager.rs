//! What a service manager is told: systemd's notifications. Without one (`NOTIFY_SOCKET`), nothing
//! happens here.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use sd_notify::NotifyState;
use slog::{Logger, debug, error, info};

use crate::server::Server;

/// While the storages are opened, more time is asked for so often.
const EXTEND_INTERVAL: Duration = Duration::from_secs(10);
/// And so much of it.
const EXTEND_BY_MICROSECONDS: u32 = 60_000_000;

/// Asks for more time until it is dropped: a large file without an index takes long to open.
pub struct Opening {
    _end: Sender<()>,
}

impl Opening {
    /// Tells that the server is opening its storages.
    pub fn start(log: &Logger) -> Self {
        let status = NotifyState::Status("opening the storages");
        tell(log, &[status]);
        let (end, ended) = bounded(0);
        let log = log.clone();
        let extend = move || {
            loop {
                tell(
                    &log,
                    &[NotifyState::ExtendTimeoutUsec(EXTEND_BY_MICROSECONDS)],
                );
                if ended.recv_timeout(EXTEND_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            // Without it, only the configured time is there.
            let _ = thread::Builder::new().name("manager".into()).spawn(extend);
        }
        Self { _end: end }
    }
}

/// Tells that the server listens, and from now on, if that is wanted, that it lives.
pub fn ready(server: &Arc<Server>) {
    let status = format!("listening on {}", server.addresses().join(", "));
    let state = [NotifyState::Ready, NotifyState::Status(&status)];
    tell(server.log(), &state);
    if let Some(interval) = sd_notify::watchdog_enabled() {
        let (watched, log) = (Arc::clone(server), server.log());
        let watch = move || watch(&watched, interval / 3);
        if let Err(why) = thread::Builder::new().name("watchdog".into()).spawn(watch) {
            error!(log, "can't start a thread for the watchdog: {why}");
        }
    }
}

/// Tells that the server stops.
pub fn stopping(log: &Logger) {
    let status = NotifyState::Status("stopping");
    tell(log, &[NotifyState::Stopping, status]);
}

/// Beats as long as all coordinators and log writers do: never for a server that accepts
/// connections and commits nothing.
fn watch(server: &Server, interval: Duration) {
    let mut is_late = false;
    loop {
        thread::sleep(interval);
        match server.beat(interval) {
            Ok(()) => {
                tell(server.log(), &[NotifyState::Watchdog]);
                if std::mem::take(&mut is_late) {
                    info!(server.log(), "all storages answer the watchdog again");
                }
            }
            Err(_) if server.is_stopping() => return,
            Err(name) => {
                if !std::mem::replace(&mut is_late, true) {
                    error!(
                        server.log(),
                        "storage '{name}' does not answer: the watchdog is not told that the \
                         server lives"
                    );
                }
            }
        }
    }
}

fn tell(log: &Logger, state: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(state) {
        debug!(log, "can't tell the service manager: {why}");
    }
}
