//! Where a server is to be found.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeo_storage::zconfig::datatypes;

/// The address of a server. As text: `HOST:PORT`, `[IPv6]:PORT`, `PORT` or `:PORT` on this
/// machine, or the path of a Unix socket, which has a slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP.
    Tcp {
        /// A host's name, or its IPv4 or IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// The host that an address without one stands for.
const THIS_MACHINE: &str = "127.0.0.1";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = datatypes::socket_binding_address(text)?;
        Self::try_from(address).map_err(|why| format!("{text:?} {why}"))
    }
}

/// An address at which a server listens, as clients on its own machine reach it.
impl TryFrom<datatypes::Address> for Address {
    type Error = &'static str;

    fn try_from(listening: datatypes::Address) -> Result<Self, Self::Error> {
        match listening {
            datatypes::Address::Unix(path) => Ok(Self::Unix(path)),
            datatypes::Address::Tcp { port: None, .. } => {
                Err("has no port; expected HOST:PORT, [IPv6]:PORT, PORT or a path with a slash")
            }
            datatypes::Address::Tcp {
                host,
                port: Some(port),
            } => {
                let host = host.filter(|host| host != "*");
                let host = host.unwrap_or_else(|| THIS_MACHINE.to_owned());
                Ok(Self::Tcp { host, port })
            }
        }
    }
}

/// A port of this machine.
impl From<u16> for Address {
    fn from(port: u16) -> Self {
        Self::Tcp {
            host: THIS_MACHINE.to_owned(),
            port,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

/// What names a server: an [`Address`], a port of this machine, a text such as `db.example.org:8100`,
/// or the path of a Unix socket.
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    ///
    /// Why a text is none, in a sentence that names it.
    fn to_address(self) -> Result<Address, String>;
}

impl ToAddress for Address {
    fn to_address(self) -> Result<Address, String> {
        Ok(self)
    }
}

impl ToAddress for u16 {
    fn to_address(self) -> Result<Address, String> {
        Ok(self.into())
    }
}

impl ToAddress for SocketAddr {
    fn to_address(self) -> Result<Address, String> {
        Ok(self.into())
    }
}

impl ToAddress for &str {
    fn to_address(self) -> Result<Address, String> {
        self.parse()
    }
}

impl ToAddress for &Path {
    fn to_address(self) -> Result<Address, String> {
        Ok(Address::Unix(self.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_text() {
        for (text, shown) in [
            ("db.example.org:8100", "db.example.org:8100"),
            ("8100", "127.0.0.1:8100"),
            (":8100", "127.0.0.1:8100"),
            ("*:8100", "127.0.0.1:8100"),
            ("[::1]:8100", "[::1]:8100"),
            ("/run/zeo.sock", "/run/zeo.sock"),
            ("./zeo.sock", "./zeo.sock"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
        }
        for (text, expected) in [
            ("db.example.org", "\"db.example.org\" has no port; "),
            ("::1", "\"::1\" has no port; "),
            ("db:x", "\"x\" is not a port"),
            ("db:70000", "\"70000\" is not a port"),
            ("", "\"\" is not an address"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let path = Path::new("zeo.sock");
        assert_eq!(path.to_address(), Ok(Address::Unix(path.into())));
        assert_eq!(8100.to_address(), "8100".to_address());
        assert!("".to_address().is_err());
        let numbers: SocketAddr = "[::1]:7".parse().unwrap();
        assert_eq!(Address::from(numbers).to_string(), "[::1]:7");
    }
}
