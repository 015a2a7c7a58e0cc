//! Changes that are made elsewhere: by other servers and processes on the same
//! database, at an upstream server, by the primary of a replica.
//!
//! What arrives here must reach clients between the server's own transactions
//! in the order of tids. The storage knows that order, and tells it in
//! *reports*: the return values of [`Storage::append`] and [`Outside::poll`].
//! Both are called by one thread, the log writer, one after the other. **The
//! tids in a report, those of the appended batch included, are later than all
//! in the reports before it, and whatever is not in it will be later still.**
//! A database says so when tids become visible in rising order; an upstream
//! server, when it sends invalidations and the answers to finishes in one
//! stream. The storage may hear of changes in threads of its own: they keep
//! them for the next report and call [`Wake::wake`].
//!
//! The coordinator takes the reports in the order in which they were made. It
//! publishes and announces one transaction after the other, its own by
//! [`Storage::publish`], others by [`Outside::publish_change`]. Until then
//! nothing of them is the storage's [last transaction]. A report in which the
//! order is broken is not repaired: every client is made to verify its cache,
//! as after [`OutsideChange::Unknown`].
//!
//! [`Storage::append`]: super::Storage::append
//! [`Storage::publish`]: super::Storage::publish
//! [last transaction]: super::Storage::last_tid

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeo_proto::{Oid, Tid};

use super::users::DatabaseUsers;
use crate::Result;

/// A change that was made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutsideChange {
    /// A transaction; or several that clients are to hear of at once, since what was between them is not
    /// known.
    Transaction {
        /// Its tid; that of the last of them.
        tid: Tid,
        /// The objects that were changed; all of them, and perhaps others.
        oids: Vec<Oid>,
    },
    /// Anything may have changed, and nobody knows what: the history of the
    /// changes was lost, or the database is another one now. Clients are
    /// closed, so that they come back and verify what they have in their
    /// caches.
    Unknown {
        /// The last transaction from now on. It must be later than all
        /// before, so that clients see that they have missed something: when
        /// the database has no such transaction, it is the tid behind the
        /// last one ([`Tid::later_than`]).
        tid: Tid,
    },
    /// Those who know the storage have begun anew, as an upstream server that was started again.
    /// Everything that was changed is reported, but clients are closed, so that they come back and
    /// verify what they have, as they would if they had been connected there.
    Renewed {
        /// The last transaction in the report.
        tid: Tid,
    },
}

impl OutsideChange {
    /// The last transaction, once this is published.
    pub fn tid(&self) -> Tid {
        match self {
            Self::Transaction { tid, .. } | Self::Unknown { tid } | Self::Renewed { tid } => *tid,
        }
    }
}

/// What a storage offers that others change, too: see the module for the
/// order of things.
///
/// Such a storage also gives the tids of its transactions: see
/// [`Storage::append`](super::Storage::append).
pub trait Outside: Send + Sync {
    /// Takes the means to ask for a poll, for the threads of the storage.
    /// Called once, by who serves the storage, before anything is appended or
    /// polled. A storage that hears of nothing by itself forgets it.
    fn watch(&self, wake: Wake);

    /// How long to wait at most from one report to the next poll. It is also
    /// how soon a poll that has failed is tried again.
    fn poll_interval(&self) -> Duration;

    /// What was changed elsewhere and was not reported yet, in the order of
    /// tids: a report (see the module). At least everything that was
    /// committed before the call. A storage that has more to tell than it
    /// wants to hold in memory tells [`OutsideChange::Unknown`] instead.
    ///
    /// Called by the log writer, between appends, when a client wants to be up
    /// to date: at a ping, and after a conflict. It may wait for a database;
    /// appends wait with it.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the others can't be asked now; any other error
    /// likewise. Nothing is lost by it: what is not reported now is reported
    /// later. Clients that wanted to be up to date get the error.
    fn poll(&self) -> Result<Vec<OutsideChange>>;

    /// Called by the log writer before it takes what is to be appended together: may wait for others who
    /// are committing, since what comes meanwhile can go with it. Fails at nothing: what is wrong is found
    /// by the append.
    fn await_turn(&self) {}

    /// As [`Self::poll`], but nobody waits to be up to date: a storage that is told of changes, and
    /// has to ask somebody to be sure that it knows all, reports those that it has been told of. Called
    /// when the storage has asked for a poll, and when [`Self::poll_interval`] is over.
    ///
    /// # Errors
    ///
    /// As [`Self::poll`].
    fn poll_told(&self) -> Result<Vec<OutsideChange>> {
        self.poll()
    }

    /// Whether the storage's calls ask another machine, and may wait for it. The server then makes them
    /// in helper threads. Always the same.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether [`load_before`](super::Storage::load_before) would have to ask another machine for
    /// this revision now. Only then is a load one of those calls.
    fn must_ask(&self, oid: Oid, before: Tid) -> bool {
        let _ = (oid, before);
        false
    }

    /// The last published transaction, and at least all objects that were changed after `since`
    /// until then: for a client that was away for longer than the server remembers. `None` when that
    /// is not known; the server then looks through the storage itself.
    ///
    /// # Errors
    ///
    /// The others can't be asked. It counts as `None`.
    fn changed_since(&self, since: Tid) -> Result<Option<(Tid, Vec<Oid>)>> {
        let _ = since;
        Ok(None)
    }

    /// Makes the change visible: reads that begin from now on see it, and
    /// [`last_tid`](super::Storage::last_tid) is its tid. Called by the
    /// coordinator for each change of a report, in order, between the
    /// publications of the server's own transactions. Memory only, can't
    /// fail.
    fn publish_change(&self, change: &OutsideChange);

    /// The server listens at this address, among others: for a storage that tells other servers who is
    /// there.
    fn announce(&self, address: &str) {
        let _ = address;
    }

    /// The server stops and waits for nobody any more: calls that wait for another machine fail soon,
    /// and so do all that come. What is not known to be committed is [`Error::Unsettled`](crate::Error).
    fn give_up(&self) {}

    /// Who uses the database, as it was known a moment ago; `None` if that is not known. Memory only.
    fn users(&self) -> Option<DatabaseUsers> {
        None
    }
}

/// Asks for a poll, from any thread and at any time. Cheap; does nothing once
/// the storage is not served any more.
#[derive(Clone)]
pub struct Wake(Arc<dyn Fn() + Send + Sync>);

impl Wake {
    /// One that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// There is something to report. What is there when this is called is in
    /// one of the next reports. May wait a moment for the coordinator: hold no
    /// lock that [`Outside::publish_change`] or
    /// [`Storage::publish`](super::Storage::publish) takes.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
}
