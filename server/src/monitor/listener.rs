//! The monitor's sockets: one thread accepts, one for each connection answers.
//!
//! A connection has one request and one answer, and a time for both. There is a limit to how many
//! there are at once. Who comes then takes the place of the one that has been sending its request
//! for longest, so that those who only hold connections open keep no health check waiting; if all
//! are being answered, it waits in the system's queue.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use slog::{Logger, error, info};
use socket2::{Domain, SockAddr, Socket, Type};
use zeo_storage::zconfig::datatypes::Address;

use super::request::{Method, Refused, Request};
use super::response::Response;
use crate::status::outage::Outage;

/// The host of addresses that name none.
const HOST: &str = "127.0.0.1";
/// How many connections there are at once.
const MAX_CONNECTIONS: usize = 16;
/// How long one may take.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// How long to wait for the client to close, so that it gets the answer to what was not read.
const CLOSE_TIME: Duration = Duration::from_millis(500);
const BACKLOG_CONNECTIONS: i32 = 128;
/// How long to wait when the system has no descriptor to give.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Who is connected, as far as that decides what is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    /// By an address that only this machine reaches.
    Loopback,
    /// By any other TCP address.
    Network,
    /// By a Unix socket; for the log, the process and the user.
    Unix(String),
}

/// The address with the host that it has if none is configured.
pub fn with_host(address: &Address) -> Address {
    let mut address = address.clone();
    if let Address::Tcp { host, .. } = &mut address {
        host.get_or_insert_with(|| HOST.to_owned());
    }
    address
}

/// A socket that listens.
pub(super) struct Listener {
    socket: Socket,
    /// As people write it.
    label: String,
    kind: Kind,
}

enum Kind {
    Loopback,
    Network,
    Unix(PathBuf),
}

impl Listener {
    /// Sockets for an address: several if its host has several.
    ///
    /// # Errors
    /// The host is unknown, or the address can't be bound.
    pub fn bind(address: &Address) -> io::Result<Vec<Self>> {
        match address {
            Address::Unix(path) => Ok(vec![Self::unix(path)?]),
            Address::Tcp { host, port } => {
                let (host, port) = (host.as_deref().unwrap_or(HOST), port.unwrap_or(0));
                let mut addresses: Vec<SocketAddr> = match host {
                    "*" => vec![([0, 0, 0, 0], port).into(), ([0_u16; 8], port).into()],
                    host => (host, port).to_socket_addrs()?.collect(),
                };
                addresses.dedup();
                let mut bound: Vec<Self> = Vec::new();
                let mut failure = None;
                for address in addresses {
                    match Self::tcp(address) {
                        Ok(listener) => bound.push(listener),
                        // A machine without IPv6 still has IPv4, and the other way.
                        Err(why) => failure = Some(why),
                    }
                }
                match failure {
                    Some(why) if bound.is_empty() => Err(why),
                    Some(why) if why.kind() == io::ErrorKind::AddrInUse => Err(why),
                    _ => Ok(bound),
                }
            }
        }
    }

    fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG_CONNECTIONS)?;
        socket.set_nonblocking(true)?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self {
            socket,
            label: bound.to_string(),
            kind: if bound.ip().is_loopback() {
                Kind::Loopback
            } else {
                Kind::Network
            },
        })
    }

    /// A socket that only its owner may use, also in the moment before its mode is set. It
    /// replaces what is left of a server that was killed, and no other file.
    fn unix(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG_CONNECTIONS)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            label: path.display().to_string(),
            kind: Kind::Unix(path.to_owned()),
        })
    }

    /// The address with its port, or the path.
    pub fn label(&self) -> &str {
        &self.label
    }

    fn peer(&self, connection: &Socket) -> Peer {
        match self.kind {
            Kind::Loopback => Peer::Loopback,
            Kind::Network => Peer::Network,
            Kind::Unix(_) => Peer::Unix(match getsockopt(connection, PeerCredentials) {
                Ok(peer) => format!("pid {} user {}", peer.pid(), peer.uid()),
                Err(_) => "an unknown process".to_owned(),
            }),
        }
    }
}

