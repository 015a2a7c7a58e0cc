//! A storage of an upstream server, as one that a server serves: a fan-out server, or a replica.
//!
//! # Two kinds of connections
//!
//! One connection reads, with a cache that all clients share ([`ClientStorage`]), and is told of all
//! changes. Commits are made over it, too, and over others as long as several clients commit at once:
//! a connection can have one transaction at a time, and the upstream server may take its time for a
//! vote (`committers`).
//!
//! # One order
//!
//! What was committed, and in which order, is known by the reading connection alone: the upstream
//! server tells it all transactions in the order of their tids. That of a commit over another
//! connection arrives there as an invalidation like those of others. So `append` sends all finishes
//! of its batch at once, waits for their answers, which tell their tids, and then until the reading
//! connection has told the last of these tids. What was told until then is the report: those of the
//! batch, and in the right places what others have changed (`changes`).
//!
//! # What readers see
//!
//! The cache of the reading connection is ahead of what this server has published. So each read is
//! one of the state right behind the last published transaction: `load_before` of what comes later is
//! bounded, and a later next revision is left out. Such a read is answered by the cache also where
//! it knows of the later revision already, since it keeps the one before.
//!
//! # When the upstream server is away
//!
//! What is cached is answered. Other loads wait for a connection, up to `wait-timeout`, and then fail
//! with `Unavailable`, which clients take as a conflict: they try again. So do votes, at once. When
//! the connection is back, the upstream server tells what has changed since, all in one; see
//! `Changes::report` for how that comes before and behind commits of this server. If it can't tell,
//! all clients verify their caches.
//!
//! If the connection is lost while a transaction is being finished, nobody knows whether it is
//! committed: its client is closed without an answer, and what turns out to be committed is reported
//! as a change by others. The same is done with a commit that the reading connection has not told
//! within `wait-timeout`.

mod changes;
mod commit;
mod committer;
mod committers;
mod entries;
mod errors;
mod iterate;
mod opener;
mod reads;
#[cfg(test)]
mod tests;
mod uploads;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zeo_proto::message::{Call, Invalidations, Sizes};
use zeo_proto::{Oid, Tid};
use zeo_storage::blob::BlobDirectory;
use zeo_storage::storage::{
    Appended, Capabilities, Commit, CurrentRecord, Data, HistoryEntry, Invalidation, OnConflict,
    Op, Outside, OutsideChange, Revision, TransactionIter, TransactionMeta, UndoEntry, Vote, Wake,
};
use zeo_storage::{Error, Result, Storage};

use self::changes::Changes;
use self::committers::Committers;
use self::errors::{broken, storage_error};
use self::uploads::Uploads;
use crate::client_storage::{ClientStorage, Settings, Subscription};
use crate::lock::locked;

pub use self::opener::read_section;

/// How long nobody may have reported anything: the upstream server tells of changes by itself.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The storage of an upstream server.
pub struct Served {
    main: Arc<ClientStorage>,
    committers: Arc<Committers>,
    changes: Arc<Changes>,
    uploads: Option<Uploads>,
    name: String,
    read_only: bool,
    wait_timeout: Duration,
    /// The last transaction that this server has published.
    published: AtomicU64,
    /// The sizes with the last commit of this server; none: as the connection knows them.
    sizes: Mutex<Option<Sizes>>,
    _subscription: Subscription,
}

impl Served {
    /// Opens it, and waits for a connection as long as the settings say.
    ///
    /// # Errors
    ///
    /// `Unavailable`: no server takes this client in time. `Raised`: a file of a cache can't be used.
    pub fn open(settings: Settings) -> Result<Self> {
        let addresses = settings.addresses.iter().map(ToString::to_string);
        let name = addresses.collect::<Vec<_>>().join(", ");
        let read_only = settings.read_only && !settings.read_only_fallback;
        let wait_timeout = settings.wait_timeout;
        let main = ClientStorage::open(settings.clone()).map_err(storage_error)?;
        let main = Arc::new(main);
        let changes = Arc::new(Changes::new());
        let subscription = main.subscribe(Arc::clone(&changes) as Arc<_>);
        let since = subscription.since();
        changes.begin(since);
        let uploads = Uploads::of(&main)?;
        Ok(Self {
            committers: Committers::new(&main, settings)?,
            main,
            changes,
            uploads,
            name,
            read_only,
            wait_timeout,
            published: AtomicU64::new(since.as_u64()),
            sizes: Mutex::default(),
            _subscription: subscription,
        })
    }

    fn published(&self) -> Tid {
        Tid::new(self.published.load(Ordering::Acquire))
    }

    fn publish_up_to(&self, tid: Tid) {
        self.published.fetch_max(tid.as_u64(), Ordering::AcqRel);
    }

    fn sizes(&self) -> Sizes {
        let kept = *locked(&self.sizes);
        kept.unwrap_or_else(|| self.main.info().sizes)
    }

    fn set_sizes(&self, sizes: Sizes) {
        *locked(&self.sizes) = Some(sizes);
    }

