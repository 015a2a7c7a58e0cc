//! The socket of a connection: it is read and written by the thread that asks, which also waits for it.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
    connect, recv, send, shutdown, socket_with, sockopt,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// How much is read at once.
const READ_MAX: usize = 64 * 1024;

/// Before the system is asked again for what it has refused.
const PAUSE: Duration = Duration::from_millis(10);

/// A socket, and what is known of it since it was waited for last. Clones are the same socket.
#[derive(Clone, Debug)]
pub(super) struct Socket(Arc<State>);

#[derive(Debug)]
struct State {
    descriptor: OwnedFd,
    /// A read may find something.
    may_read: AtomicBool,
    /// A write has found no room.
    is_full: AtomicBool,
    /// Why it is of no use any more.
    ended: OnceLock<String>,
}

impl State {
    /// What waits for it, or uses it from now on, fails for this reason.
    fn end(&self, why: String) {
        let _ = self.ended.set(why);
        self.may_read.store(true, Ordering::Relaxed);
        // It may be closed on the other side.
        let _ = shutdown(&self.descriptor, Shutdown::Both);
    }
}

/// All sockets that are open, so that nobody waits for them any more when that is to end.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    over: AtomicBool,
    open: Mutex<Vec<Weak<State>>>,
}

/// What fails when it is over.
const OVER: &str = "the storage is being closed";

impl Sockets {
    fn open(&self) -> MutexGuard<'_, Vec<Weak<State>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all of them, and those that will be opened.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
        let open = std::mem::take(&mut *self.open());
        for state in open.iter().filter_map(Weak::upgrade) {
            state.end(OVER.to_owned());
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Adds one that was opened just now.
    ///
    /// # Errors
    /// It is over.
    pub fn add(&self, socket: &Socket) -> io::Result<()> {
        let mut open = self.open();
        if self.is_over() {
            return Err(io::Error::other(OVER));
        }
        open.retain(|state| state.strong_count() > 0);
        open.push(Arc::downgrade(&socket.0));
        Ok(())
    }
}

impl Socket {
    fn new(descriptor: OwnedFd) -> Self {
        Self(Arc::new(State {
            descriptor,
            may_read: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            ended: OnceLock::new(),
        }))
    }

    /// What waits for it, or uses it from now on, fails for this reason.
    pub fn end(&self, why: String) {
        self.0.end(why);
    }

    /// Connects by TCP, until then; the connection counts as lost when the other side has been silent
    /// as long as `config` says.
    pub fn tcp(address: SocketAddr, config: &Config, until: Option<Instant>) -> io::Result<Self> {
        let stream = match until.map(rest) {
            Some(rest) => TcpStream::connect_timeout(&address, rest?)?,
            None => TcpStream::connect(address)?,
        };
        sockopt::set_tcp_nodelay(&stream, true)?;
        #[cfg(target_os = "linux")]
        if let Some(silence) = config.get_tcp_user_timeout() {
            let milliseconds = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(&stream, milliseconds)?;
        }
        if config.get_keepalives() {
            sockopt::set_socket_keepalive(&stream, true)?;
            sockopt::set_tcp_keepidle(&stream, config.get_keepalives_idle())?;
            if let Some(interval) = config.get_keepalives_interval() {
                sockopt::set_tcp_keepintvl(&stream, interval)?;
            }
            if let Some(count) = config.get_keepalives_retries() {
                sockopt::set_tcp_keepcnt(&stream, count)?;
            }
        }
        Ok(Self::new(stream.into()))
    }

    /// Connects to PostgreSQL's socket of this port in a directory.
    pub fn unix(directory: &Path, port: u16) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let descriptor = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let path = directory.join(format!(".s.PGSQL.{port}"));
        connect(&descriptor, &SocketAddrUnix::new(path)?)?;
        Ok(Self::new(descriptor))
    }

