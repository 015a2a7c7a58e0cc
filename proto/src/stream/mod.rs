//! One connection, whatever carries it: the stream that a thread owns alone
//! and waits for together with its mailbox.
//!
//! Reads and writes never block. A stream remembers whether a read may find
//! something, so that nobody waits for bytes that are here already: TLS takes
//! bytes off the socket before it is asked for them.

mod tls;
mod waiter;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use openssl::ssl::Ssl;
use rustix::net::sockopt;

pub use tls::{HandshakeError, Identity, prepare};
pub use waiter::Waiter;

use tls::Tls;

/// How long a silent peer is left alone before the system asks whether it is
/// still there. (The default of two hours would keep a crashed client's
/// thread, and what it is told, for as long.)
const KEEP_IDLE: Duration = Duration::from_secs(300);

/// A connected, non-blocking stream.
#[derive(Debug)]
pub struct Stream {
    carrier: Carrier,
    /// A read may find something. Only a change of that is told.
    readable: bool,
    /// The peer sends no more, as far as the system knows.
    ended: bool,
}

#[derive(Debug)]
enum Carrier {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Over one of the others. In a box, since plain streams would be as large.
    Tls(Box<Tls>),
}

/// What has become ready since the last wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// There may be something to read: bytes, the end, or an error.
    pub read: bool,
    /// There is room to write.
    pub write: bool,
    /// The wake descriptor was written to.
    pub woken: bool,
    /// The peer sends no more. It may still read.
    pub ended: bool,
    /// Nothing can be sent any more either.
    pub gone: bool,
}

impl Stream {
    /// A TCP connection; small messages are sent at once, and a peer that
    /// vanished is noticed by keep-alive.
    ///
    /// # Errors
    /// The socket can't be configured.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEP_IDLE)?;
        Ok(Self::over(Carrier::Tcp(stream)))
    }

    /// A Unix domain connection.
    ///
    /// # Errors
    /// The socket can't be configured.
    pub fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::over(Carrier::Unix(stream)))
    }

    /// TLS over this stream. `ssl` knows which side it is on
    /// ([`set_accept_state`](openssl::ssl::SslRef::set_accept_state) or
    /// `set_connect_state`), and its context was given to [`prepare`]. What
    /// comes first is [`Self::handshake`].
    ///
    /// # Errors
    /// OpenSSL has no memory left.
    pub fn secured(self, ssl: Ssl) -> io::Result<Self> {
        Ok(Self::over(Carrier::Tls(Box::new(Tls::new(self, ssl)?))))
    }

    fn over(carrier: Carrier) -> Self {
        Self {
            carrier,
            readable: false,
            ended: false,
        }
    }

    /// Goes on with the TLS handshake as far as that is possible without
    /// waiting; true when it is done (or there is none), false when it is to
    /// be called again as soon as the socket is ready for anything.
    ///
    /// # Errors
    /// [`HandshakeError`]: the connection is of no use. The alert that tells
    /// the peer is sent by [`Self::close`].
    pub fn handshake(&mut self) -> Result<bool, HandshakeError> {
        let Carrier::Tls(tls) = &mut self.carrier else {
            return Ok(true);
        };
        let is_done = tls.handshake()?;
        // What has come behind the handshake may be here already.
        self.readable = is_done;
        Ok(is_done)
    }

    /// Whether anything at all has come during the TLS handshake.
    pub fn is_silent(&self) -> bool {
        matches!(&self.carrier, Carrier::Tls(tls) if tls.is_silent())
    }

    /// Who the peer is by its TLS certificate; `None` for a plain stream.
    pub fn identity(&self) -> Option<Identity> {
        match &self.carrier {
            Carrier::Tls(tls) => Some(tls.identity()),
            _ => None,
        }
    }

    /// Takes note of what a wait has found.
    pub fn note(&mut self, ready: Ready) {
        self.ended |= ready.ended;
        self.readable |= ready.read;
        if let Carrier::Tls(tls) = &mut self.carrier {
            self.readable |= tls.note(ready);
        }
    }

    /// Whether a read may find something.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether a TLS stream has ended, as the last read told by 0 bytes,
    /// without the peer's close_notify. A plain stream can't tell.
    pub fn is_truncated(&self) -> bool {
        matches!(&self.carrier, Carrier::Tls(tls) if tls.is_truncated())
    }

    /// Sends, as far as that is possible without waiting, what TLS has to say
    /// at the end: close_notify, or the alert of a handshake that has failed.
    /// Nothing may be written any more. The socket is closed when this is
    /// dropped.
    pub fn close(&mut self) {
        if let Carrier::Tls(tls) = &mut self.carrier {
            tls.close();
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.carrier {
            Carrier::Tcp(stream) => stream.as_fd(),
            Carrier::Unix(stream) => stream.as_fd(),
            Carrier::Tls(tls) => tls.socket(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match &mut self.carrier {
            Carrier::Tcp(stream) => uninterrupted(|| stream.read(buffer)),
            Carrier::Unix(stream) => uninterrupted(|| stream.read(buffer)),
            Carrier::Tls(tls) => {
                // It gives a record at a time, however many have come.
                let result = tls.read(buffer);
                self.readable = result.is_ok();
                return result;
            }
        };
        // Less than there was room for: no more has come, but maybe the end.
        let is_full = result.as_ref().is_ok_and(|count| *count == buffer.len());
        self.readable &= is_full || self.ended;
        result
    }
}

/// A write that would block may have taken the bytes nevertheless: the next
/// one begins with the same bytes, and may have more behind them.
impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.carrier {
            Carrier::Tcp(stream) => uninterrupted(|| stream.write(bytes)),
            Carrier::Unix(stream) => uninterrupted(|| stream.write(bytes)),
            Carrier::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
