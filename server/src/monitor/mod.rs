//! The monitor: a small HTTP server that shows what the server does, on threads of its own.
//! `docs/monitoring.md` tells what it answers.
//!
//! It reads counters, asks the coordinators (never for long, and not more often than a few times a
//! second), and changes nothing; only at a Unix socket, an operator may end a connection or a pack.

mod control;
mod listener;
mod metrics;
mod page;
mod process;
mod request;
mod response;
mod routes;
mod served;
mod snapshot;
mod status;

use std::io;
use std::sync::{Arc, OnceLock};

use slog::{Logger, info};
use zeo_storage::zconfig::datatypes::Address;

pub use self::listener::with_host;
use self::listener::{Listener, Threads};
use self::routes::Routes;
use self::served::Served;
use crate::server::Server;

/// The monitor of one process. Dropping it ends it.
pub struct Monitor {
    served: Arc<OnceLock<Served>>,
    labels: Vec<String>,
    _threads: Threads,
}

/// An address that the monitor can't listen at.
#[derive(Debug, thiserror::Error)]
#[error("the monitor can't listen at {address}: {source}")]
pub struct MonitorError {
    /// The address.
    pub address: Address,
    /// The cause.
    pub source: io::Error,
}

impl MonitorError {
    /// True when starting again does not help until somebody changes something.
    pub(crate) fn is_usage(&self) -> bool {
        // Not an address that this machine lacks: at boot, it may still come.
        use io::ErrorKind::{AddrInUse, NotFound};
        matches!(self.source.kind(), AddrInUse | NotFound)
    }
}

impl Monitor {
    /// Listens at these addresses; `None` if there are none. A TCP address without a host is one
    /// of this machine's loopback. Until [`Self::show`] it tells that the server is starting.
    ///
    /// # Errors
    /// An address can't be bound, or the system gives no thread.
    pub fn start(addresses: &[Address], log: &Logger) -> Result<Option<Self>, MonitorError> {
        let mut listeners = Vec::new();
        for address in addresses {
            let failed = |source| MonitorError {
                address: with_host(address),
                source,
            };
            listeners.extend(Listener::bind(address).map_err(failed)?);
        }
        let Some(first) = addresses.first() else {
            return Ok(None);
        };
        let labels: Vec<_> = listeners.iter().map(|l| l.label().to_owned()).collect();
        info!(log, "monitor at {}", labels.join(", "));
        let served = Arc::new(OnceLock::new());
        let routes = Routes::new(Arc::clone(&served), log.clone());
        let answer = Arc::new(move |request: &_, peer: &_| routes.answer(request, peer));
        let threads = Threads::start(listeners, answer, log.clone());
        Ok(Some(Self {
            served,
            labels,
            _threads: threads.map_err(|source| MonitorError {
                address: first.clone(),
                source,
            })?,
        }))
    }

    /// From now on, this server is shown.
    pub fn show(&self, server: &Arc<Server>) {
        let _ = self.served.set(Served {
            server: Arc::clone(server),
            monitors: self.labels.clone(),
        });
    }
}
