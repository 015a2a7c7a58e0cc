//! The network: who accepts connections, and how one is served.

pub mod acceptor;
pub mod connection;
mod listener;
pub mod socket_rights;
pub mod sockets;
pub mod tls;
