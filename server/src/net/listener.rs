//! A socket that listens, of either kind.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use zeo_proto::stream::Stream;

/// A socket that is bound and listens.
#[derive(Debug)]
pub enum Listener {
    /// For TCP.
    Tcp(TcpListener),
    /// At a path.
    Unix(UnixListener),
}

impl Listener {
    /// Lets `accept` return at once.
    ///
    /// # Errors
    /// Those of the system; so do all here.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(true),
            Listener::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    /// Its address and port; `None` for a Unix socket.
    pub fn socket_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Some),
            Listener::Unix(_) => Ok(None),
        }
    }

    /// The address as clients are configured with it: `HOST:PORT`, `[HOST]:PORT` or a path.
    pub fn address(&self) -> io::Result<String> {
        match self {
            Listener::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Listener::Unix(_) => self.label(),
        }
    }

    /// The address as Python shows it.
    pub fn label(&self) -> io::Result<String> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let address = listener.local_addr()?;
                format!("('{}', {})", address.ip(), address.port())
            }
            Listener::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().unwrap_or("".as_ref());
                path.display().to_string()
            }
        })
    }

    /// The next connection, and its client's name for the log.
    pub fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Stream::tcp(stream)?, peer.to_string()))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                let peer = format!("{}{}", self.label()?, credentials(&stream));
                Ok((Stream::unix(stream)?, peer))
            }
        }
    }
}

/// Who has connected to a Unix socket, where the address is the same for all.
fn credentials(stream: &UnixStream) -> String {
    match getsockopt(stream, PeerCredentials) {
        // One in a container that is not ours has no id here.
        Ok(peer) if peer.pid() == 0 => format!(" user {}", peer.uid()),
        Ok(peer) => format!(" pid {} user {}", peer.pid(), peer.uid()),
        Err(_) => String::new(),
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}
