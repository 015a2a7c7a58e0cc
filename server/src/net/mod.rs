//! The network: who accepts connections, and how one is served.

pub mod acceptor;
pub mod connection;
pub mod tls;
