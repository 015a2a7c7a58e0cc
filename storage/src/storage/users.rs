//! Who uses the database of a storage.

use std::time::Duration;

use zeo_proto::Tid;

/// The servers and other processes on the database of a storage, a moment ago: see
/// [`Outside::users`](super::Outside::users).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseUsers {
    /// The servers, this one included, in the order in which they have connected.
    pub servers: Vec<DatabaseServer>,
    /// How many connections Python's RelStorage has; a process has several.
    pub relstorage_connections: u64,
}

/// A server on the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseServer {
    /// Where its clients connect; the end of it, if it is long. Empty until it listens.
    pub address: String,
    /// From which address it has connected to the database; `None` over a Unix socket, or if the
    /// database does not tell.
    pub host: Option<String>,
    /// It is the one that tells this.
    pub is_this: bool,
    /// The last transaction that its clients know of.
    pub last: Tid,
    /// For how long there has been a transaction that its clients don't know of; zero if there is none.
    /// Servers tell it about once a second: less than that means nothing.
    pub behind: Duration,
    /// For how long it has not been heard of; `None` if the database does not tell.
    pub silent: Option<Duration>,
    /// It is behind, or silent, for longer than a server that works would be.
    pub is_late: bool,
}
