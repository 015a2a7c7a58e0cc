//! The database, and its connections.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex};

use zeo_proto::Tid;

use super::object_cache::{CacheSize, ObjectCache};
use super::pending::{Connections, Pending};
use crate::client_storage::{ClientStorage, Subscription};
use crate::lock::locked;

/// A database of objects. A clone is the same one; any number of threads use it.
///
/// Each thread works with connections of its own: [`Db::connect`], or [`Db::transact`] does it.
#[derive(Clone)]
pub struct Db {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) storage: Arc<ClientStorage>,
    connections: Arc<Connections>,
    _subscription: Subscription,
    pub(super) sizes: Sizes,
    idle: Mutex<Vec<Kept>>,
}

/// What ZODB's settings of a database say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) cache: CacheSize,
    /// How many dropped connections are kept.
    pub(crate) pool: usize,
    /// From which length on a record is warned of.
    pub(crate) large_record: usize,
}

/// What is left of a connection that was dropped, for the next one.
struct Kept {
    pending: Arc<Pending>,
    cache: ObjectCache,
}

impl Db {
    /// The database that a storage holds. Its connections keep up to 10,000 objects each, and 64
    /// MiB of records.
    pub fn new(storage: impl Into<Arc<ClientStorage>>) -> Self {
        Self::with_cache_size(storage, 10_000, 64 << 20)
    }

    /// The same, with connections that keep up to so many objects, and so many bytes of records.
    /// (An object that was read takes several times the size of its record.) All other settings
    /// are those of [`DatabaseConfig`](crate::config::DatabaseConfig).
    pub fn with_cache_size(
        storage: impl Into<Arc<ClientStorage>>,
        objects: usize,
        bytes: usize,
    ) -> Self {
        let sizes = Sizes {
            cache: CacheSize { objects, bytes },
            pool: 7,
            large_record: 16 << 20,
        };
        Self::with_sizes(storage.into(), sizes)
    }

    pub(crate) fn with_sizes(storage: Arc<ClientStorage>, sizes: Sizes) -> Self {
        let connections = Arc::new(Connections::default());
        let subscription = storage.subscribe(Arc::clone(&connections) as _);
        let inner = Inner {
            storage,
            connections,
            _subscription: subscription,
            sizes,
            idle: Mutex::new(Vec::new()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The storage.
    pub fn storage(&self) -> &Arc<ClientStorage> {
        &self.inner.storage
    }

    /// A connection: one that was dropped, with the objects that it knows, or a new one. Nobody
    /// waits for one: there are as many as are asked for.
    pub fn connect(&self) -> Connection {
        let kept = locked(&self.inner.idle).pop();
        let Kept { pending, cache } = kept.unwrap_or_else(|| Kept {
            pending: self.inner.connections.join(),
            cache: ObjectCache::new(self.inner.sizes.cache),
        });
        Connection {
            db: Arc::clone(&self.inner),
            pending,
            cache: RefCell::new(cache),
        }
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Db").field(&self.inner.storage).finish()
    }
}

/// A connection to a database: it makes transactions, one after the other, and keeps the objects
/// that they have read.
///
/// It may move from thread to thread. When it is dropped, the next one that is asked for goes on
/// with its objects.
pub struct Connection {
    pub(super) db: Arc<Inner>,
    pending: Arc<Pending>,
    pub(super) cache: RefCell<ObjectCache>,
}

impl Connection {
    /// Takes note of what was changed since, and gives the first tid that it does not see.
    pub(super) fn advance(&mut self) -> Tid {
        let last = self.db.storage.last_tid();
        let changes = self.pending.take();
        self.cache.get_mut().apply(&changes);
        let last = last.max(changes.last);
        Tid::new(last.as_u64() + 1)
    }

    /// How many objects it knows.
    pub fn cached(&self) -> usize {
        self.cache.borrow().len()
    }

    /// Forgets all objects.
    pub fn forget(&mut self) {
        self.cache.get_mut().clear();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let none = ObjectCache::new(self.db.sizes.cache);
        let kept = Kept {
            pending: Arc::clone(&self.pending),
            cache: std::mem::replace(self.cache.get_mut(), none),
        };
        let mut idle = locked(&self.db.idle);
        if idle.len() < self.db.sizes.pool {
            idle.push(kept);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("storage", &self.db.storage)
            .field("cached", &self.cache.borrow().len())
            .finish()
    }
}
