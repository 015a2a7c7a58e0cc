//! One connection, whatever carries it: the stream that a thread owns alone
//! and waits for together with its mailbox.
//!
//! Reads and writes never block. TLS fits in as one more kind: its record
//! layer may want to write in order to read, which [`Stream::wait`] is the
//! place to know.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
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

/// What to wait for, beside the wake descriptor and the peer's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Until there is something to read.
    pub read: bool,
    /// Until there is room to write.
    pub write: bool,
}

/// What a wait has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// Reading will not block (it may find the end, or an error).
    pub read: bool,
    /// Writing will not block.
    pub write: bool,
    /// The wake descriptor is readable.
    pub woken: bool,
    /// The peer is gone: nothing more will come, or nothing can be sent.
    pub hung_up: bool,
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

    /// Waits until the stream is ready for what is wanted, `wake` is
    /// readable, or the peer is gone.
    pub fn wait(&self, wake: BorrowedFd<'_>, interest: Interest) -> io::Result<Ready> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, interest.read);
        // A peer that has only stopped sending may still read what is left.
        wanted.set(PollFlags::RDHUP, !interest.write);
        wanted.set(PollFlags::OUT, interest.write);
        let mut fds = [
            PollFd::from_borrowed_fd(self.as_fd(), wanted),
            PollFd::from_borrowed_fd(wake, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let found = fds[0].revents();
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        Ok(Ready {
            read: found.contains(PollFlags::IN),
            write: found.contains(PollFlags::OUT),
            woken: !fds[1].revents().is_empty(),
            hung_up: found.intersects(gone),
        })
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
