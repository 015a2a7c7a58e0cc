//! One connection, whatever carries it: the stream that a thread owns alone
//! and waits for together with its mailbox.
//!
//! Reads and writes never block. TLS fits in as one more kind: its record
//! layer may want to write in order to read, which whoever waits for it learns
//! from `WouldBlock`.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::sockopt;

/// How long a silent peer is left alone before the system asks whether it is
/// still there. (The default of two hours would keep a crashed client's
/// thread, and what it is told, for as long.)
const KEEP_IDLE: Duration = Duration::from_secs(300);

/// A connected, non-blocking stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
}

impl Stream {
    /// A TCP connection; small messages are sent at once, and a peer that
    /// vanished is noticed by keep-alive.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEP_IDLE)?;
        Ok(Stream::Tcp(stream))
    }

    /// A Unix domain connection.
    pub fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Stream::Unix(stream))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a stream and for a wake descriptor at once.
///
/// Both are entered once, edge-triggered: a wait costs one system call that
/// names neither of them, and the wake descriptor is never read. So whoever
/// waits has to remember what it was told: the stream is ready until a read
/// (or a write) has found that it is not.
#[derive(Debug)]
pub struct Waiter(OwnedFd);

/// What has become ready since the last wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// There may be something to read: bytes, the end, or an error.
    pub read: bool,
    /// The wake descriptor was written to.
    pub woken: bool,
    /// The peer sends no more. It may still read.
    pub ended: bool,
    /// Nothing can be sent any more either.
    pub gone: bool,
}

const STREAM: u64 = 0;
const WAKE: u64 = 1;

impl Waiter {
    /// A waiter for these two, which must not be closed before it.
    pub fn new(stream: &Stream, wake: BorrowedFd<'_>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let edge = EventFlags::ET;
        let any = EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT;
        epoll::add(&epoll, stream, EventData::new_u64(STREAM), any | edge)?;
        let wake_events = EventFlags::IN | edge;
        epoll::add(&epoll, wake, EventData::new_u64(WAKE), wake_events)?;
        Ok(Self(epoll))
    }

    /// Waits until something has become ready, or so long; for ever without
    /// a timeout. With one of zero this is only a look.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 2];
        // One that is too long to be told to the system is as good as none.
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        let mut ready = Ready::default();
        let found = match epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            Ok((found, _)) => found,
            Err(rustix::io::Errno::INTR) => return Ok(ready),
            Err(error) => return Err(error.into()),
        };
        for event in found {
            if event.data.u64() == WAKE {
                ready.woken = true;
                continue;
            }
            let flags = event.flags;
            ready.gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            ready.ended = ready.gone || flags.contains(EventFlags::RDHUP);
            ready.read = ready.ended || flags.contains(EventFlags::IN);
        }
        Ok(ready)
    }
}
