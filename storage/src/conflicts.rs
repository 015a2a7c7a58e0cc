//! Stores that meet a revision which they did not see: merged where that is
//! possible, or gathered for the client.

use std::collections::HashMap;

use zeo_proto::{Oid, Tid};

use crate::error::Conflict;
use crate::record::class_name;
use crate::storage::{Data, OnConflict};
use crate::{Error, Result, conflict};

/// The record that merges a conflicting store into what is committed; `load`
/// finds the revisions of its object.
///
/// # Errors
///
/// The conflict, with the reason, when that can't be done.
pub(crate) fn resolve(
    mut conflict: Conflict,
    load: impl Fn(Tid) -> Result<Data>,
    on_conflict: OnConflict,
) -> Result<Vec<u8>> {
    let load = |serial| match load(serial) {
        Err(Error::NoObject(_)) => Ok(None),
        found => found.map(Some),
    };
    let revisions = (load(conflict.read)?, load(conflict.committed)?);
    let reason = match revisions {
        (Some(old), Some(committed)) => {
            match conflict::resolve(&old, &committed, &conflict.data, on_conflict.compressed()) {
                Ok(data) => return Ok(data),
                Err(unresolved) => unresolved.to_string(),
            }
        }
        (None, _) => "there is no longer the revision that was read".to_owned(),
        (_, None) => "the object is gone by now".to_owned(),
    };
    conflict.reason = Some(reason);
    Err(Error::Conflict(Box::new(conflict)))
}

impl Conflict {
    /// The dotted name of the class of the record that could not be stored,
    /// where that can be told.
    pub fn class_name(&self) -> Option<String> {
        class_name(&self.data)
    }
}

/// Conflicts that wait for the end of a vote, to be reported: one an object,
/// the last one, in the place of the first.
#[derive(Default)]
pub(crate) struct Reported {
    /// With the number of conflicts before it.
    conflicts: HashMap<Oid, (usize, Conflict)>,
    count: usize,
}

impl Reported {
    /// Adds a conflict.
    pub fn add(&mut self, conflict: Conflict) {
        self.count += 1;
        let order = match self.conflicts.get(&conflict.oid) {
            Some((order, _)) => *order,
            None => self.count,
        };
        self.conflicts.insert(conflict.oid, (order, conflict));
    }

    /// True when the object is in conflict.
    pub fn has(&self, oid: Oid) -> bool {
        self.conflicts.contains_key(&oid)
    }

    /// Takes back the conflict of an object, since a later store has none.
    pub fn take_back(&mut self, oid: Oid) {
        self.conflicts.remove(&oid);
    }

    /// All of them in order; `None` when there are none.
    pub fn take(self) -> Option<Vec<Conflict>> {
        let mut conflicts: Vec<_> = self.conflicts.into_values().collect();
        conflicts.sort_by_key(|&(order, _)| order);
        let conflicts = conflicts.into_iter().map(|(_, conflict)| conflict);
        Some(conflicts.collect()).filter(|all: &Vec<_>| !all.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict(oid: u64, data: &[u8]) -> Conflict {
        Conflict {
            oid: Oid::new(oid),
            committed: Tid::new(2),
            read: Tid::new(1),
            data: data.to_vec(),
            reason: None,
        }
    }

    #[test]
    fn lengths_add_up_and_others_stay_in_conflict() {
        let length = |n: u8| [b"cBTrees.Length\nLength\n.K", &[n, b'.'][..]].concat();
        let load = |serial: Tid| Ok(length(serial.as_u64() as u8).into());
        let merged = resolve(conflict(1, &length(5)), load, OnConflict::Resolve).unwrap();
        assert!(merged.ends_with(b"K\x06."));

        let refused = |conflict, load: &dyn Fn(Tid) -> Result<Data>| match resolve(
            conflict,
            load,
            OnConflict::Resolve,
        ) {
            Err(Error::Conflict(conflict)) => *conflict,
            other => panic!("{other:?}"),
        };
        let thing = refused(conflict(1, b"capp\nThing\n.N."), &load);
        assert_eq!(thing.class_name().unwrap(), "app.Thing");
        let reason = thing.reason.unwrap();
        assert!(reason.contains("class app.Thing"), "{reason}");
        let gone = |_| Err(Error::NoObject(Oid::new(1)));
        let gone = refused(conflict(1, &length(5)), &gone);
        assert!(gone.reason.unwrap().contains("no longer"));
    }

    #[test]
    fn one_report_for_each_object() {
        let mut reported = Reported::default();
        for (oid, data) in [(1, b"a"), (2, b"b"), (3, b"c"), (1, b"d")] {
            reported.add(conflict(oid, data));
        }
        reported.take_back(Oid::new(2));
        let all = reported.take().unwrap();
        let shown: Vec<_> = all.iter().map(|c| (c.oid.as_u64(), &c.data[..])).collect();
        assert_eq!(shown, [(1, &b"d"[..]), (3, b"c")]);
        assert!(Reported::default().take().is_none());
    }
}
