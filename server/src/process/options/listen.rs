//! Options of the address: who may connect to a Unix socket, where the address is told, and how it
//! is given up.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::seconds;
use crate::net::socket_rights::{SocketOwner, SocketRights, socket_mode};
use crate::settings::DEFAULT_STOP_TIMEOUT;

/// What the command line says of the address, beside the address itself.
#[derive(Debug, clap::Args)]
pub(super) struct ListenArgs {
    /// Permissions of the Unix socket in octal, such as 660 (default: what the umask leaves)
    #[arg(long, value_name = "MODE", value_parser = socket_mode)]
    socket_mode: Option<u32>,
    /// Owner of the Unix socket: USER, USER:GROUP or :GROUP, by name or number
    #[arg(long, value_name = "OWNER")]
    socket_owner: Option<SocketOwner>,
    /// File to write the address to (HOST:PORT or a path, one a line) while the server listens
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
    /// Seconds that a stop waits for transactions that have voted (default 5)
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    stop_timeout: Option<Duration>,
}

/// How to listen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ListenOptions {
    /// The owner and the permissions of a Unix socket.
    pub(crate) rights: SocketRights,
    /// The file to write the address to, if any.
    pub address_file: Option<PathBuf>,
    /// How long a stop waits for transactions that have voted.
    pub stop_timeout: Duration,
}

impl ListenArgs {
    pub(super) fn resolve(self) -> ListenOptions {
        ListenOptions {
            rights: SocketRights {
                mode: self.socket_mode,
                owner: self.socket_owner.unwrap_or_default(),
            },
            address_file: self.address_file,
            stop_timeout: self.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT),
        }
    }
}
