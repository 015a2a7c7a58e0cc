//! The last transactions, for clients that come back after a short absence.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use crate::messages::event::Missed;
use crate::messages::report::QueueReport;

/// The last N transactions with the objects that they changed.
#[derive(Debug)]
pub struct Invalidations {
    /// Oldest first. The first entry only says how far back the queue
    /// reaches: its objects are never asked for.
    recent: VecDeque<(Tid, Arc<[Oid]>)>,
    limit: usize,
    /// What was changed before this transaction is not known.
    unknown_before: Tid,
}

impl Invalidations {
    /// A queue of at most `limit` transactions, filled from the end of the
    /// storage where it can tell; else it reaches back to its last tid, so
    /// that clients that are up to date stay so.
    pub fn new(limit: usize, last: Tid, known: Option<Vec<(Tid, Vec<Oid>)>>) -> Self {
        let known = known.filter(|known| !known.is_empty());
        let recent = match known {
            Some(known) => known
                .into_iter()
                .map(|(tid, oids)| (tid, oids.into()))
                .collect(),
            None => VecDeque::from([(last, Arc::from([]))]),
        };
        Self {
            recent,
            limit: limit.max(1),
            unknown_before: Tid::ZERO,
        }
    }

    /// Enters a transaction.
    pub fn push(&mut self, tid: Tid, oids: &[Oid]) {
        while self.recent.len() >= self.limit {
            self.recent.pop_front();
        }
        self.recent.push_back((tid, oids.into()));
    }

    /// Starts again at a transaction: what was changed before it is not known.
    pub fn lose_track(&mut self, at: Tid) {
        self.recent = VecDeque::from([(at, Arc::from([]))]);
        self.unknown_before = at;
    }

    /// How far it reaches.
    pub fn report(&self) -> QueueReport {
        QueueReport {
            transactions: self.recent.len(),
            limit: self.limit,
            oldest: self.recent.front().map(|&(tid, _)| tid),
        }
    }

    /// The last tid and all objects changed after `since`, as far as the
    /// queue reaches back.
    pub fn since(&self, since: Tid) -> Missed {
        if since < self.unknown_before {
            return Missed::Unknown;
        }
        let (Some((oldest, _)), Some((last, _))) = (self.recent.front(), self.recent.back()) else {
            return Missed::TooMuch;
        };
        if *oldest > since {
            return Missed::TooMuch;
        }
        // Who is ahead of the last one refuses the server by itself.
        let mut is_there = since > *last;
        let newer = self.recent.iter().rev().take_while(|(tid, _)| {
            is_there |= *tid == since;
            *tid > since
        });
        let oids: BTreeSet<Oid> = newer.flat_map(|(_, oids)| oids.iter().copied()).collect();
        let oids = oids.into_iter().collect();
        if is_there {
            Missed::Objects(*last, oids)
        } else {
            Missed::Between(*last, oids)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oids(numbers: &[u64]) -> Vec<Oid> {
        numbers.iter().map(|&n| Oid::new(n)).collect()
    }

    #[test]
    fn reaches_back_as_far_as_its_limit() {
        let mut queue = Invalidations::new(3, Tid::new(10), None);
        assert_eq!(
            queue.since(Tid::new(10)),
            Missed::Objects(Tid::new(10), vec![])
        );
        assert_eq!(queue.since(Tid::new(9)), Missed::TooMuch);
        queue.push(Tid::new(11), &oids(&[1, 2]));
        queue.push(Tid::new(12), &oids(&[2, 3]));
        assert_eq!(
            queue.since(Tid::new(10)),
            Missed::Objects(Tid::new(12), oids(&[1, 2, 3]))
        );
        queue.push(Tid::new(13), &oids(&[4]));
        assert_eq!(queue.since(Tid::new(10)), Missed::TooMuch, "the limit is 3");
        assert_eq!(
            queue.since(Tid::new(11)),
            Missed::Objects(Tid::new(13), oids(&[2, 3, 4]))
        );
        assert_eq!(
            queue.since(Tid::new(99)),
            Missed::Objects(Tid::new(13), vec![]),
            "ahead of us"
        );
    }

    #[test]
    fn starts_with_what_the_storage_knows() {
        let known = vec![(Tid::new(5), oids(&[1])), (Tid::new(6), oids(&[2]))];
        let queue = Invalidations::new(100, Tid::new(6), Some(known));
        assert_eq!(
            queue.since(Tid::new(5)),
            Missed::Objects(Tid::new(6), oids(&[2]))
        );
        assert_eq!(queue.since(Tid::new(4)), Missed::TooMuch);
        let gap = vec![(Tid::new(5), oids(&[1])), (Tid::new(7), oids(&[2, 3]))];
        let queue = Invalidations::new(100, Tid::new(7), Some(gap));
        assert_eq!(
            queue.since(Tid::new(6)),
            Missed::Between(Tid::new(7), oids(&[2, 3]))
        );
        let empty = Invalidations::new(100, Tid::ZERO, Some(vec![]));
        assert_eq!(empty.since(Tid::ZERO), Missed::Objects(Tid::ZERO, vec![]));
    }

    #[test]
    fn what_nobody_knows_is_not_asked_from_the_storage() {
        let known = vec![(Tid::new(5), oids(&[1])), (Tid::new(6), oids(&[2]))];
        let mut queue = Invalidations::new(100, Tid::new(6), Some(known));
        assert_eq!(queue.since(Tid::new(4)), Missed::TooMuch);
        queue.lose_track(Tid::new(7));
        queue.push(Tid::new(8), &oids(&[3]));
        for since in [4, 5, 6] {
            assert_eq!(queue.since(Tid::new(since)), Missed::Unknown);
        }
        assert_eq!(
            queue.since(Tid::new(7)),
            Missed::Objects(Tid::new(8), oids(&[3]))
        );
    }
}
