//! What other clients have changed, until a connection takes note of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use zeo_proto::{Oid, Tid};

use crate::client_storage::Listener;
use crate::lock::locked;

/// Who forgets a connection's objects: more changes than these are kept as "everything", so that
/// a connection that nobody uses takes no memory.
const MAX_CHANGES: usize = 10_000;

/// The changes since a connection's last begin.
#[derive(Default)]
pub(super) struct Pending(Mutex<Changes>);

/// Changed objects, with the transactions that changed them last.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) objects: HashMap<Oid, Tid>,
    /// Whether all objects may have changed, or even gone back.
    pub(super) everything: bool,
    /// The last transaction that was told of.
    pub(super) last: Tid,
}

impl Pending {
    /// Takes the changes so far.
    pub(super) fn take(&self) -> Changes {
        std::mem::take(&mut locked(&self.0))
    }

    fn add(&self, tid: Tid, oids: &[Oid]) {
        let mut changes = locked(&self.0);
        changes.last = changes.last.max(tid);
        if changes.everything {
            return;
        }
        if changes.objects.len() + oids.len() > MAX_CHANGES {
            changes.everything = true;
            changes.objects = HashMap::new();
            return;
        }
        changes.objects.extend(oids.iter().map(|&oid| (oid, tid)));
    }

    fn add_everything(&self) {
        let mut changes = locked(&self.0);
        *changes = Changes {
            everything: true,
            ..Changes::default()
        };
    }
}

/// The connections of a database, as its storage's listener.
#[derive(Default)]
pub(super) struct Connections(Mutex<Vec<Weak<Pending>>>);

impl Connections {
    /// A place for the changes that a new connection has to take note of.
    pub(super) fn join(&self) -> Arc<Pending> {
        let pending = Arc::new(Pending::default());
        let mut all = locked(&self.0);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&pending));
        pending
    }

    fn each(&self, tell: impl Fn(&Pending)) {
        for pending in locked(&self.0).iter().filter_map(Weak::upgrade) {
            tell(&pending);
        }
    }
}

impl Listener for Connections {
    fn invalidated(&self, tid: Tid, oids: &[Oid]) {
        self.each(|pending| pending.add(tid, oids));
    }

    fn everything_changed(&self, _tid: Tid) {
        self.each(Pending::add_everything);
    }
}
