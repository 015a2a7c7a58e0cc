//! What the server knows.

use std::collections::BTreeMap;

use fastrand::Rng;
use zeo_proto::{Oid, Tid};

/// All revisions of all objects, and the last transaction.
#[derive(Default)]
pub struct Truth {
    objects: BTreeMap<Oid, BTreeMap<Tid, Vec<u8>>>,
    last: u64,
}

impl Truth {
    pub fn last(&self) -> Tid {
        Tid::new(self.last)
    }

    /// Makes a transaction visible.
    pub fn commit(&mut self, random: &mut Rng, records: BTreeMap<Oid, Vec<u8>>) -> Tid {
        self.last += random.u64(1..3);
        let tid = self.last();
        for (oid, data) in records {
            self.objects.entry(oid).or_default().insert(tid, data);
        }
        tid
    }

    /// The revision before a transaction: start, end, data.
    pub fn before(&self, oid: Oid, before: Tid) -> Option<(Tid, Option<Tid>, &[u8])> {
        let revisions = self.objects.get(&oid)?;
        let (&start, data) = revisions.range(..before).next_back()?;
        let end = revisions.range(before..).next().map(|(&tid, _)| tid);
        Some((start, end, data))
    }

    /// The objects that have changed behind a transaction.
    pub fn changed_since(&self, since: Tid) -> Vec<Oid> {
        let changed = self.objects.iter().filter(|(_, revisions)| {
            revisions
                .keys()
                .next_back()
                .is_some_and(|&last| last > since)
        });
        changed.map(|(&oid, _)| oid).collect()
    }
}