    /// Waits until there is something to read, or room again for what could not be written; false if that
    /// takes longer than until then.
    pub fn wait(&self, until: Option<Instant>) -> bool {
        let mut wanted = PollFlags::IN;
        if self.0.is_full.load(Ordering::Relaxed) {
            wanted |= PollFlags::OUT;
        }
        loop {
            let limit = match until.map(rest) {
                Some(Ok(rest)) => Timespec::try_from(rest).ok(),
                Some(Err(_)) => return false,
                None => None,
            };
            let mut descriptors = [PollFd::new(&self.0.descriptor, wanted)];
            match poll(&mut descriptors, limit.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                // What there is besides room (an error, the end) is found by a read.
                Ok(_) => {
                    let [found] = descriptors.map(|descriptor| descriptor.revents());
                    self.0.is_full.store(false, Ordering::Relaxed);
                    if found != PollFlags::OUT {
                        self.0.may_read.store(true, Ordering::Relaxed);
                    }
                    return true;
                }
                // The system lacks memory.
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// The time until then; an error if there is none.
fn rest(until: Instant) -> io::Result<Duration> {
    let rest = until.saturating_duration_since(Instant::now());
    (!rest.is_zero())
        .then_some(rest)
        .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))
}

fn is_closed(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// What a call has done, if it has not found that it would have to wait: then `waits` is told.
fn done<T>(
    mut call: impl FnMut() -> Result<T, Errno>,
    waits: impl FnOnce(),
) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Ok(done) => return Poll::Ready(Ok(done)),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                waits();
                return Poll::Pending;
            }
            Err(why) => return Poll::Ready(Err(why.into())),
        }
    }
}

/// Nothing is called back: who polls waits for the socket itself.
impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let State {
            descriptor,
            may_read,
            ended,
            ..
        } = &*self.0;
        if let Some(why) = ended.get() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why.as_str())));
        }
        if !may_read.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let room = into.remaining().min(READ_MAX);
        let buffer = into.initialize_unfilled_to(room);
        let is_empty = || may_read.store(false, Ordering::Relaxed);
        let read = || recv(descriptor, &mut *buffer, RecvFlags::DONTWAIT);
        done(read, is_empty).map_ok(|(count, _)| {
            if count < room {
                is_empty();
            }
            into.advance(count);
        })
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = done(
            || send(&self.0.descriptor, bytes, flags),
            || self.0.is_full.store(true, Ordering::Relaxed),
        );
        match &sent {
            // A read tells why: what the other side has said before it closed the connection is still there.
            Poll::Ready(Err(why)) if is_closed(why.kind()) => {
                self.0.may_read.store(true, Ordering::Relaxed);
                Poll::Ready(Ok(bytes.len()))
            }
            _ => sent,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&self.0.descriptor, Shutdown::Write).map_err(io::Error::from))
    }
}

/// Connects to the host of a configuration, which names one: to each of its addresses, one after the
/// other, until `then` succeeds. It is given the time until which all may take.
pub(super) fn connect_to_host<T, E: From<io::Error>>(
    config: &Config,
    mut then: impl FnMut(Socket, Option<Instant>) -> Result<T, E>,
) -> Result<T, E> {
    let until = || {
        let limit = config.get_connect_timeout();
        limit.map(|&limit| Instant::now() + limit)
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let addresses: Vec<SocketAddr> = match (config.get_hostaddrs(), config.get_hosts()) {
        ([address, ..], _) => vec![(*address, port).into()],
        ([], [Host::Tcp(name), ..]) => (name.as_str(), port).to_socket_addrs()?.collect(),
        ([], [Host::Unix(directory), ..]) => return then(Socket::unix(directory, port)?, until()),
        ([], []) => Vec::new(),
    };
    let mut failed = io::Error::other("could not resolve any addresses").into();
    for address in addresses {
        let until = until();
        let socket = Socket::tcp(address, config, until);
        match socket
            .map_err(E::from)
            .and_then(|socket| then(socket, until))
        {
            Err(why) => failed = why,
            done => return done,
        }
    }
    Err(failed)
}
