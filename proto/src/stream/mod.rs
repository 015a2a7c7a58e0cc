//! One connection, whatever carries it: the stream that a thread owns alone
//! and waits for together with its mailbox.
//!
//! Reads and writes never block. A stream remembers whether a read may find
//! something, so that nobody waits for bytes that are here already: TLS takes
//! bytes off the socket before it is asked for them.

mod socket;
mod tls;
mod waiter;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use openssl::ssl::Ssl;
use rustix::net::sockopt;

pub use socket::SharedWriter;
pub use tls::{HandshakeError, Identity, prepare};
pub use waiter::{Ready, Waiter};

use socket::Socket;
use tls::Tls;

/// How long a silent peer is left alone before the system asks whether it is
/// still there. (The default of two hours would keep a crashed client's
/// thread, and what it is told, for as long.)
const KEEP_IDLE: Duration = Duration::from_secs(300);

/// A connected, non-blocking stream.
#[derive(Debug)]
pub struct Stream(Kind);

#[derive(Debug)]
enum Kind {
    Plain(Socket),
    /// In a box, since plain streams would be as large.
    Tls(Box<Tls>),
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
        Ok(Self(Kind::Plain(Socket::tcp(stream))))
    }

    /// A Unix domain connection.
    ///
    /// # Errors
    /// The socket can't be configured.
    pub fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(Kind::Plain(Socket::unix(stream))))
    }

    /// TLS over this stream, which is a plain one and was not used yet. `ssl`
    /// knows which side it is on
    /// ([`set_accept_state`](openssl::ssl::SslRef::set_accept_state) or
    /// `set_connect_state`), and its context was given to [`prepare`]. What
    /// comes first is [`Self::handshake`].
    ///
    /// # Errors
    /// OpenSSL has no memory left, or there is TLS already.
    pub fn secured(self, ssl: Ssl) -> io::Result<Self> {
        match self.0 {
            Kind::Plain(socket) => Ok(Self(Kind::Tls(Box::new(Tls::new(socket, ssl)?)))),
            Kind::Tls(_) => Err(io::Error::other("TLS over TLS")),
        }
    }

    /// A second stream over the same socket, so that one thread may read while another writes;
    /// `None` over TLS, where reading may have to write, and the reverse.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Option<Self>> {
        match &self.0 {
            Kind::Plain(socket) => Ok(Some(Self(Kind::Plain(socket.try_clone()?)))),
            Kind::Tls(_) => Ok(None),
        }
    }

    /// What another thread writes to the same socket with, in turns with this one; `None` over TLS.
    /// It takes no descriptor of its own.
    pub fn shared_writer(&self) -> Option<SharedWriter> {
        match &self.0 {
            Kind::Plain(socket) => Some(socket.shared_writer()),
            Kind::Tls(_) => None,
        }
    }

    /// Whether it is TLS: then the peer's orderly end is found by reads only.
    pub fn is_tls(&self) -> bool {
        matches!(self.0, Kind::Tls(_))
    }

    /// Goes on with the TLS handshake as far as that is possible without
    /// waiting; true when it is done (or there is none), false when it is to
    /// be called again as soon as the socket is ready for anything.
    ///
    /// # Errors
    /// [`HandshakeError`]: the connection is of no use. The alert that tells
    /// the peer is sent by [`Self::close`].
    pub fn handshake(&mut self) -> Result<bool, HandshakeError> {
        match &mut self.0 {
            Kind::Plain(_) => Ok(true),
            Kind::Tls(tls) => tls.handshake(),
        }
    }

    /// Whether nothing at all has come during the TLS handshake.
    pub fn is_silent(&self) -> bool {
        matches!(&self.0, Kind::Tls(tls) if tls.is_silent())
    }

    /// Who the peer is by its TLS certificate; `None` for a plain stream.
    pub fn identity(&self) -> Option<Identity> {
        match &self.0 {
            Kind::Plain(_) => None,
            Kind::Tls(tls) => Some(tls.identity()),
        }
    }

    /// Takes note of what a wait has found.
    pub fn note(&mut self, ready: Ready) {
        match &mut self.0 {
            Kind::Plain(socket) => socket.note(ready),
            Kind::Tls(tls) => tls.note(ready),
        }
    }

    /// Whether a read may find something.
    pub fn is_readable(&self) -> bool {
        match &self.0 {
            Kind::Plain(socket) => socket.is_readable(),
            Kind::Tls(tls) => tls.is_readable(),
        }
    }

    /// Whether a TLS stream has ended, as the last read told by 0 bytes,
    /// without the peer's close_notify. A plain stream can't tell.
    pub fn is_truncated(&self) -> bool {
        matches!(&self.0, Kind::Tls(tls) if tls.is_truncated())
    }

    /// Sends, as far as that is possible without waiting, what TLS has to say
    /// at the end: close_notify, or the alert of a handshake that has failed.
    /// Nothing may be written any more. The socket is closed when this is
    /// dropped.
    pub fn close(&mut self) {
        if let Kind::Tls(tls) = &mut self.0 {
            tls.close();
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Plain(socket) => socket.as_fd(),
            Kind::Tls(tls) => tls.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.read(buffer),
            Kind::Tls(tls) => tls.read(buffer),
        }
    }
}

/// A write that would block may have taken the bytes nevertheless: the next
/// one begins with the same bytes, and may have more behind them.
impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.write(bytes),
            Kind::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
