//! Stores that meet a revision which they did not see: merged where that is
//! possible, or gathered for the client.

use std::collections::HashMap;

use zeo_proto::{Oid, Tid};

use crate::conflict::{self, Conflicting, DecidedBy};
use crate::error::Conflict;
use crate::record::class_name;
use crate::storage::{Data, Merged, OnConflict};
use crate::{Error, Result};

/// The record that merges a conflicting store into what is committed, and who merged it; `load`
/// finds the revisions of its object.
///
/// # Errors
///
/// The conflict, with the reason, when that can't be done.
fn resolve(
    mut conflict: Conflict,
    load: impl Fn(Tid) -> Result<Data>,
    on_conflict: OnConflict<'_>,
) -> Result<(Vec<u8>, DecidedBy)> {
    let load = |serial| match load(serial) {
        Err(Error::NoObject(_)) => Ok(None),
        found => found.map(Some),
    };
    let revisions = (load(conflict.read)?, load(conflict.committed)?);
    let reason = match revisions {
        (Some(old), Some(committed)) => {
            let (by, resolved) = conflict.resolve((&old, &committed), on_conflict);
            conflict.decided_by = by;
            match resolved {
                Ok(record) => return Ok((record, by)),
                Err(reason) => reason,
            }
        }
        (None, _) => "the revision that was read no longer exists".to_owned(),
        (_, None) => "the object no longer exists".to_owned(),
    };
    conflict.reason = Some(reason);
    Err(Error::Conflict(Box::new(conflict)))
}

impl Conflict {
    /// The dotted name of the class of the record that could not be stored,
    /// where that can be told.
    pub fn class_name(&self) -> Option<String> {
        self.class.clone().or_else(|| class_name(&self.data))
    }

    /// The merged record and who merged it, from the records that were read and committed; or the
    /// reason why there is none.
    ///
    /// # Errors
    ///
    /// That reason, for people.
    pub fn resolve(
        &self,
        (old, committed): (&[u8], &[u8]),
        on_conflict: OnConflict<'_>,
    ) -> (DecidedBy, std::result::Result<Vec<u8>, String>) {
        let class = on_conflict.resolver().and_then(|_| self.class_name());
        let conflicting = Conflicting {
            oid: self.oid,
            class: class.as_deref(),
            serials: (self.read, self.committed),
            old,
            committed,
            new: &self.data,
        };
        conflict::resolve_with(
            &conflicting,
            on_conflict.compressed(),
            on_conflict.resolver(),
        )
    }
}

/// What has become of the conflicts of a transaction so far.
pub(crate) struct Conflicts<'a> {
    on_conflict: OnConflict<'a>,
    /// The objects whose conflicts were resolved.
    pub resolved: Vec<Oid>,
    /// The same conflicts.
    pub merged: Vec<Merged>,
    /// Those to be reported, with the number of reports before.
    reported: HashMap<Oid, (usize, Conflict)>,
    reports: usize,
}

impl<'a> Conflicts<'a> {
    /// Nothing has happened yet.
    pub fn new(on_conflict: OnConflict<'a>) -> Self {
        Self {
            on_conflict,
            resolved: Vec::new(),
            merged: Vec::new(),
            reported: HashMap::new(),
            reports: 0,
        }
    }

    /// The record to be stored, if there is a conflict with what is
    /// `committed`; `None` when the store is to be left out, since its
    /// conflict will be reported.
    ///
    /// # Errors
    ///
    /// The conflict, when it can't be resolved.
    pub fn settle(
        &mut self,
        (oid, read, data): (Oid, Tid, Vec<u8>),
        committed: Option<Tid>,
        load: impl Fn(Tid) -> Result<Data>,
    ) -> Result<Option<Vec<u8>>> {
        let Some(committed) = committed.filter(|&committed| committed != read) else {
            self.reported.remove(&oid);
            return Ok(Some(data));
        };
        let conflict = Conflict::untried(oid, (committed, read), data);
        if self.on_conflict.is_report() {
            self.report(conflict);
            return Ok(None);
        }
        let class = conflict.class_name();
        let (data, by) = resolve(conflict, load, self.on_conflict)?;
        self.merged.push(Merged { class, by });
        self.resolved.push(oid);
        Ok(Some(data))
    }

    /// One conflict an object, the last one, in the place of the first.
    fn report(&mut self, conflict: Conflict) {
        self.reports += 1;
        let order = match self.reported.get(&conflict.oid) {
            Some((order, _)) => *order,
            None => self.reports,
        };
        self.reported.insert(conflict.oid, (order, conflict));
    }

    /// True when the object is in conflict.
    pub fn has(&self, oid: Oid) -> bool {
        self.reported.contains_key(&oid)
    }

    /// All that are to be reported, in order; `None` when there are none.
    pub fn take_reported(&mut self) -> Option<Vec<Conflict>> {
        let mut conflicts: Vec<_> = std::mem::take(&mut self.reported).into_values().collect();
        conflicts.sort_by_key(|&(order, _)| order);
        let conflicts = conflicts.into_iter().map(|(_, conflict)| conflict);
        Some(conflicts.collect()).filter(|all: &Vec<_>| !all.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict(oid: u64, data: &[u8]) -> Conflict {
        Conflict::untried(Oid::new(oid), (Tid::new(2), Tid::new(1)), data.to_vec())
    }

    #[test]
    fn lengths_add_up_and_others_stay_in_conflict() {
        let length = |n: u8| [b"cBTrees.Length\nLength\n.K", &[n, b'.'][..]].concat();
        let load = |serial: Tid| Ok(length(serial.as_u64() as u8).into());
        let (merged, by) = resolve(conflict(1, &length(5)), load, OnConflict::Resolve).unwrap();
        assert_eq!(by, DecidedBy::Storage);
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
        let mut conflicts = Conflicts::new(OnConflict::Report);
        let committed = |oid| [None, Some(Tid::new(2))][usize::from(oid < 4)];
        for (oid, data) in [(1, "a"), (2, "b"), (3, "c"), (1, "d"), (4, "e")] {
            let stored = (Oid::new(oid), Tid::new(1), data.into());
            let settled = conflicts.settle(stored, committed(oid), |_| Ok(Data::default()));
            assert_eq!(settled.unwrap().is_some(), oid == 4);
        }
        // A later store of the same object without a conflict.
        let fine = (Oid::new(2), Tid::new(2), b"f".to_vec());
        let settled = conflicts.settle(fine, committed(2), |_| Ok(Data::default()));
        assert_eq!(settled.unwrap().unwrap(), b"f");
        let all = conflicts.take_reported().unwrap();
        let shown: Vec<_> = all.iter().map(|c| (c.oid.as_u64(), &c.data[..])).collect();
        assert_eq!(shown, [(1, &b"d"[..]), (3, b"c")]);
        assert!(conflicts.take_reported().is_none());
    }
}
