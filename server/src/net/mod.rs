//! The network: who accepts connections, and how one is served.

pub mod acceptor;
pub mod connection;
pub mod gate;
mod listener;
pub mod refusals;
pub mod socket_rights;
pub mod sockets;
pub mod tls;
