//! What the upstream server has told, until it is published here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Included};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use zeo_proto::{Oid, Tid};
use zeo_storage::storage::{OutsideChange, Wake};

use crate::address::Address;
use crate::client_storage::Listener;
use crate::lock::locked;

/// How many objects are held. If more were changed, nobody knows any more which: it takes a server
/// that does not publish for a very long time.
const OBJECTS_MAX: usize = 4 << 20;

/// Hears what changes, in order, and keeps it for the next report.
pub(super) struct Changes {
    inner: Mutex<Inner>,
    /// Something was told.
    told: Condvar,
}

struct Inner {
    waiting: VecDeque<Told>,
    /// How many objects these have changed.
    objects: usize,
    /// The last transaction that was told.
    last: Tid,
    /// The last one in a report.
    reported: Tid,
    is_connected: bool,
    wake: Option<Wake>,
}

enum Told {
    Transaction {
        tid: Tid,
        oids: Vec<Oid>,
    },
    /// All transactions while there was no connection; the last one.
    Several {
        tid: Tid,
        oids: Vec<Oid>,
    },
    /// Anything may have changed.
    Everything {
        tid: Tid,
    },
    /// There is a connection again.
    Connected,
}

/// What was told since the last report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// What others have changed.
    pub outside: Vec<OutsideChange>,
    /// Of the transactions of this server, what each has changed. Those that are not here could
    /// not be put in order.
    pub own: BTreeMap<Tid, Vec<Oid>>,
}

impl Changes {
    /// Nothing was told yet.
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                waiting: VecDeque::new(),
                objects: 0,
                last: Tid::ZERO,
                reported: Tid::ZERO,
                is_connected: true,
                wake: None,
            }),
            told: Condvar::new(),
        }
    }

    /// All later than this transaction is told, and will be reported.
    pub fn begin(&self, since: Tid) {
        let mut inner = self.lock();
        inner.last = inner.last.max(since);
        inner.reported = inner.reported.max(since);
    }

    /// Is called for each change from now on.
    pub fn watch(&self, wake: Wake) {
        self.lock().wake = Some(wake.clone());
        wake.wake();
    }

    /// Waits until a transaction was told, or a later one; false if that took too long.
    pub fn wait_for(&self, tid: Tid, until: Instant) -> bool {
        let mut inner = self.lock();
        while inner.last < tid {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = match self.told.wait_timeout(inner, left) {
                Ok((inner, _)) => inner,
                Err(why) => why.into_inner().0,
            };
        }
        true
    }

    /// What was told since the last report, with these transactions of this server in it.
    ///
    /// What has happened while there was no connection is told as one: which of it came before a
    /// transaction of this server is not known. So all of it is reported right before that one, and
    /// once more behind it. Clients load what was invalidated, and get it as it was at that time.
    pub fn report(&self, own: &BTreeSet<Tid>) -> Report {
        let mut inner = self.lock();
        let mut last = inner.reported;
        let mut report = Report::default();
        inner.objects = 0;
        let mut renewed = false;
        for told in std::mem::take(&mut inner.waiting) {
            match told {
                Told::Connected => renewed = true,
                Told::Transaction { tid, oids } => {
                    last = last.max(tid);
                    if own.contains(&tid) {
                        report.own.insert(tid, oids);
                    } else {
                        report
                            .outside
                            .push(OutsideChange::Transaction { tid, oids });
                    }
                }
                Told::Several { tid, oids } => {
                    for &ours in own.range((Excluded(last), Included(tid.max(last)))) {
                        let before = Tid::new(ours.as_u64().saturating_sub(1));
                        if before > last {
                            report.others(before, &oids);
                        }
                        report.own.insert(ours, Vec::new());
                        last = ours;
                    }
                    if tid > last {
                        report.others(tid, &oids);
                        last = tid;
                    }
                }
                Told::Everything { tid } => {
                    // The last tid goes on, also where that of the upstream server has gone back.
                    let tid = tid.later_than(last).unwrap_or(Tid::MAX);
                    report.outside.push(OutsideChange::Unknown { tid });
                    last = tid;
                }
            }
        }
        if renewed {
            // Behind all others, so that their clients are told of them.
            report.outside.push(OutsideChange::Renewed { tid: last });
        }
        inner.reported = last;
        report
    }

    fn note(&self, told: Told) {
        let wake = {
            let mut inner = self.lock();
            let (tid, objects) = match &told {
                Told::Transaction { tid, oids } | Told::Several { tid, oids } => (*tid, oids.len()),
                Told::Everything { tid } => (*tid, 0),
                Told::Connected => (inner.last, 0),
            };
            inner.last = tid;
            inner.objects = inner.objects.saturating_add(objects + 1);
            if inner.objects > OBJECTS_MAX {
                inner.waiting.clear();
                inner.objects = 0;
                inner.waiting.push_back(Told::Everything { tid });
            } else {
                inner.waiting.push_back(told);
            }
            inner.wake.clone()
        };
        self.told.notify_all();
        // Without the lock: it may wait for the coordinator.
        if let Some(wake) = wake {
            wake.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        locked(&self.inner)
    }
}

impl Report {
    fn others(&mut self, tid: Tid, oids: &[Oid]) {
        let oids = oids.to_vec();
        self.outside.push(OutsideChange::Transaction { tid, oids });
    }
}

impl Listener for Changes {
    fn invalidated(&self, tid: Tid, oids: &[Oid]) {
        let oids = oids.to_vec();
        let is_connected = self.lock().is_connected;
        self.note(if is_connected {
            Told::Transaction { tid, oids }
        } else {
            Told::Several { tid, oids }
        });
    }

    fn everything_changed(&self, tid: Tid) {
        self.note(Told::Everything { tid });
    }

    fn connected(&self, _: &Address, _: bool) {
        self.lock().is_connected = true;
        self.note(Told::Connected);
    }

    fn disconnected(&self) {
        self.lock().is_connected = false;
    }
}
