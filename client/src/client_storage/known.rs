//! What is known of the storage, and up to which transaction: the cache, and the listeners, who keep
//! objects made from it.
//!
//! Only the storage's own thread changes anything here, in the order in which the server tells it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use zeo_proto::{Oid, Tid};
use zeo_storage::log::{Level, Log};
use zeo_storage::storage::Revision;

use super::listeners::Listeners;
use crate::cache::{Cache, CacheError};
use crate::lock::locked;

/// The objects that a transaction has changed; with their records, where these are known.
pub(super) type Stored = BTreeMap<Oid, Option<Vec<u8>>>;

pub(super) struct Known {
    /// None when the storage is closed.
    cache: Mutex<Option<Cache>>,
    pub listeners: Arc<Listeners>,
    log: Log,
}

impl Known {
    pub fn new(cache: Cache, log: Log) -> Self {
        let listeners = Arc::<Listeners>::default();
        if !cache.is_empty() {
            listeners.moved(cache.last_tid(), |_| {});
        }
        Self {
            cache: Mutex::new(Some(cache)),
            listeners,
            log,
        }
    }

    /// The revision that was current just before `before`, if it is cached.
    pub fn load_before(&self, oid: Oid, before: Tid) -> Option<Revision> {
        locked(&self.cache).as_mut()?.load_before(oid, before)
    }

    /// Whether that is cached.
    pub fn contains(&self, oid: Oid, before: Tid) -> bool {
        let mut cache = locked(&self.cache);
        cache
            .as_mut()
            .is_some_and(|cache| cache.contains(oid, before))
    }

    /// Those of these objects of which nothing is cached that could be the revision before
    /// `before`.
    pub fn missing(&self, oids: &[Oid], before: Tid) -> Vec<Oid> {
        let cache = locked(&self.cache);
        let is_missing = |oid| {
            let cache = cache.as_ref();
            cache.is_some_and(|cache| !cache.may_contain(oid, before))
        };
        { oids.iter().copied() }
            .filter(|&oid| is_missing(oid))
            .collect()
    }

    /// The last transaction of which all listeners were told.
    pub fn last_tid(&self) -> Tid {
        self.listeners.last_tid()
    }

    /// The transaction up to which the cache is true; none if it is empty, and true of any.
    pub fn cached_tid(&self) -> Option<Tid> {
        let cache = locked(&self.cache);
        cache
            .as_ref()
            .filter(|cache| !cache.is_empty())
            .map(Cache::last_tid)
    }

    /// The transaction up to which the cache, or what listeners keep, is true; none if nobody has
    /// been told of any.
    pub fn known_tid(&self) -> Option<Tid> {
        let last = self.last_tid();
        let told = (last > Tid::ZERO).then_some(last);
        self.cached_tid().or(told)
    }

    /// The server has answered a load. The cache's file has it after [`flush`](Self::flush).
    pub fn loaded(&self, oid: Oid, serial: Tid, next: Option<Tid>, data: &[u8]) {
        self.change(|cache| cache.store_later(oid, serial, next, data));
    }

    /// Nothing more has come in for now: writes what was loaded into the cache's file.
    pub fn flush(&self) {
        self.change(Cache::flush);
    }

    /// The current revision of an object can't be trusted.
    pub fn forget(&self, oid: Oid) {
        self.change(|cache| cache.invalidate(oid, None));
    }

    /// Somebody else has committed.
    pub fn invalidated(&self, tid: Tid, oids: &[Oid]) {
        self.change(|cache| {
            oids.iter()
                .for_each(|&oid| cache.invalidate(oid, Some(tid)));
            self.set_last_tid(cache, tid);
        });
        self.listeners
            .moved(tid, |listener| listener.invalidated(tid, oids));
    }

    /// These objects have changed while there was no connection, at `tid` or before.
    pub fn missed(&self, tid: Tid, oids: &[Oid]) {
        self.change(|cache| {
            oids.iter().for_each(|&oid| cache.invalidate(oid, None));
            self.set_last_tid(cache, tid);
        });
        self.listeners
            .moved(tid, |listener| listener.invalidated(tid, oids));
    }

    /// This storage has committed.
    pub fn committed(&self, tid: Tid, stored: &Stored) {
        self.change(|cache| {
            for &oid in stored.keys() {
                cache.invalidate(oid, Some(tid));
            }
            for (&oid, data) in stored {
                if let Some(data) = data {
                    cache.store_later(oid, tid, None, data);
                }
            }
            self.set_last_tid(cache, tid);
        });
        let oids: Vec<Oid> = stored.keys().copied().collect();
        self.listeners
            .moved(tid, |listener| listener.committed(tid, &oids));
    }

    /// Nobody can tell what has changed up to `tid`.
    pub fn everything_changed(&self, tid: Tid) {
        self.change(|cache| {
            if !cache.is_empty() {
                cache.clear();
            }
            self.set_last_tid(cache, tid);
        });
        self.listeners
            .moved(tid, |listener| listener.everything_changed(tid));
    }

    /// Closes the cache.
    ///
    /// # Errors
    ///
    /// What was written last is not on disk.
    pub fn close(&self) -> Result<(), CacheError> {
        let cache = locked(&self.cache).take();
        cache.map_or(Ok(()), Cache::close)
    }

    fn change(&self, change: impl FnOnce(&mut Cache)) {
        if let Some(cache) = &mut *locked(&self.cache) {
            change(cache);
        }
    }

    fn set_last_tid(&self, cache: &mut Cache, tid: Tid) {
        if let Err(why) = cache.set_last_tid(tid) {
            // It can't be true of this transaction, then.
            (self.log)(Level::Error, &format!("{why}; it is emptied"));
            cache.clear();
            // An empty one goes back, too.
            let _ = cache.set_last_tid(tid);
        }
    }
}
