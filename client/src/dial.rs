//! Connecting a socket within a time limit.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use zeo_proto::stream::Stream;

use crate::address::Address;
use crate::cancel::{Cancels, Waited};
use crate::connection_error::{ConnectionError, DialError};

/// How long to pause before the next try, when a Unix socket takes no more connections at once.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// Connects to the first of the server's addresses that takes the connection. Each has an equal
/// share of the time that is left.
///
/// A look-up of the host's name takes as long as the system lets it.
pub(crate) fn dial(
    address: &Address,
    until: Instant,
    cancels: &Cancels,
) -> Result<Stream, ConnectionError> {
    let failed = |why| ConnectionError::Dial {
        address: address.clone(),
        why,
    };
    let candidates = match address {
        Address::Unix(path) => vec![SockAddr::unix(path).map_err(|why| failed(why.into()))?],
        Address::Tcp { host, port } => look_up(host, *port).map_err(failed)?,
    };
    let mut last = DialError::NoAddress;
    for (index, candidate) in candidates.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = u32::try_from(candidates.len() - index).map_or(left, |count| left / count);
        match connect(candidate, Instant::now() + share, cancels) {
            Ok(stream) => return Ok(stream),
            Err(why) => last = why.into(),
        }
    }
    Err(failed(last))
}

fn look_up(host: &str, port: u16) -> Result<Vec<SockAddr>, DialError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port).into()]);
    }
    let found = (host, port).to_socket_addrs().map_err(DialError::LookUp)?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses.into_iter().map(SockAddr::from).collect())
}

fn connect(to: &SockAddr, until: Instant, cancels: &Cancels) -> io::Result<Stream> {
    loop {
        let socket = Socket::new(to.domain(), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(to) {
            Ok(()) => {}
            Err(why) if why.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
                in_time(cancels.wait_for_room(&socket, until)?)?;
                if let Some(why) = socket.take_error()? {
                    return Err(why);
                }
            }
            // The queue of a Unix socket is full.
            Err(why) if why.kind() == ErrorKind::WouldBlock => {
                let pause = until.min(Instant::now() + QUEUE_PAUSE);
                if let Waited::Cancelled = cancels.pause(pause)? {
                    return in_time(Waited::Cancelled).and(Err(why));
                }
                if until <= Instant::now() {
                    return in_time(Waited::TimeOver).and(Err(why));
                }
                continue;
            }
            Err(why) => return Err(why),
        }
        return if to.domain() == Domain::UNIX {
            Stream::unix(OwnedFd::from(socket).into())
        } else {
            Stream::tcp(socket.into())
        };
    }
}

fn in_time(waited: Waited) -> io::Result<()> {
    match waited {
        Waited::Ready => Ok(()),
        Waited::TimeOver => Err(io::Error::new(ErrorKind::TimedOut, "no answer in time")),
        Waited::Cancelled => Err(io::Error::other("given up")),
    }
}
