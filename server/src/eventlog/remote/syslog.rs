//! `<syslog>`: a daemon at a UDP port or at a socket's path, as Python's `SysLogHandler` speaks to
//! it: `<PRI>`, the line, a NUL.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use slog::Level;

use super::Transport;
use crate::eventlog::error::EventLogError;

/// How long a daemon may take nothing before a line is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a host's address is used before its name is looked up again.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(60);

/// A syslog daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyslogConfig {
    /// Where it is.
    pub address: SyslogAddress,
    /// The facility's number, such as 1 for `user`.
    pub facility: u8,
}

/// Where a syslog daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyslogAddress {
    /// A socket that takes datagrams, or else a stream.
    Path(PathBuf),
    /// A host's UDP port.
    Host(String, u16),
}

/// The number of the facility that Python calls `name`.
///
/// # Errors
/// There is none of that name.
pub fn facility(name: &str) -> Result<u8, String> {
    Ok(match name.to_lowercase().as_str() {
        "kern" => 0,
        "user" => 1,
        "mail" => 2,
        "daemon" => 3,
        "auth" | "security" => 4,
        "syslog" => 5,
        "lpr" => 6,
        "news" => 7,
        "uucp" => 8,
        "cron" => 9,
        "authpriv" => 10,
        "local0" => 16,
        "local1" => 17,
        "local2" => 18,
        "local3" => 19,
        "local4" => 20,
        "local5" => 21,
        "local6" => 22,
        "local7" => 23,
        _ => {
            return Err(format!(
                "{name:?} is not a syslog facility; expected auth, authpriv, cron, daemon, kern, \
                 lpr, mail, news, security, syslog, user, uucp or local0 to local7"
            ));
        }
    })
}

/// The bytes that stand for `line`.
pub fn message(facility: u8, level: Level, line: &str) -> Vec<u8> {
    let severity = match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Info => 6,
        Level::Debug => 7,
        // To Python's handler, a level without a name of its own is a warning.
        Level::Warning | Level::Trace => 4,
    };
    format!("<{}>{line}\0", u16::from(facility) * 8 + severity).into_bytes()
}

enum Link {
    Udp(UdpSocket, SocketAddr),
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

/// Sends messages to a syslog daemon.
pub struct Syslog {
    address: SyslogAddress,
    /// None after a failure; the next line makes a new one.
    link: Option<Link>,
    /// When the link was made.
    since: Instant,
}

impl Syslog {
    /// Connects to the daemon at `address`. A path need not be there yet.
    ///
    /// # Errors
    /// The host is unknown.
    pub fn new(address: SyslogAddress) -> Result<Syslog, EventLogError> {
        let link = match (connect(&address), &address) {
            (Err(source), SyslogAddress::Host(host, _)) => {
                return Err(EventLogError::SyslogHost {
                    host: host.clone(),
                    source,
                });
            }
            (link, _) => link.ok(),
        };
        Ok(Syslog {
            address,
            link,
            since: Instant::now(),
        })
    }

    /// Follows a host whose address has changed: no datagram comes back to tell.
    fn look_up_again(&mut self) {
        if matches!(self.link, Some(Link::Udp(..))) && self.since.elapsed() >= LOOKUP_INTERVAL {
            self.since = Instant::now();
            if let Ok(link) = connect(&self.address) {
                self.link = Some(link);
            }
        }
    }
}

impl Transport for Syslog {
    fn name(&self) -> String {
        match &self.address {
            SyslogAddress::Path(path) => format!("syslog at {}", path.display()),
            SyslogAddress::Host(host, port) => format!("syslog at {host}:{port}"),
        }
    }

    /// A daemon that was restarted has a new socket: what fails on the old one is sent again.
    fn send(&mut self, message: &[u8]) -> Result<(), String> {
        self.look_up_again();
        if let Some(link) = &mut self.link {
            match link.send(message) {
                Ok(()) => return Ok(()),
                Err(why) => {
                    self.link = None;
                    if why.kind() == io::ErrorKind::WouldBlock {
                        return Err(format!("it has taken nothing for {SEND_TIMEOUT:?}"));
                    }
                }
            }
        }
        let link = connect(&self.address).map_err(|why| why.to_string())?;
        let link = self.link.insert(link);
        self.since = Instant::now();
        let sent = link.send(message);
        if sent.is_err() {
            self.link = None;
        }
        sent.map_err(|why| why.to_string())
    }
}

fn connect(address: &SyslogAddress) -> io::Result<Link> {
    let timeout = Some(SEND_TIMEOUT);
    match address {
        SyslogAddress::Path(path) => {
            let socket = UnixDatagram::unbound()?;
            if socket.connect(path).is_ok() {
                socket.set_write_timeout(timeout)?;
                return Ok(Link::Datagram(socket));
            }
            let stream = UnixStream::connect(path)?;
            stream.set_write_timeout(timeout)?;
            Ok(Link::Stream(stream))
        }
        SyslogAddress::Host(host, port) => {
            let mut addresses = (host.as_str(), *port).to_socket_addrs()?;
            let to = addresses
                .next()
                .ok_or_else(|| io::Error::other("it has no address"))?;
            let from: SocketAddr = match to {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(from)?;
            socket.set_write_timeout(timeout)?;
            Ok(Link::Udp(socket, to))
        }
    }
}

impl Link {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Link::Udp(socket, to) => socket.send_to(message, *to).map(drop),
            Link::Datagram(socket) => socket.send(message).map(drop),
            Link::Stream(stream) => stream.write_all(message),
        }
    }
}
