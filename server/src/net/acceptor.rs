//! The listening sockets, one thread each: they accept, and read nothing.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use slog::{debug, error, info};
use socket2::{Domain, Protocol, Socket, Type};
use zeo_proto::stream::Stream;
use zeo_storage::zconfig::datatypes::Address;

use crate::server::Server;

/// A host that stands for all addresses, as glibc's `getaddrinfo` has it, to which Python gives it.
const ANY_HOST: &str = "*";
/// Connections that the system may keep before they are accepted.
const BACKLOG_CONNECTIONS: i32 = 1024;
/// How long to wait for an answer from an address that may be in use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait when the system has no descriptor or thread to give.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// True when a server answers at the address already.
pub fn is_in_use(address: &Address) -> bool {
    match address {
        Address::Unix(path) => UnixStream::connect(path).is_ok(),
        Address::Tcp {
            port: None | Some(0),
            ..
        } => false,
        Address::Tcp {
            host,
            port: Some(port),
        } => {
            let host = host.as_deref().filter(|host| *host != ANY_HOST);
            let host = host.unwrap_or("localhost");
            let mut addresses = (host, *port).to_socket_addrs().into_iter().flatten();
            let answers = |address| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok();
            addresses.any(answers)
        }
    }
}

/// A socket that is bound and listens.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The threads that accept. Dropping it stops them and removes a Unix
/// socket's file.
pub struct Acceptors {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<OwnedFd>,
    socket_file: Option<PathBuf>,
    addresses: Vec<SocketAddr>,
}

impl Acceptors {
    /// Listens at the address and serves who connects. A host name that has
    /// several addresses is listened for at each.
    ///
    /// # Errors
    /// An address can't be resolved or bound, or a thread not started.
    pub fn start(address: &Address, server: &Arc<Server>) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (listeners, socket_file) = match address {
            Address::Unix(path) => (vec![bind_unix(path)?], Some(path.clone())),
            Address::Tcp { host, port } => (bind_tcp(host.as_deref(), port.unwrap_or(0))?, None),
        };
        let mut acceptors = Self {
            threads: Vec::new(),
            stop,
            socket_file,
            addresses: Vec::new(),
        };
        let mut labels = Vec::new();
        for listener in listeners {
            listener.set_nonblocking()?;
            labels.push(listener.label()?);
            acceptors.addresses.extend(listener.socket_address()?);
            let (server, stop) = (Arc::clone(server), Arc::clone(&acceptors.stop));
            let run = move || accept_all(&listener, &server, stop.as_fd());
            acceptors
                .threads
                .push(thread::Builder::new().name("acceptor".into()).spawn(run)?);
        }
        // One line, which scripts wait for: behind it, the start logs nothing.
        info!(server.log(), "listening on {}", labels.join(", "));
        Ok(acceptors)
    }

    /// The addresses that are listened at, with their ports; none for a Unix socket.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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

/// A socket at this path, in place of what is left of a server that was
/// killed: nobody answers there. Any other file is not ours to remove.
fn bind_unix(path: &Path) -> io::Result<Listener> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    Ok(Listener::Unix(UnixListener::bind(path)?))
}

/// Sockets for every address of the host; without a host, or for `*`, for all of IPv4
/// and all of IPv6. With port 0 the system's choice for the first one
/// serves for all.
fn bind_tcp(host: Option<&str>, port: u16) -> io::Result<Vec<Listener>> {
    let mut wanted: Vec<SocketAddr> = match host {
        None | Some("" | ANY_HOST) => vec![([0, 0, 0, 0], port).into(), ([0_u16; 8], port).into()],
        Some(host) => (host, port).to_socket_addrs()?.collect(),
    };
    wanted.dedup();
    let mut bound: Vec<Listener> = Vec::new();
    let mut port = port;
    let mut failure = None;
    for mut address in wanted {
        address.set_port(port);
        match bind_one(address) {
            Ok(listener) => {
                port = listener.local_addr()?.port();
                bound.push(Listener::Tcp(listener));
            }
            // A machine without IPv6 still serves IPv4, and the other way.
            Err(why) if is_no_such_network(&why) => failure = Some(why),
            Err(why) => return Err(why),
        }
    }
    match (bound.is_empty(), failure) {
        (true, Some(why)) => Err(why),
        (true, None) => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the host has no address",
        )),
        (false, _) => Ok(bound),
    }
}

fn is_no_such_network(why: &io::Error) -> bool {
    use rustix::io::Errno;
    let unavailable = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].map(Errno::raw_os_error);
    why.raw_os_error()
        .is_some_and(|code| unavailable.contains(&code))
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_CONNECTIONS)?;
    Ok(socket.into())
}

impl Listener {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(true),
            Listener::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    fn socket_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Some),
            Listener::Unix(_) => Ok(None),
        }
    }

    /// The address as Python shows it.
    fn label(&self) -> io::Result<String> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let address = listener.local_addr()?;
                format!("('{}', {})", address.ip(), address.port())
            }
            Listener::Unix(listener) => {
                let address = listener.local_addr()?;
                address
                    .as_pathname()
                    .unwrap_or("".as_ref())
                    .display()
                    .to_string()
            }
        })
    }

    fn accept(&self) -> io::Result<(Stream, String)> {
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

fn accept_all(listener: &Listener, server: &Arc<Server>, stop: BorrowedFd<'_>) {
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
        let accepted = listener.accept().and_then(|(stream, peer)| {
            debug!(server.log(), "Connected {peer}");
            server.serve(stream, peer)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_is_replaced_and_any_other_file_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        drop(bind_unix(&socket).unwrap());
        assert!(socket.exists());
        drop(bind_unix(&socket).unwrap());
        let data = directory.path().join("Data.fs");
        fs::write(&data, "precious").unwrap();
        assert!(bind_unix(&data).is_err());
        assert_eq!(fs::read_to_string(&data).unwrap(), "precious");
    }
}
