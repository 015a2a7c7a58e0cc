//! What others have changed, in groups of transactions: clients are told of one group after the other.
//!
//! With history, each transaction is a group. Without, an object has one row: what two transactions have
//! changed stands with the second one only, and who were told of the first one alone would see a part
//! of it. So all that is found at once is one group, with the tid of the last transaction; also with history, if
//! a pack has come already. Only a commit of ours may stand in the middle of it, if its connection was lost: then
//! the first part names the objects of what is behind it, too, so that nobody takes what he has of them for
//! current in between.

use zeo_proto::{Oid, Tid};

use super::ids::oid_of;

/// A row of a change by others: tid, oid, the state if it is to be kept, and whether the transaction is packed; no
/// oid if it changes nothing.
pub(super) type Changed = (i64, Option<i64>, Option<Vec<u8>>, bool);

/// What clients are told of at once.
#[derive(Debug)]
pub(super) struct Group {
    /// The first of its transactions that is known: nothing of it was changed before.
    pub first: Tid,
    /// The last one, whose tid it has.
    pub last: Tid,
    /// Objects with their serials, and some of their states.
    changes: Vec<(Oid, Tid, Option<Vec<u8>>)>,
    /// Objects of the groups behind it, which it may have changed as well.
    later: Vec<Oid>,
}

impl Group {
    /// All objects that it may have changed.
    pub fn oids(&self) -> Vec<Oid> {
        let own = self.changes.iter().map(|&(oid, ..)| oid);
        own.chain(self.later.iter().copied()).collect()
    }

    /// These objects, each with the serial that it has now, as far as that is known, and perhaps its state.
    pub fn objects(&self) -> impl Iterator<Item = (Oid, Tid, Option<&[u8]>)> {
        let changes = self.changes.iter();
        let changes = changes.map(|(oid, serial, state)| (*oid, *serial, state.as_deref()));
        let later = self.later.iter();
        later.map(|&oid| (oid, self.first, None)).chain(changes)
    }
}

/// The groups that rows in the order of tids stand for, without transactions of our `own`.
pub(super) fn groups(rows: Vec<Changed>, own: &[Tid], keep_history: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let each = keep_history && !rows.iter().any(|&(.., is_packed)| is_packed);
    for (tid, oid, state, _) in rows {
        let tid = Tid::new(tid.cast_unsigned());
        let goes_on = |group: &&mut Group| {
            own.contains(&group.last) == own.contains(&tid) && (!each || group.last == tid)
        };
        let change = oid.map(|oid| (oid_of(oid), tid, state));
        match groups.last_mut().filter(goes_on) {
            Some(group) => {
                group.last = tid;
                group.changes.extend(change);
            }
            None => groups.push(Group {
                first: tid,
                last: tid,
                changes: change.into_iter().collect(),
                later: Vec::new(),
            }),
        }
    }
    if !each {
        let mut later = Vec::new();
        for group in groups.iter_mut().rev() {
            group.later.clone_from(&later);
            later = group.oids();
        }
    }
    groups.retain(|group| !own.contains(&group.last));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each group its first and last transaction, and its objects.
    fn told(rows: &[(i64, i64)], own: &[u64], keep_history: bool) -> Vec<(u64, u64, Vec<u64>)> {
        let rows = rows.iter().map(|&(tid, oid)| (tid, Some(oid), None, false));
        let own: Vec<Tid> = own.iter().copied().map(Tid::new).collect();
        let groups = groups(rows.collect(), &own, keep_history);
        let oids = |group: &Group| group.oids().into_iter().map(Oid::as_u64).collect();
        let groups = groups.iter();
        let groups = groups.map(|group| (group.first.as_u64(), group.last.as_u64(), oids(group)));
        groups.collect()
    }

    const ROWS: [(i64, i64); 4] = [(5, 1), (5, 2), (6, 3), (8, 4)];

    #[test]
    fn with_history_each_transaction_is_a_step() {
        let groups = told(&ROWS, &[6], true);
        assert_eq!(groups, [(5, 5, vec![1, 2]), (8, 8, vec![4])]);
        let rows = vec![(5, None, None, false), (6, Some(1), None, false)];
        let empty = super::groups(rows, &[], true);
        assert_eq!([empty[0].oids().len(), empty[1].oids().len()], [0, 1]);
    }

    #[test]
    fn without_history_all_is_one_step_but_for_our_own() {
        assert_eq!(told(&ROWS, &[], false), [(5, 8, vec![1, 2, 3, 4])]);
        let groups = told(&ROWS, &[6], false);
        assert_eq!(groups, [(5, 5, vec![1, 2, 3, 4]), (8, 8, vec![4])]);
        assert!(told(&[(6, 3)], &[6], false).is_empty());
    }

    #[test]
    fn what_is_packed_already_is_one_step() {
        let packed = |is_packed| {
            let rows = vec![(5, Some(1), None, is_packed), (6, Some(2), None, false)];
            groups(rows, &[], true).len()
        };
        assert_eq!([true, false].map(packed), [1, 2]);
    }

    #[test]
    fn objects_have_the_serials_of_their_rows() {
        let rows = vec![
            (5, Some(1), Some(b"one".to_vec()), false),
            (6, Some(9), None, false),
            (7, Some(2), None, false),
        ];
        let own = [Tid::new(6)];
        let groups = groups(rows, &own, false);
        let first: Vec<_> = groups[0].objects().collect();
        let (one, two) = (Oid::new(1), Oid::new(2));
        assert_eq!(
            first,
            [
                (Oid::new(9), Tid::new(5), None),
                (two, Tid::new(5), None),
                (one, Tid::new(5), Some(&b"one"[..]))
            ]
        );
        let second: Vec<_> = groups[1].objects().collect();
        assert_eq!(second, [(two, Tid::new(7), None)]);
    }
}
