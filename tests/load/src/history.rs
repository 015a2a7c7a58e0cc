//! What was committed by all clients of a check, to which each connection's
//! memory is held at the end.

use std::collections::{BTreeMap, HashMap};

use zeo_proto::{Oid, Tid};

use crate::witness::{Revision, Violation, Witness};

/// Every transaction that was acknowledged, with the objects it wrote and
/// their stamps.
#[derive(Debug, Default)]
pub struct History {
    transactions: BTreeMap<Tid, Vec<(Oid, u64)>>,
}

impl History {
    /// Enters a transaction, as its committer has been told.
    pub fn publish(&mut self, tid: Tid, written: Vec<(Oid, u64)>) -> Result<(), Violation> {
        match self.transactions.insert(tid, written) {
            None => Ok(()),
            Some(_) => Err(Violation::Twice { tid }),
        }
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// The last tid.
    pub fn last(&self) -> Tid {
        self.transactions
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default()
    }

    /// Every revision of every object, each with the next one.
    pub fn revisions(&self) -> HashMap<(Oid, Tid), Revision> {
        let (mut all, mut current) = (HashMap::new(), HashMap::new());
        for (&tid, written) in &self.transactions {
            for &(oid, stamp) in written {
                all.insert((oid, tid), Revision { stamp, next: None });
                let previous: Option<Tid> = current.insert(oid, tid);
                let previous = previous.and_then(|serial| all.get_mut(&(oid, serial)));
                if let Some(previous) = previous {
                    previous.next = Some(tid);
                }
            }
        }
        all
    }

    /// Checks what a connection has seen, once no commit is under way: each
    /// transaction from its registration to the last it knows was told, with
    /// its objects, and no other; and each revision is what was written.
    pub fn check(
        &self,
        all: &HashMap<(Oid, Tid), Revision>,
        seen: &Witness,
    ) -> Result<(), Violation> {
        let last = seen.last();
        let after = (
            std::ops::Bound::Excluded(seen.registered),
            std::ops::Bound::Included(last),
        );
        for (&tid, written) in self.transactions.range(after) {
            let Some(told) = seen.told.get(&tid) else {
                return Err(Violation::Unseen { tid, last });
            };
            let written = written.iter().map(|(oid, _)| *oid);
            same_objects(tid, told, written.collect())?;
        }
        for (&tid, told) in &seen.told {
            if !self.transactions.contains_key(&tid) {
                same_objects(tid, told, Vec::new())?;
            }
        }
        for (&(oid, serial), seen) in &seen.revisions {
            let written = all.get(&(oid, serial)).copied();
            let agree = |it: Revision| {
                it.stamp == seen.stamp && (seen.next.is_none() || it.next == seen.next)
            };
            if !written.is_some_and(agree) {
                return Err(Violation::OtherData {
                    oid,
                    serial,
                    seen: *seen,
                    written,
                });
            }
        }
        Ok(())
    }
}

/// A transaction nobody has committed is one with no objects written.
fn same_objects(tid: Tid, told: &[Oid], mut written: Vec<Oid>) -> Result<(), Violation> {
    let mut told = told.to_vec();
    told.sort_unstable();
    told.dedup();
    written.sort_unstable();
    if told == written && !written.is_empty() {
        return Ok(());
    }
    Err(Violation::OtherObjects { tid, told, written })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::{Event, Loaded};

    const A: Oid = Oid::new(1);
    const B: Oid = Oid::new(2);

    fn tid(number: u64) -> Tid {
        Tid::new(number)
    }

    fn history() -> History {
        let mut history = History::default();
        let all = [
            (1, vec![(A, 1), (B, 1)]),
            (11, vec![(A, 2)]),
            (12, vec![(A, 3), (B, 3)]),
            (13, vec![(B, 4)]),
        ];
        for (number, written) in all {
            history.publish(tid(number), written).expect("new");
        }
        history
    }

    /// A connection that registered at 10 and was told these.
    fn witness(told: &[(u64, &[Oid])]) -> Witness {
        let mut witness = Witness::new("it".into(), tid(10));
        for (number, oids) in told {
            let event = Event::Invalidated(tid(*number), oids.to_vec());
            witness.observe(event).expect("in order");
        }
        witness
    }

    fn found(witness: &Witness) -> Option<Violation> {
        let history = history();
        history.check(&history.revisions(), witness).err()
    }

    fn load(witness: &mut Witness, oid: Oid, serial: u64, next: Option<u64>, stamp: u64) {
        let (serial, next) = (tid(serial), next.map(tid));
        let before = next.unwrap_or(Tid::MAX);
        let loaded = Loaded {
            oid,
            before,
            serial,
            next,
            stamp: Some(stamp),
        };
        witness.observe(Event::Loaded(loaded)).expect("possible");
    }

    #[test]
    fn whole_histories_pass() {
        assert_eq!(
            found(&witness(&[(11, &[A]), (12, &[B, A, A])])),
            None,
            "up to its last"
        );
        let mut it = witness(&[(11, &[A]), (12, &[A, B]), (13, &[B])]);
        load(&mut it, A, 1, Some(11), 1);
        load(&mut it, A, 12, None, 3);
        load(&mut it, B, 1, Some(12), 1);
        assert_eq!(found(&it), None);
    }

    #[test]
    fn gaps_are_found() {
        let gap = |number, last| {
            Some(Violation::Unseen {
                tid: tid(number),
                last: tid(last),
            })
        };
        assert_eq!(found(&witness(&[(12, &[A, B])])), gap(11, 12));
        assert_eq!(found(&witness(&[(11, &[A]), (13, &[B])])), gap(12, 13));
    }

    #[test]
    fn invented_and_incomplete_invalidations_are_found() {
        let other = |told: &[(u64, &[Oid])]| {
            matches!(found(&witness(told)), Some(Violation::OtherObjects { .. }))
        };
        assert!(other(&[(11, &[A]), (12, &[A])]), "B is missing");
        assert!(other(&[(11, &[A, B])]), "B was not written");
        assert!(
            other(&[(11, &[A]), (12, &[A, B]), (13, &[B]), (14, &[A])]),
            "no such transaction"
        );
    }

    #[test]
    fn other_data_than_written_is_found() {
        let other = |oid, serial, next, stamp| {
            let mut it = witness(&[]);
            load(&mut it, oid, serial, next, stamp);
            matches!(found(&it), Some(Violation::OtherData { .. }))
        };
        assert!(!other(A, 11, Some(12), 2));
        assert!(other(A, 11, Some(12), 3), "another's data");
        assert!(other(A, 1, Some(12), 1), "11 is passed over");
        assert!(other(B, 11, None, 2), "no such revision");
    }

    #[test]
    fn a_tid_is_given_once() {
        let again = history().publish(tid(12), vec![]);
        assert_eq!(again, Err(Violation::Twice { tid: tid(12) }));
    }
}
