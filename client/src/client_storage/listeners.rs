//! Who is told of changes, in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use zeo_proto::{Oid, Tid};

use crate::address::Address;
use crate::lock::locked;

/// Is told what happens to a storage, in the order in which the server says it.
///
/// The calls come from the storage's own thread, one after the other, and all replies wait
/// meanwhile: a listener takes note and returns. It must not call the storage, nor drop its own
/// [`Subscription`].
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use zeo_client::Listener;
/// use zeo_proto::{Oid, Tid};
///
/// /// What to load again.
/// #[derive(Default)]
/// struct Changed(Mutex<Vec<Oid>>);
///
/// impl Listener for Changed {
///     fn invalidated(&self, _tid: Tid, oids: &[Oid]) {
///         self.0.lock().unwrap().extend(oids);
///     }
///     fn everything_changed(&self, _tid: Tid) {}
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = zeo_server::serve(zeo_server::AdHoc::in_memory())?;
/// # let storage = zeo_client::ClientStorage::builder(server.address().parse()?).open()?;
/// let changed = Arc::new(Changed::default());
/// let subscription = storage.subscribe(changed.clone());
/// // ... as long as the subscription lives.
/// drop(subscription);
/// # Ok(())
/// # }
/// ```
pub trait Listener: Send + Sync {
    /// A transaction of somebody else has changed these objects. (After a loss of the connection,
    /// `tid` may stand for several transactions, of which it is the last one.)
    fn invalidated(&self, tid: Tid, oids: &[Oid]);

    /// A transaction of this storage has changed these objects.
    fn committed(&self, tid: Tid, oids: &[Oid]) {
        self.invalidated(tid, oids);
    }

    /// Anything may have changed up to `tid`: the connection was away too long for the server to
    /// tell what. The last tid may even have gone back, if the data were replaced.
    fn everything_changed(&self, tid: Tid);

    /// There is a connection to this server, for reading only or also for changes. What was missed
    /// meanwhile has been told. Calls of the storage wait until all listeners know of it.
    fn connected(&self, address: &Address, read_only: bool) {
        let _ = (address, read_only);
    }

    /// The connection was lost.
    fn disconnected(&self) {}

    /// A server answers, but is behind what this storage has seen already, as a replica that is
    /// late: it is not used. The last transaction of the server, and that of the cache.
    fn behind(&self, address: &Address, server: Tid, cache: Tid) {
        let _ = (address, server, cache);
    }
}

/// The listeners of a storage, and its last transaction.
#[derive(Default)]
pub(super) struct Listeners {
    inner: Mutex<Inner>,
    last_tid: AtomicU64,
}

#[derive(Default)]
struct Inner {
    next_id: u64,
    all: Vec<(u64, Arc<dyn Listener>)>,
}

/// A listener is told of changes until this is dropped; after that it isn't called any more.
#[must_use = "dropping it ends the subscription"]
pub struct Subscription {
    listeners: Weak<Listeners>,
    id: u64,
    since: Tid,
}

impl Subscription {
    /// The storage's last transaction when the subscription began: the listener is told of all later
    /// ones, and of no other.
    pub fn since(&self) -> Tid {
        self.since
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(listeners) = self.listeners.upgrade() {
            let mut inner = locked(&listeners.inner);
            let at = inner.all.iter().position(|(id, _)| *id == self.id);
            let removed = at.map(|at| inner.all.swap_remove(at));
            // What its end may do is no business of the lock.
            drop(inner);
            drop(removed);
        }
    }
}

impl Listeners {
    pub fn subscribe(self: &Arc<Self>, listener: Arc<dyn Listener>) -> Subscription {
        let mut inner = locked(&self.inner);
        let id = inner.next_id;
        inner.next_id += 1;
        inner.all.push((id, listener));
        Subscription {
            listeners: Arc::downgrade(self),
            id,
            since: self.last_tid(),
        }
    }

    /// The last transaction of which all listeners were told.
    pub fn last_tid(&self) -> Tid {
        Tid::new(self.last_tid.load(Ordering::Acquire))
    }

    /// Tells all, and then moves the last tid to `tid`.
    pub fn moved(&self, tid: Tid, tell: impl Fn(&dyn Listener)) {
        let inner = locked(&self.inner);
        for (_, listener) in &inner.all {
            tell(&**listener);
        }
        self.last_tid.store(tid.as_u64(), Ordering::Release);
    }

    /// Tells all.
    pub fn tell(&self, tell: impl Fn(&dyn Listener)) {
        for (_, listener) in &locked(&self.inner).all {
            tell(&**listener);
        }
    }
}
