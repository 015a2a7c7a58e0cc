//! Calls of other parts of this crate, as they are.

use std::sync::Arc;

use zeo_proto::marshal::Decode;
use zeo_proto::message::Call;
use zeo_proto::{Oid, Tid};

use super::error::Error;
use super::link::Link;
use super::storage::ClientStorage;
use crate::address::Address;

/// One connection, as long as there is no other one.
pub(crate) struct Line(Arc<Link>);

impl ClientStorage {
    /// The connection; waits for one, up to `wait_timeout`.
    pub(crate) fn line(&self, what: &'static str) -> Result<Line, Error> {
        self.shared.link(what).map(Line)
    }

    /// The connection, if there is one now.
    pub(crate) fn line_now(&self, what: &'static str) -> Result<Line, Error> {
        self.shared.link_now(what).map(Line)
    }

    /// Whether a load of this revision finds it in the cache.
    pub(crate) fn is_cached(&self, oid: Oid, before: Tid) -> bool {
        self.shared.known.contains(oid, before)
    }

    /// What is cached as the current revision of an object may not be it.
    pub(crate) fn forget(&self, oid: Oid) {
        self.shared.known.forget(oid);
    }
}

impl Line {
    /// Calls a method and waits for its result.
    pub(crate) fn call<T: Decode<'static>>(&self, call: &Call<'_>) -> Result<T, Error> {
        self.0.call(call)
    }

    /// The same; it may take hours.
    pub(crate) fn call_without_limit(&self, call: &Call<'_>) -> Result<(), Error> {
        self.0.call_without_limit(call)
    }

    /// The server.
    pub(crate) fn address(&self) -> &Address {
        &self.0.address
    }

    /// Whether the server takes no changes over it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.0.read_only
    }
}
