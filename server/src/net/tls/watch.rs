//! Reads certificates again when an operator asks for it, and when the files have changed.
//!
//! Whoever renews certificates replaces several files, one after the other. So they are read when
//! nothing has changed for a second.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use slog::{Logger, error, info, warn};

use super::files::Files;
use super::server::ServerTls;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How to ask the thread that reads certificates again. It ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    requests: Sender<()>,
}

impl Watch {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(tls: Arc<ServerTls>, log: Logger) -> io::Result<Watch> {
        let (requests, inbox) = bounded(1);
        let run = move || {
            let mut seen = Files::of(tls.config());
            loop {
                let is_asked = match inbox.recv_timeout(INTERVAL) {
                    Ok(()) => true,
                    Err(RecvTimeoutError::Timeout) => false,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let now = Files::of(tls.config());
                if is_asked || (now == seen && tls.is_outdated(&now)) {
                    reload(&tls, &log);
                }
                seen = now;
            }
        };
        thread::Builder::new()
            .name("certificates".into())
            .spawn(run)?;
        Ok(Watch { requests })
    }

    /// Asks for all files to be read again.
    pub fn reload(&self) {
        // If one is waiting already, it does for both.
        let _ = self.requests.try_send(());
    }
}

fn reload(tls: &ServerTls, log: &Logger) {
    match tls.reload() {
        Ok(loaded) => {
            info!(log, "TLS: certificates read again: {}", loaded.summary);
            for warning in loaded.warnings {
                warn!(log, "{warning}");
            }
        }
        Err(why) => error!(
            log,
            "TLS: certificates could not be read again, those from before stay in use: {why}; \
             correct it, and they are read again (SIGUSR2 does so at once)"
        ),
    }
}
