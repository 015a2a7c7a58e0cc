//! The sockets to listen with: made here, or handed over by the service manager.
//!
//! TCP sockets are bound before the storages are opened, so that an address that can't be had is
//! found before any file is made. They listen when the storages are open. A Unix socket is made
//! only then: its file might be that of another server that is still opening the same storages.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use zeo_storage::zconfig::datatypes::Address;

use super::listener::Listener;
use super::socket_rights::SocketRights;

/// A host that stands for all addresses, as glibc's `getaddrinfo` has it, to which Python gives it.
const ANY_HOST: &str = "*";
/// Connections that the system may keep before they are accepted.
const BACKLOG_CONNECTIONS: i32 = 1024;
/// How long to wait for an answer from an address that may be in use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Whether the addresses are the same, or one contains the other: nobody can listen at both. Port 0
/// is another one each time, and a host that can't be resolved is another's trouble.
pub fn are_the_same(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Unix(one), Address::Unix(other)) => {
            let absolute = |path| std::path::absolute(path).ok();
            absolute(one) == absolute(other)
        }
        (
            Address::Tcp { host, port },
            Address::Tcp {
                host: other,
                port: other_port,
            },
        ) => {
            let port = port.filter(|port| *port != 0 && Some(*port) == *other_port);
            let Some(port) = port else {
                return false;
            };
            let [ours, theirs] =
                [host, other].map(|host| resolve(host.as_deref(), port).unwrap_or_default());
            ours.iter()
                .any(|one| theirs.iter().any(|other| is_within(one, other)))
        }
        _ => false,
    }
}

/// Whether the addresses are equal, or one stands for all of its kind.
fn is_within(one: &SocketAddr, other: &SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one == other || (is_any && one.is_ipv4() == other.is_ipv4())
}

/// What to listen with, before it listens.
#[derive(Debug)]
pub enum Sockets {
    /// Bound already.
    Tcp(Vec<Socket>),
    /// To be made.
    Unix(PathBuf, SocketRights),
    /// Handed over by the service manager, listening. A socket's file is not ours to remove.
    Inherited(Vec<Listener>),
}

impl Sockets {
    /// Those of the address. A host name that has several addresses gets a socket for each.
    ///
    /// # Errors
    /// An address can't be resolved or bound.
    pub fn bind(address: &Address, rights: &SocketRights) -> io::Result<Self> {
        match address {
            Address::Unix(path) => Ok(Sockets::Unix(path.clone(), rights.clone())),
            Address::Tcp { host, port } => {
                bind_tcp(host.as_deref(), port.unwrap_or(0)).map(Sockets::Tcp)
            }
        }
    }

    /// Those that the service manager has handed over, if it has (`LISTEN_FDS`).
    ///
    /// # Errors
    /// One of them is not a stream socket that listens.
    pub fn inherited() -> io::Result<Option<Self>> {
        let mut given = ListenFd::from_env();
        let mut listeners = Vec::new();
        for index in 0..given.len() {
            let tcp = given.take_tcp_listener(index).ok().flatten();
            let listener = match tcp {
                Some(tcp) => Listener::Tcp(tcp),
                None => match given.take_unix_listener(index).ok().flatten() {
                    Some(unix) => Listener::Unix(unix),
                    None => return Err(not_listening(index)),
                },
            };
            if !rustix::net::sockopt::socket_acceptconn(&listener)? {
                return Err(not_listening(index));
            }
            listeners.push(listener);
        }
        Ok((!listeners.is_empty()).then_some(Sockets::Inherited(listeners)))
    }

    /// Sockets that listen from now on, and the file to remove in the end.
    ///
    /// # Errors
    /// The address can't be had.
    pub(super) fn listen(self) -> io::Result<(Vec<Listener>, Option<PathBuf>)> {
        match self {
            Sockets::Tcp(sockets) => {
                let listening = sockets.into_iter().map(|socket| {
                    socket.listen(BACKLOG_CONNECTIONS)?;
                    Ok(Listener::Tcp(socket.into()))
                });
                Ok((listening.collect::<io::Result<_>>()?, None))
            }
            Sockets::Unix(path, rights) => Ok((vec![listen_unix(&path, &rights)?], Some(path))),
            Sockets::Inherited(listeners) => Ok((listeners, None)),
        }
    }

    /// The addresses of sockets that were handed over, where they are not those of `address`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn other_than(&self, address: &Address) -> io::Result<Option<String>> {
        let Sockets::Inherited(listeners) = self else {
            return Ok(None);
        };
        let wanted = match address {
            Address::Unix(path) => vec![path.display().to_string()],
            // Without an address by that name, it is another one.
            Address::Tcp { host, port } => resolve(host.as_deref(), port.unwrap_or(0))
                .unwrap_or_default()
                .iter()
                .map(SocketAddr::to_string)
                .collect(),
        };
        let given = listeners.iter().map(Listener::address);
        let given = given.collect::<io::Result<Vec<_>>>()?;
        let agree = given.iter().all(|given| wanted.contains(given));
        Ok((!agree).then(|| given.join(", ")))
    }
}

fn not_listening(index: usize) -> io::Error {
    let what = format!(
        "socket {} that the service manager has handed over is not a stream socket that listens \
         (ListenStream=, without Accept=yes)",
        index + 1
    );
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// A socket at this path, in place of what is left of a server that was
/// killed: nobody answers there. Any other file is not ours to remove.
fn listen_unix(path: &Path, rights: &SocketRights) -> io::Result<Listener> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens nobody can connect.
    let listens = rights
        .apply(path)
        .and_then(|()| socket.listen(BACKLOG_CONNECTIONS));
    if let Err(why) = listens {
        // The failure is what is reported.
        let _ = fs::remove_file(path);
        return Err(why);
    }
    Ok(Listener::Unix(OwnedFd::from(socket).into()))
}

/// The addresses of the host; without a host, or for `*`, all of IPv4 and all of IPv6.
fn resolve(host: Option<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut wanted: Vec<SocketAddr> = match host {
        None | Some("" | ANY_HOST) => vec![([0, 0, 0, 0], port).into(), ([0_u16; 8], port).into()],
        Some(host) => (host, port).to_socket_addrs()?.collect(),
    };
    wanted.dedup();
    Ok(wanted)
}

/// Sockets for every address of the host. With port 0 the system's choice for the first one
/// serves for all.
fn bind_tcp(host: Option<&str>, mut port: u16) -> io::Result<Vec<Socket>> {
    let mut bound: Vec<Socket> = Vec::new();
    let mut failure = None;
    for mut address in resolve(host, port)? {
        address.set_port(port);
        match bind_one(address) {
            Ok(socket) => {
                let at = socket.local_addr()?.as_socket();
                port = at.map_or(port, |at| at.port());
                bound.push(socket);
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

fn bind_one(address: SocketAddr) -> io::Result<Socket> {
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
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_is_replaced_and_any_other_file_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, rights) = (directory.path().join("socket"), SocketRights::default());
        drop(listen_unix(&socket, &rights).unwrap());
        assert!(socket.exists());
        drop(listen_unix(&socket, &rights).unwrap());
        let data = directory.path().join("Data.fs");
        fs::write(&data, "precious").unwrap();
        assert!(listen_unix(&data, &rights).is_err());
        assert_eq!(fs::read_to_string(&data).unwrap(), "precious");
    }
}
