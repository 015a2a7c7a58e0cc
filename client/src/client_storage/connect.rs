//! Connecting: from an address to a registered connection.

use std::sync::Arc;

use zeo_proto::Tid;

use super::error::Refusal;
use super::settings::Settings;
use crate::address::Address;
use crate::connection::{Connection, Options};
use crate::connection_error::{ConnectionError, Raised};

/// A server that has taken this client.
pub(super) struct Candidate {
    pub connection: Connection,
    pub read_only: bool,
    /// The server's last transaction.
    pub last_tid: Tid,
}

/// Connects to a server and registers there: for changes, unless the client is to make none; or
/// else, with `read_only_fallback`, for reading only.
pub(super) fn register(settings: &Settings, address: &Address) -> Result<Candidate, Refusal> {
    let lost = |why| Refusal::Connection(Arc::new(why));
    let mut options = Options::within(settings.connect_timeout);
    options.tls = settings.tls.clone();
    let mut connection = Connection::open(address, &options).map_err(lost)?;
    let wanted = settings.read_only && !settings.read_only_fallback;
    let mut read_only = wanted;
    let mut registered = connection.register(&settings.storage, read_only);
    if settings.read_only_fallback && is_read_only(&registered) {
        read_only = true;
        registered = connection.register(&settings.storage, read_only);
    }
    if is_read_only(&registered) {
        return Err(Refusal::ReadOnly);
    }
    let last_tid = registered.map_err(lost)?.unwrap_or_default();
    Ok(Candidate {
        connection,
        read_only,
        last_tid,
    })
}

fn is_read_only<T>(registered: &Result<T, ConnectionError>) -> bool {
    matches!(registered, Err(why) if why.raised() == Some(Raised::ReadOnly))
}
