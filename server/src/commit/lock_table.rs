//! Object locks for transactions between vote and finish.
//!
//! A transaction claims all it needs at once, and is granted all at once.
//! Every resource has a queue in the order of arrival; a claim is granted
//! when it stands in front (or behind sharers only, if it shares) in all of
//! its queues. Claims enter all their queues in one step, so the queues
//! agree on who came first: no deadlock and no starvation.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use zeo_proto::Oid;

use crate::messages::report::Wait;
use crate::messages::request::{Claim, ClientId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Resource {
    Storage,
    Object(Oid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Shared,
    Exclusive,
}

#[derive(Debug)]
struct Held {
    resources: Vec<Resource>,
    /// In how many of its queues the claim still waits.
    missing: usize,
    /// Order of arrival.
    number: u64,
}

/// The claims of all clients, granted and waiting.
#[derive(Debug, Default)]
pub struct LockTable {
    queues: HashMap<Resource, VecDeque<(ClientId, Mode)>>,
    claims: HashMap<ClientId, Held>,
    /// How many claims wait.
    waiting: usize,
    next_number: u64,
}

impl LockTable {
    /// Enters a claim; true when it is granted at once. The client must not
    /// have another one.
    pub fn claim(&mut self, client: ClientId, claim: &Claim) -> bool {
        let wanted = resources(claim);
        let mut missing = 0;
        for &(resource, mode) in &wanted {
            let queue = self.queues.entry(resource).or_default();
            queue.push_back((client, mode));
            missing += usize::from(granted(queue) < queue.len());
        }
        let resources = wanted.into_iter().map(|(resource, _)| resource).collect();
        self.claims.insert(
            client,
            Held {
                resources,
                missing,
                number: self.next_number,
            },
        );
        self.next_number += 1;
        self.waiting += usize::from(missing > 0);
        missing == 0
    }

    /// Takes a claim back, granted or not; returns the clients whose claims
    /// are granted by that, in the order in which they came.
    pub fn release(&mut self, client: ClientId) -> Vec<ClientId> {
        let Some(held) = self.claims.remove(&client) else {
            return Vec::new();
        };
        self.waiting -= usize::from(held.missing > 0);
        let mut now_granted = Vec::new();
        for resource in held.resources {
            for next in self.leave(resource, client) {
                let Some(waiting) = self.claims.get_mut(&next) else {
                    continue;
                };
                waiting.missing -= 1;
                if waiting.missing == 0 {
                    now_granted.push((waiting.number, next));
                }
            }
        }
        self.waiting -= now_granted.len();
        now_granted.sort_unstable();
        now_granted.into_iter().map(|(_, client)| client).collect()
    }

    /// Takes a client out of one queue; returns those who need not wait in
    /// it any longer.
    fn leave(&mut self, resource: Resource, client: ClientId) -> Vec<ClientId> {
        let Entry::Occupied(mut entry) = self.queues.entry(resource) else {
            return Vec::new();
        };
        let queue = entry.get_mut();
        let Some(place) = queue.iter().position(|&(other, _)| other == client) else {
            return Vec::new();
        };
        let before = granted(queue);
        queue.remove(place);
        let still = before - usize::from(place < before);
        let after = granted(queue);
        let next = queue
            .range(still..after.max(still))
            .map(|&(other, _)| other)
            .collect();
        if queue.is_empty() {
            entry.remove();
        }
        next
    }

    /// Who waits, in the order of arrival, each with the first resource that it can't have yet and
    /// up to `most` of those before it there. Takes no more than `steps` through queues; whose turn
    /// comes behind those is left out.
    pub fn waits(&self, most: usize, mut steps: usize) -> Vec<Wait> {
        let waiting = self.claims.iter().filter(|(_, held)| held.missing > 0);
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable_by_key(|(_, held)| held.number);
        let mut waits = Vec::new();
        for (&client, held) in waiting {
            let missing = held.resources.iter().find_map(|resource| {
                let queue = self.queues.get(resource)?;
                steps = steps.checked_sub(queue.len())?;
                let place = queue.iter().position(|&(other, _)| other == client)?;
                (place >= granted(queue)).then_some((*resource, queue, place))
            });
            let Some((resource, queue, place)) = missing else {
                continue;
            };
            let before = queue.range(..place).take(most);
            waits.push(Wait {
                client,
                oid: match resource {
                    Resource::Storage => None,
                    Resource::Object(oid) => Some(oid),
                },
                behind: before.map(|&(other, _)| other).collect(),
            });
        }
        waits
    }

    /// True when the client's claim is granted.
    #[cfg(test)]
    pub fn holds(&self, client: ClientId) -> bool {
        self.claims
            .get(&client)
            .is_some_and(|held| held.missing == 0)
    }

    /// How many claims wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many claims are granted.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.claims.len() - self.waiting()
    }
}

/// How many at the front of a queue are granted: one exclusive claim, or all
/// shared ones before the first that is exclusive.
fn granted(queue: &VecDeque<(ClientId, Mode)>) -> usize {
    let sharers = queue
        .iter()
        .take_while(|(_, mode)| *mode == Mode::Shared)
        .count();
    sharers.max(usize::from(!queue.is_empty()))
}

/// Every resource of a claim once, in the stronger mode. All claims share
/// the storage itself but those that need the whole of it.
fn resources(claim: &Claim) -> Vec<(Resource, Mode)> {
    if claim.whole {
        return vec![(Resource::Storage, Mode::Exclusive)];
    }
    let object = |mode| move |&oid: &Oid| (Resource::Object(oid), mode);
    let mut wanted = vec![(Resource::Storage, Mode::Shared)];
    wanted.extend(claim.stored.iter().map(object(Mode::Exclusive)));
    wanted.extend(claim.checked.iter().map(object(Mode::Shared)));
    wanted.sort_by_key(|&(resource, mode)| (resource, mode == Mode::Shared));
    wanted.dedup_by_key(|&mut (resource, _)| resource);
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(stored: &[u64], checked: &[u64]) -> Claim {
        let oids = |numbers: &[u64]| numbers.iter().map(|&n| Oid::new(n)).collect();
        Claim {
            stored: oids(stored),
            checked: oids(checked),
            whole: false,
        }
    }

    const WHOLE: Claim = Claim {
        stored: Vec::new(),
        checked: Vec::new(),
        whole: true,
    };

    #[test]
    fn disjoint_claims_are_granted_side_by_side() {
        let mut table = LockTable::default();
        assert!(table.claim(1, &claim(&[1, 2], &[9])));
        assert!(table.claim(2, &claim(&[3, 3], &[9])));
        assert_eq!((table.held(), table.waiting()), (2, 0));
        assert!(table.release(1).is_empty());
        assert!(table.release(2).is_empty());
        assert!(table.queues.is_empty(), "nothing is left behind");
    }

    #[test]
    fn conflicting_claims_wait_in_order() {
        let mut table = LockTable::default();
        assert!(table.claim(1, &claim(&[1], &[])));
        assert!(!table.claim(2, &claim(&[1, 2], &[])));
        assert!(
            !table.claim(3, &claim(&[2], &[])),
            "behind 2, which came first"
        );
        assert!(!table.claim(4, &claim(&[1], &[])));
        assert_eq!(table.release(1), [2]);
        assert_eq!(table.release(2), [3, 4]);
    }

    #[test]
    fn who_leaves_the_queue_holds_up_nobody() {
        let mut table = LockTable::default();
        assert!(table.claim(1, &claim(&[1], &[])));
        assert!(!table.claim(2, &claim(&[1, 2], &[])));
        assert!(!table.claim(3, &claim(&[2], &[])));
        assert_eq!(table.release(2), [3]);
        assert!(table.holds(3) && table.holds(1) && !table.holds(2));
    }

    #[test]
    fn checks_share_and_stores_exclude() {
        let mut table = LockTable::default();
        assert!(table.claim(1, &claim(&[], &[5])));
        assert!(table.claim(2, &claim(&[], &[5])));
        assert!(
            !table.claim(3, &claim(&[5], &[5])),
            "storing outweighs checking"
        );
        assert!(
            !table.claim(4, &claim(&[], &[5])),
            "not past the writer that came first"
        );
        assert!(table.release(1).is_empty());
        assert_eq!(table.release(2), [3]);
        assert_eq!(table.release(3), [4]);
    }

    #[test]
    fn who_waits_is_told_with_whom_it_waits_for() {
        let mut table = LockTable::default();
        table.claim(1, &claim(&[1], &[9]));
        table.claim(2, &claim(&[2], &[9]));
        table.claim(3, &claim(&[1, 9], &[]));
        table.claim(4, &WHOLE);
        table.claim(5, &claim(&[5], &[]));
        let wait = |client, oid: Option<u64>, behind: &[ClientId]| Wait {
            client,
            oid: oid.map(Oid::new),
            behind: behind.to_vec(),
        };
        let all = [
            wait(3, Some(1), &[1]),
            wait(4, None, &[1, 2]),
            wait(5, None, &[1, 2]),
        ];
        assert_eq!(table.waits(2, 1000), all);
        assert_eq!(table.waits(2, 12), all[..2], "it has taken all its steps");
        table.release(1);
        assert_eq!(table.waits(9, 1000)[0], wait(3, Some(9), &[2]));
        assert_eq!(table.waits(9, 1000)[2], wait(5, None, &[2, 3, 4]));
    }

    #[test]
    fn the_whole_storage_waits_for_all_and_all_wait_for_it() {
        let mut table = LockTable::default();
        assert!(table.claim(1, &claim(&[1], &[])));
        assert!(table.claim(2, &claim(&[2], &[])));
        assert!(!table.claim(3, &WHOLE));
        assert!(!table.claim(4, &claim(&[4], &[])));
        assert!(table.release(1).is_empty());
        assert_eq!(table.release(2), [3]);
        assert_eq!(table.release(3), [4]);
    }

    /// Random claims and releases against the definition: a claim is granted
    /// when nothing that conflicts came before it and is still there.
    #[test]
    fn agrees_with_the_definition() {
        let mut state = 7_u64;
        let mut random = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..300 {
            let mut table = LockTable::default();
            let mut model: Vec<(ClientId, Claim, bool)> = Vec::new();
            for client in 0..40 {
                let mut new = claim(&[random(6), random(6)], &[random(6)]);
                new.whole = random(12) == 0;
                let free = !model.iter().any(|(_, other, _)| conflict(other, &new));
                assert_eq!(table.claim(client, &new), free);
                model.push((client, new, free));
                if random(3) == 0 && !model.is_empty() {
                    let index = random(model.len() as u64) as usize;
                    let (gone, ..) = model.remove(index);
                    assert_eq!(table.release(gone), newly_granted(&mut model));
                }
            }
        }
    }

    fn newly_granted(model: &mut [(ClientId, Claim, bool)]) -> Vec<ClientId> {
        let mut granted = Vec::new();
        for i in 0..model.len() {
            let (before, from) = model.split_at_mut(i);
            let (client, claim, held) = &mut from[0];
            if !*held && !before.iter().any(|(_, other, _)| conflict(other, claim)) {
                *held = true;
                granted.push(*client);
            }
        }
        granted
    }

    fn conflict(a: &Claim, b: &Claim) -> bool {
        let meets = |x: &[Oid], y: &[Oid]| x.iter().any(|oid| y.contains(oid));
        a.whole
            || b.whole
            || meets(&a.stored, &b.stored)
            || meets(&a.stored, &b.checked)
            || meets(&a.checked, &b.stored)
    }
}
