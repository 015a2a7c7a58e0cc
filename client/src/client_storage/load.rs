//! Loading revisions, and oids for new objects.

use std::borrow::Cow;

use zeo_proto::message::Call;
use zeo_proto::{Oid, Tid};
use zeo_storage::storage::{Data, Revision};

use super::error::Error;
use super::storage::ClientStorage;

/// Later than each transaction. (Storages that keep tids as signed numbers have none above.)
pub(super) const LATEST: Tid = Tid::new(i64::MAX as u64);
/// How many oids are asked for at once.
const OIDS: i64 = 100;
/// How many objects of a prefetch are looked up and asked for under one lock.
const PREFETCH: usize = 256;

impl ClientStorage {
    /// The current revision of an object, as of [`last_tid`](Self::last_tid) or later.
    ///
    /// # Errors
    ///
    /// `NoObject` for an object that is unknown, or deleted. As all calls: `Disconnected`, `Closed`,
    /// `Reply`, `Server`.
    pub fn load(&self, oid: Oid) -> Result<Revision, Error> {
        let found = self.load_before(oid, LATEST)?;
        found.ok_or(Error::NoObject { oid, serial: None })
    }

    /// The revision of an object that was current just before `before`; none if the object is
    /// younger.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load).
    pub fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, Error> {
        let before = before.min(LATEST);
        if let Some(revision) = self.shared.known.load_before(oid, before) {
            return Ok(Some(revision));
        }
        self.shared.link("loadBefore")?.load((oid, before))
    }

    /// The record that transaction `serial` has written for an object.
    ///
    /// # Errors
    ///
    /// `NoObject` if it has written none, and as of [`load`](Self::load).
    pub fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data, Error> {
        let link = self.shared.link("loadSerial")?;
        let data: Cow<'static, [u8]> = link.call(&Call::LoadSerial { oid, serial })?;
        Ok(data.into_owned().into())
    }

    /// Asks for revisions that will be needed, as [`load_before`](Self::load_before) does, and waits
    /// for none: the answers go into the cache. What goes wrong is told by the load. Objects of which
    /// the cache has a revision that may be the one are left out.
    pub fn prefetch(&self, oids: &[Oid], before: Tid) {
        let Ok(link) = self.shared.link_now("prefetch") else {
            return;
        };
        let before = before.min(LATEST);
        for some in oids.chunks(PREFETCH) {
            let missing = self.shared.known.missing(some, before);
            if !missing.is_empty() && link.prefetch(&missing, before).is_err() {
                break;
            }
        }
        link.flush();
    }

    /// An oid for a new object, which nobody else gets.
    ///
    /// # Errors
    ///
    /// `ReadOnly`, and as of [`load`](Self::load).
    pub fn new_oid(&self) -> Result<Oid, Error> {
        if let Some(oid) = self.shared.take_oid() {
            return Ok(oid);
        }
        self.check_writable()?;
        let link = self.shared.link("new_oids")?;
        if link.read_only {
            return Err(Error::ReadOnly);
        }
        let mut oids: Vec<Oid> = link.call(&Call::NewOids { count: OIDS })?;
        oids.reverse();
        let oid = oids.pop();
        // Only of the connection that there is: a server that was started anew gives them again.
        self.shared.keep_oids(&link, oids);
        oid.ok_or_else(|| Error::Unsupported("the server gives no oids".to_owned()))
    }
}
