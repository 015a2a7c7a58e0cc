//! What a distrustful client checks in what it receives.

use std::collections::BTreeMap;

use zeo_proto::{Oid, Tid};

/// All that one connection has been told, in order.
#[derive(Debug, Default)]
pub(super) struct Checks {
    registered: Option<Tid>,
    last: Tid,
    /// The last transaction that this connection knows to have changed an
    /// object.
    changed: BTreeMap<Oid, Tid>,
    /// Every transaction that it was told of, its own included.
    pub(super) seen: Vec<Tid>,
}

impl Checks {
    /// A reply to `register` that was sent when `committed` was the last transaction of all.
    pub(super) fn registered(&mut self, last: Tid, committed: Option<Tid>) -> Result<(), String> {
        if let Some(committed) = committed.filter(|&committed| last < committed) {
            return Err(format!(
                "a client that registers behind {committed} begins with {last}"
            ));
        }
        self.registered = Some(last);
        self.last = last;
        Ok(())
    }

    /// The tid that `register` answered.
    pub(super) fn since(&self) -> Option<Tid> {
        self.registered
    }

    /// An invalidation, or the client's own finish.
    pub(super) fn transaction(&mut self, tid: Tid, oids: &[Oid]) -> Result<(), String> {
        if self.registered.is_none() {
            return Err(format!("{tid} comes before the reply to register"));
        }
        if tid <= self.last {
            return Err(format!("{tid} comes after {}", self.last));
        }
        self.last = tid;
        self.seen.push(tid);
        self.changed.extend(oids.iter().map(|&oid| (oid, tid)));
        Ok(())
    }

    /// A reply to a ping that was sent when `committed` was the last transaction of all.
    pub(super) fn pong(&self, committed: Tid) -> Result<(), String> {
        if self.last < committed {
            return Err(format!(
                "a ping behind {committed} is answered when the client knows of {} only",
                self.last
            ));
        }
        Ok(())
    }

    /// A conflict with `committed`.
    pub(super) fn conflict(&self, committed: Tid) -> Result<(), String> {
        if self.last < committed {
            return Err(format!(
                "a conflict with {committed}, of which the client does not know"
            ));
        }
        Ok(())
    }

    /// A load of what the client believes to be current, which finds nothing.
    pub(super) fn gone(&self, oid: Oid, before: Tid) -> Result<(), String> {
        if self.last < before {
            return Err(format!(
                "{oid} has no revision from before {before}, and the client knows of no later transaction"
            ));
        }
        Ok(())
    }

    /// The tid behind the last transaction that the client knows of.
    pub(super) fn behind(&self) -> Tid {
        self.last.later_than(self.last).unwrap_or(Tid::MAX)
    }

    /// A reply that calls `serial` current.
    pub(super) fn current(&self, oid: Oid, serial: Tid) -> Result<(), String> {
        match self.changed.get(&oid) {
            Some(&changed) if changed > serial => Err(format!(
                "{oid} is said to be current at {serial}, behind its invalidation by {changed}"
            )),
            _ => Ok(()),
        }
    }
}
