//! A storage in memory that lets the rest of the world go on in the middle
//! of its calls, as it may when they run in threads of their own. And what
//! goes wrong with one that others change, too; and with a coordinator that others want as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use zeo_proto::{Oid, Tid};
use zeo_storage::error::Conflict;
use zeo_storage::storage::{Appended, Commit, OnConflict, Op, Revision, TransactionMeta, Vote};
use zeo_storage::{Error, Result, Storage};

use super::plan::Plan;
use super::shared::Weather;
use super::world;
use crate::commit::coordinator::SharedCoordinator;
use crate::messages::requests::TakesRequests;

/// A database that others change, in a world.
pub(super) struct Chance(pub(super) Plan);

impl Weather for Chance {
    fn now(&self) -> SystemTime {
        world::now()
    }

    fn between(&self) {
        world::interrupt();
    }

    fn before_announcing(&self) {
        world::interrupt_shortly();
    }

    fn breaks(&self) -> bool {
        self.0.breaks && world::one_in(30)
    }

    fn is_remote(&self) -> bool {
        self.0.remote
    }

    fn must_ask(&self) -> bool {
        world::one_in(2)
    }

    fn has_packed(&self) -> bool {
        self.0.remote && world::one_in(2)
    }

    fn withholds(&self) -> bool {
        self.0.lies && world::one_in(4)
    }
}

/// The coordinator, as others than its thread find it: at times somebody else is at it, and others
/// go on before they look.
pub(super) struct Contended(pub(super) Arc<SharedCoordinator>);

impl TakesRequests for Contended {
    fn take_waiting(&self) -> bool {
        world::interrupt_shortly();
        !world::one_in(3) && self.0.take_waiting()
    }
}

pub(super) struct Interrupted {
    pub(super) inner: Arc<dyn Storage>,
    /// The next append fails, and all after it.
    pub(super) failing: AtomicBool,
}

impl zeo_storage::storage::Layer for Interrupted {
    fn below(&self) -> &dyn Storage {
        &*self.inner
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        let found = self.inner.load_before(oid, before);
        world::interrupt();
        found
    }

    /// Also judges the outcome: a conflict must be one.
    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote> {
        let vote = self.inner.prepare(meta, ops, on_conflict);
        if let Err(Error::Conflict(conflict)) = &vote {
            self.judge(conflict);
        }
        world::interrupt();
        vote
    }

    fn append(&self, batch: &mut [Commit]) -> Result<Appended> {
        if self.failing.load(Ordering::Relaxed) {
            return Err(Error::Latched("the disk of the test".into()));
        }
        self.inner.append(batch)
    }

    fn publish(&self, commit: &Commit) {
        world::interrupt();
        self.inner.publish(commit);
    }
}

impl Interrupted {
    fn judge(&self, conflict: &Conflict) {
        assert_ne!(conflict.committed, conflict.read, "a conflict without one");
        if self.inner.outside().is_some() {
            return;
        }
        assert_eq!(
            self.inner.get_tid(conflict.oid).unwrap(),
            conflict.committed,
            "a locked object has moved"
        );
    }
}