    fn has(&self, interface: &str) -> bool {
        let info = self.main.info();
        info.interfaces.iter().any(|(_, name)| name == interface)
    }
}

impl Storage for Served {
    /// As that of Python's `ClientStorage`.
    fn name(&self) -> String {
        let state = if self.main.is_connected() {
            "connected"
        } else {
            "disconnected"
        };
        format!("{} ({state})", self.name)
    }

    fn len(&self) -> u64 {
        self.sizes().length
    }

    fn size(&self) -> u64 {
        self.sizes().size
    }

    fn last_tid(&self) -> Tid {
        self.published()
    }

    fn is_read_only(&self) -> bool {
        let link = self.main.link_now("is_read_only");
        self.read_only || link.is_ok_and(|link| link.read_only)
    }

    fn latched(&self) -> Option<String> {
        None
    }

    fn capabilities(&self) -> Capabilities {
        let info = self.main.info();
        Capabilities {
            undo: info.supports_undo,
            record_iternext: info.supports_record_iternext,
            restore: self.has("IStorageRestoreable"),
            delete: self.has("IExternalGC"),
            transforms: false,
        }
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        self.published_revision(oid, before)
    }

    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data> {
        self.main.load_serial(oid, serial).map_err(storage_error)
    }

    fn get_tid(&self, oid: Oid) -> Result<Tid> {
        let current = self.published_revision(oid, Tid::MAX)?;
        Ok(current.ok_or(Error::NoObject(oid))?.serial)
    }

    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        self.published_history(oid, size)
    }

    fn undo_log(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
    ) -> Result<Vec<UndoEntry>> {
        self.published_undo_log(first, last, filter)
    }

    fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord> {
        self.published_record(from)
    }

    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter> {
        let published = self.published();
        let stop = stop.map_or(published, |stop| stop.min(published));
        iterate::transactions(&self.main, start, Some(stop))
    }

    /// Not kept; [`Outside::changed_since`] asks for it.
    fn last_invalidations(&self, _: usize) -> Result<Option<Vec<Invalidation>>> {
        Ok(None)
    }

    fn new_oid(&self) -> Result<Oid> {
        self.main.new_oid().map_err(storage_error)
    }

    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict<'_>,
    ) -> Result<Vote> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.vote(meta, ops, on_conflict)
    }

    fn append(&self, batch: &mut [Commit]) -> Result<Appended> {
        self.finish(batch)
    }

    fn publish(&self, commit: &Commit) {
        self.publish_up_to(commit.tid);
    }

    fn outside(&self) -> Option<&dyn Outside> {
        Some(self)
    }

    fn blobs(&self) -> Option<&BlobDirectory> {
        self.uploads.as_ref().map(Uploads::directory)
    }

    fn load_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        drop(self.main.open_blob(oid, serial).map_err(storage_error)?);
        let cache = self.main.blob_cache().map_err(storage_error)?;
        let path = cache.path(oid, serial);
        let path = path.map_err(|why| broken(why.to_string()))?;
        // Removed again, to make room: whoever wants it fetches it once more.
        path.ok_or_else(|| Error::Unavailable("the blob cache is too small".to_owned()))
    }

    fn pack(&self, time: f64, _: Option<bool>) -> Result<()> {
        let link = self.main.link("pack").map_err(storage_error)?;
        let wait = true;
        let call = Call::Pack { time, wait };
        link.call_without_limit(&call).map_err(storage_error)
    }

    fn save_index(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.committers.close();
        self.uploads.iter().for_each(Uploads::close);
        self.main.close().map_err(storage_error)
    }
}

impl Outside for Served {
    fn watch(&self, wake: Wake) {
        self.changes.watch(wake);
    }

    fn poll_interval(&self) -> Duration {
        POLL_INTERVAL
    }

    /// All invalidations come before the answer to a ping.
    fn poll(&self) -> Result<Vec<OutsideChange>> {
        let link = self.main.link_now("ping").map_err(storage_error)?;
        link.call::<()>(&Call::Ping).map_err(storage_error)?;
        self.poll_told()
    }

    fn poll_told(&self) -> Result<Vec<OutsideChange>> {
        Ok(self.changes.report(&Default::default()).outside)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn must_ask(&self, oid: Oid, before: Tid) -> bool {
        !self.main.is_cached(oid, self.limit(before))
    }

    /// The upstream server remembers, or looks into its file.
    fn changed_since(&self, since: Tid) -> Result<Option<(Tid, Vec<Oid>)>> {
        let published = self.published();
        let link = self.main.link("getInvalidations").map_err(storage_error)?;
        let call = Call::GetInvalidations { since };
        let missed: Option<Invalidations> = link.call(&call).map_err(storage_error)?;
        Ok(missed.map(|missed| (missed.last.min(published), missed.oids)))
    }

    fn publish_change(&self, change: &OutsideChange) {
        self.publish_up_to(change.tid());
    }
}
