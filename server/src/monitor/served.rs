//! What the monitor shows.

use std::sync::Arc;

use crate::server::Server;

/// A server that has been started.
pub(super) struct Served {
    pub server: Arc<Server>,
    /// Where the monitor listens.
    pub monitors: Vec<String>,
}
