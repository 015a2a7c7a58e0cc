//! The listening sockets, one thread each: they accept, and read nothing.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use slog::{Logger, debug, error, info};
use zeo_storage::zconfig::datatypes::Address;

use super::gate::Gate;
use super::listener::Listener;
use super::socket_rights::SocketRights;
use super::sockets::Sockets;
use super::tls::ServerTls;
use crate::server::Server;
use crate::status::outage::Outage;

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
    let mut outage = Outage::default();
    loop {
        if let Some(times) = outage.recovered(Instant::now()) {
            info!(
                server.log(),
                "accepting connections again, after {times} failures"
            );
        }
        let mut fds = [
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
        ];
        let timeout = outage.time_left(Instant::now());
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        let waited = poll(&mut fds, timeout.as_ref());
        if !fds[1].revents().is_empty() {
            return;
        }
        let accepted = match waited {
            Err(why) if why != rustix::io::Errno::INTR => Err(why.into()),
            Ok(_) if !fds[0].revents().is_empty() => accept(listener, server, gate),
            _ => continue,
        };
        match accepted {
            Ok(()) => outage.succeeded(),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
            // The client gave up before it was accepted.
            Err(why) if why.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(why) => {
                match outage.failed(Instant::now()) {
                    Some(0) => error!(server.log(), "can't accept connections: {why}"),
                    Some(times) => error!(
                        server.log(),
                        "still can't accept all connections: {why}; {times} failures so far"
                    ),
                    None => {}
                }
                thread::sleep(ACCEPT_RETRY_INTERVAL);
            }
        }
    }
}

fn accept(listener: &Listener, server: &Arc<Server>, gate: Option<&Arc<Gate>>) -> io::Result<()> {
    if server.is_full() {
        return Err(io::Error::other("there are as many as may be"));
    }
    let (stream, peer) = listener.accept()?;
    debug!(server.log(), "Connected {peer}");
    server.serve_behind(gate, stream, peer)
}