/// The threads that answer. Dropping it stops them and removes the files of Unix sockets.
pub(super) struct Threads {
    acceptor: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the acceptor and the connections share.
struct Shared {
    /// Written to when there is room for a connection again, and at the end.
    wake: OwnedFd,
    stop: AtomicBool,
    connections: AtomicUsize,
    /// Those whose requests are not complete, in the order in which they came.
    asking: Mutex<VecDeque<Arc<Socket>>>,
}

/// What answers requests.
pub(super) type Answer = dyn Fn(&Request, &Peer) -> Response + Send + Sync;

impl Threads {
    /// Accepts at all sockets, and answers.
    ///
    /// # Errors
    /// The system gives no thread or descriptor.
    pub fn start(listeners: Vec<Listener>, answer: Arc<Answer>, log: Logger) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            asking: Mutex::default(),
        });
        let for_acceptor = Arc::clone(&shared);
        let run = move || accept_all(&listeners, &answer, &for_acceptor, &log);
        let acceptor = thread::Builder::new().name("monitor".into()).spawn(run)?;
        Ok(Self {
            acceptor: Some(acceptor),
            shared,
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.ring();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn ring(&self) {
        // Can only fail when it has been written to already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn asking(&self) -> MutexGuard<'_, VecDeque<Arc<Socket>>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one more, or will be when the oldest is dropped. It takes a moment
    /// to end.
    fn has_room(&self) -> bool {
        let connections = self.connections.load(Ordering::Acquire);
        let may_drop = connections < 2 * MAX_CONNECTIONS && !self.asking().is_empty();
        connections < MAX_CONNECTIONS || may_drop
    }

    /// Counts one more. If there are too many, the oldest that is not being answered has to go.
    fn enter(self: &Arc<Self>, socket: &Arc<Socket>) -> Place {
        let mut asking = self.asking();
        if self.connections.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS
            && let Some(oldest) = asking.pop_front()
        {
            // It may have gone by itself.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        asking.push_back(Arc::clone(socket));
        Place {
            shared: Arc::clone(self),
            socket: Arc::clone(socket),
        }
    }
}

/// One connection less, when it is dropped.
struct Place {
    shared: Arc<Shared>,
    socket: Arc<Socket>,
}

impl Place {
    /// It has asked: nobody takes its place any more.
    fn has_asked(&self) {
        let is_other = |other: &Arc<Socket>| !Arc::ptr_eq(other, &self.socket);
        self.shared.asking().retain(is_other);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.has_asked();
        self.shared.connections.fetch_sub(1, Ordering::AcqRel);
        self.shared.ring();
    }
}

fn accept_all(listeners: &[Listener], answer: &Arc<Answer>, shared: &Arc<Shared>, log: &Logger) {
    let mut outage = Outage::default();
    while !shared.stop.load(Ordering::Acquire) {
        if let Some(times) = outage.recovered(Instant::now()) {
            info!(
                log,
                "the monitor is accepting connections again, after {times} failures"
            );
        }
        let _ = rustix::io::read(&shared.wake, &mut [0; 8]);
        let mut fds = vec![PollFd::new(&shared.wake, PollFlags::IN)];
        if shared.has_room() {
            let sockets = listeners.iter().map(|listener| listener.socket.as_fd());
            fds.extend(sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)));
        }
        let timeout = outage.time_left(Instant::now());
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        // An error is found by those calls that follow.
        let _ = poll(&mut fds, timeout.as_ref());
        let ready = fds.iter().skip(1).map(|fd| !fd.revents().is_empty());
        for (listener, _) in listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
            match accept(listener, answer, shared) {
                Ok(()) => outage.succeeded(),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) if why.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(why) => {
                    match outage.failed(Instant::now()) {
                        Some(0) => error!(log, "the monitor can't accept connections: {why}"),
                        Some(times) => error!(
                            log,
                            "the monitor still can't accept all connections: {why}; {times} \
                             failures so far"
                        ),
                        None => {}
                    }
                    thread::sleep(ACCEPT_RETRY_INTERVAL);
                }
            }
        }
    }
    for listener in listeners {
        if let Kind::Unix(path) = &listener.kind {
            let _ = fs::remove_file(path);
        }
    }
}

fn accept(listener: &Listener, answer: &Arc<Answer>, shared: &Arc<Shared>) -> io::Result<()> {
    if !shared.has_room() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let (socket, _) = listener.socket.accept()?;
    let (socket, answer) = (Arc::new(socket), Arc::clone(answer));
    let place = shared.enter(&socket);
    let peer = listener.peer(&socket);
    let run = move || {
        // Whoever asks has gone, or is told so by the closed connection.
        let _ = serve(&place, &peer, &answer);
    };
    let thread = thread::Builder::new().name("monitor client".into());
    thread.spawn(run).map(drop)
}

/// A connection whose reads and writes end at a deadline.
struct Timed<'a> {
    socket: &'a Socket,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(into)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn serve(place: &Place, peer: &Peer, answer: &Arc<Answer>) -> io::Result<()> {
    let socket = &*place.socket;
    // Accepted sockets are blocking, and wait no longer than the deadline.
    socket.set_nonblocking(false)?;
    let deadline = Instant::now() + CONNECTION_TIME;
    let mut connection = Timed { socket, deadline };
    let mut other_half = Timed { socket, deadline };
    let go_on = || other_half.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
    let request = Request::read(&mut connection, go_on);
    place.has_asked();
    let (response, head_only) = match request {
        Ok(request) => (answer(&request, peer), request.method == Method::Head),
        Err(Refused::Status(status, text)) => (Response::text(status, text), false),
        Err(Refused::Gone) => return Ok(()),
    };
    if Instant::now() >= connection.deadline {
        connection.deadline = Instant::now() + CLOSE_TIME;
    }
    response.send(&mut connection, head_only)?;
    close(connection)
}

/// Closes a connection so that the answer arrives: the system would throw it away if something
/// were left unread.
fn close(mut connection: Timed<'_>) -> io::Result<()> {
    connection.socket.shutdown(Shutdown::Write)?;
    connection.deadline = Instant::now() + CLOSE_TIME;
    let mut rest = [0; 4096];
    while connection.read(&mut rest)? > 0 {}
    Ok(())
}
