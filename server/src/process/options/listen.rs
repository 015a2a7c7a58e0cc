//! Options of the address: who may connect to a Unix socket, and where the address is told.

use std::path::PathBuf;

use crate::net::socket_rights::{SocketOwner, SocketRights, socket_mode};

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
}

/// How to listen.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ListenOptions {
    /// The owner and the permissions of a Unix socket.
    pub(crate) rights: SocketRights,
    /// The file to write the address to, if any.
    pub address_file: Option<PathBuf>,
}

impl ListenArgs {
    pub(super) fn resolve(self) -> ListenOptions {
        ListenOptions {
            rights: SocketRights {
                mode: self.socket_mode,
                owner: self.socket_owner.unwrap_or_default(),
            },
            address_file: self.address_file,
        }
    }
}
