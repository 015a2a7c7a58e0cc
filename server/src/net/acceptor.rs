//! The listening sockets, one thread each: they accept, and read nothing.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use slog::{Logger, debug, error, info};
use zeo_storage::zconfig::datatypes::Address;

use super::gate::Gate;
use super::listener::Listener;
use super::socket_rights::SocketRights;
use super::sockets::Sockets;
use super::tls::ServerTls;
use crate::server::Server;

/// How long to wait when the system has no descriptor or thread to give.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The threads that accept. Dropping it stops them and removes a Unix
/// socket's file.
pub struct Acceptors {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<OwnedFd>,
    socket_file: Option<PathBuf>,
    addresses: Vec<SocketAddr>,
    shown: Vec<String>,
    label: String,
}

impl Acceptors {
    /// Listens at the address and serves who connects, by TLS if that is given. A host name that
    /// has several addresses is listened for at each.
    ///
    /// # Errors
    /// An address can't be resolved or bound, or a thread not started.
    pub fn start(
        address: &Address,
        server: &Arc<Server>,
        tls: Option<Arc<ServerTls>>,
    ) -> io::Result<Self> {
        let sockets = Sockets::bind(address, &SocketRights::default())?;
        let acceptors = Self::over(sockets, server, tls)?;
        acceptors.announce(server.log());
        Ok(acceptors)
    }

    /// Listens with these sockets, and serves by TLS if that is given.
    ///
    /// # Errors
    /// An address can't be had, or a thread not started.
    pub(crate) fn over(
        sockets: Sockets,
        server: &Arc<Server>,
        tls: Option<Arc<ServerTls>>,
    ) -> io::Result<Self> {
        let gate = tls.map(|tls| Arc::new(Gate::new(tls, server.settings().handshake_timeout)));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (listeners, socket_file) = sockets.listen()?;
        let mut acceptors = Self {
            threads: Vec::new(),
            stop,
            socket_file,
            addresses: Vec::new(),
            shown: Vec::new(),
            label: String::new(),
        };
        let mut labels = Vec::new();
        for listener in listeners {
            listener.set_nonblocking()?;
            labels.push(listener.label()?);
            acceptors.shown.push(listener.address()?);
            acceptors.addresses.extend(listener.socket_address()?);
            let (server, gate) = (Arc::clone(server), gate.clone());
            let stop = Arc::clone(&acceptors.stop);
            let run = move || accept_all(&listener, &server, gate.as_ref(), stop.as_fd());
            acceptors
                .threads
                .push(thread::Builder::new().name("acceptor".into()).spawn(run)?);
        }
        acceptors.label = labels.join(", ");
        server.note_addresses(&acceptors.shown);
        Ok(acceptors)
    }

    /// Says in the log where the server listens: in one line, which scripts wait for. Behind it,
    /// the start logs nothing.
    pub(crate) fn announce(&self, log: &Logger) {
        info!(log, "listening on {}", self.label);
    }

    /// The addresses that are listened at, with their ports; none for a Unix socket.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses that are listened at, as clients are configured with them: `HOST:PORT`,
    /// `[HOST]:PORT` or the path of a Unix socket.
    pub fn shown_addresses(&self) -> &[String] {
        &self.shown
    }
}

impl Drop for Acceptors {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(path) = &self.socket_file {
            let _ = fs::remove_file(path);
        }
    }
}

fn accept_all(
    listener: &Listener,
    server: &Arc<Server>,
    gate: Option<&Arc<Gate>>,
    stop: BorrowedFd<'_>,
) {
    // Since a connection was accepted.
    let mut failures: u64 = 0;
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
        ];
        if let Err(why) = poll(&mut fds, None)
            && why != rustix::io::Errno::INTR
        {
            error!(server.log(), "can't wait for connections: {why}");
            thread::sleep(ACCEPT_RETRY_INTERVAL);
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        let accepted = if server.is_full() {
            Err(io::Error::other("there are as many as may be"))
        } else {
            listener.accept()
        };
        let accepted = accepted.and_then(|(stream, peer)| {
            debug!(server.log(), "Connected {peer}");
            server.serve_behind(gate, stream, peer)
        });
        match accepted {
            Ok(()) if failures > 0 => {
                let times = std::mem::take(&mut failures);
                info!(
                    server.log(),
                    "accepting connections again, after {times} failures"
                );
            }
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
            // The client gave up before it was accepted.
            Err(why) if why.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(why) => {
                // It may last: one line is enough.
                if failures == 0 {
                    error!(server.log(), "can't accept connections: {why}");
                }
                failures += 1;
                thread::sleep(ACCEPT_RETRY_INTERVAL);
            }
        }
    }
}
