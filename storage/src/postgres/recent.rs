//! Recent revisions of objects, shared by all clients: a database without history has no others, and
//! each spares a question.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeo_proto::{Oid, Tid};

use crate::storage::Revision;

/// What an entry takes beside its state, in bytes.
const ENTRY_SIZE: usize = 100;
/// How many changes are remembered, to know whether what was loaded is still current.
const CHANGES_MAX: usize = 100_000;

/// The revisions, up to a size in bytes.
///
/// They are in two halves: what is used or put goes into the young one; when that is full it becomes
/// the old one, and the old one is forgotten.
pub(super) struct Recent(Mutex<Halves>);

struct Halves {
    young: Half,
    old: Half,
    limit: usize,
    /// When an object was changed last, and in which order.
    changes: HashMap<Oid, Tid>,
    order: VecDeque<(Tid, Oid)>,
    /// Changes up to here may be forgotten.
    forgotten: Tid,
}

#[derive(Default)]
struct Half {
    revisions: HashMap<Oid, Vec<Entry>>,
    size: usize,
}

#[derive(Clone)]
struct Entry {
    serial: Tid,
    next: Option<Tid>,
    state: Arc<[u8]>,
}

impl Recent {
    /// Room for so many bytes.
    pub fn new(limit: usize) -> Self {
        Self(Mutex::new(Halves {
            young: Half::default(),
            old: Half::default(),
            limit: limit / 2,
            changes: HashMap::new(),
            order: VecDeque::new(),
            forgotten: Tid::ZERO,
        }))
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether [`Self::get`] would find a revision.
    pub fn has(&self, oid: Oid, before: Tid) -> bool {
        self.halves().find(oid, before).is_some()
    }

    /// The revision that was current just before `before`, if it is here.
    pub fn get(&self, oid: Oid, before: Tid) -> Option<Revision> {
        let entry = self.halves().find(oid, before)?;
        Some(Revision {
            data: entry.state.to_vec().into(),
            serial: entry.serial,
            next: entry.next,
        })
    }

    /// Puts a revision that was loaded when `published` was the last transaction.
    pub fn put(&self, oid: Oid, revision: &Revision, published: Tid) {
        let mut halves = self.halves();
        let changed = halves
            .changes
            .get(&oid)
            .is_some_and(|&tid| tid > revision.serial);
        // Somebody may have changed it meanwhile.
        if revision.next.is_none() && (changed || published < halves.forgotten) {
            return;
        }
        let entry = Entry {
            serial: revision.serial,
            next: revision.next,
            state: Arc::from(&*revision.data),
        };
        halves.insert(oid, entry);
    }

    /// Objects have changed, not before transaction `first`: each with its new serial, and the state if
    /// that is known.
    pub fn changed<'a>(
        &self,
        first: Tid,
        objects: impl Iterator<Item = (Oid, Tid, Option<&'a [u8]>)>,
    ) {
        let mut halves = self.halves();
        for (oid, serial, state) in objects {
            halves.end_of_current(oid, first);
            halves.note(oid, serial);
            if let Some(state) = state {
                let entry = Entry {
                    serial,
                    next: None,
                    state: Arc::from(state),
                };
                halves.insert(oid, entry);
            }
        }
    }

    /// The revision is in the database no more.
    pub fn forget(&self, oid: Oid, serial: Tid) {
        let halves = &mut *self.halves();
        for half in [&mut halves.young, &mut halves.old] {
            if let Some(revisions) = half.revisions.get_mut(&oid) {
                let gone = drop_where(revisions, |entry| entry.serial == serial);
                half.size = half.size.saturating_sub(gone);
            }
        }
    }

    /// A pack to `stop` keeps no revision that another one had superseded by then. A database without
    /// history has had them nowhere but here.
    pub fn pack(&self, stop: Tid) {
        let halves = &mut *self.halves();
        for half in [&mut halves.young, &mut halves.old] {
            for revisions in half.revisions.values_mut() {
                let is_old = |entry: &Entry| entry.next.is_some_and(|next| next <= stop);
                half.size = half.size.saturating_sub(drop_where(revisions, is_old));
            }
            half.revisions.retain(|_, revisions| !revisions.is_empty());
        }
    }

    /// The last transaction is `tid`: what was changed up to it is not remembered.
    pub fn begin(&self, tid: Tid) {
        self.halves().forgotten = tid;
    }

    /// What was changed after `tid`; `None` if that is not remembered.
    pub fn changed_after(&self, tid: Tid) -> Option<Vec<Oid>> {
        let halves = self.halves();
        let later = halves.order.iter().rev().take_while(|&&(at, _)| at > tid);
        (tid >= halves.forgotten).then(|| later.map(|&(_, oid)| oid).collect())
    }

    /// Anything may have changed.
    pub fn clear(&self, tid: Tid) {
        let mut halves = self.halves();
        halves.young = Half::default();
        halves.old = Half::default();
        halves.changes.clear();
        halves.order.clear();
        halves.forgotten = tid;
    }
}

impl Halves {
    fn find(&mut self, oid: Oid, before: Tid) -> Option<Entry> {
        let fits =
            |entry: &&Entry| entry.serial < before && entry.next.is_none_or(|next| next >= before);
        let found = |half: &Half| half.revisions.get(&oid)?.iter().find(fits).cloned();
        if let Some(entry) = found(&self.young) {
            return Some(entry);
        }
        let entry = found(&self.old)?;
        self.insert(oid, entry.clone());
        Some(entry)
    }

    fn insert(&mut self, oid: Oid, entry: Entry) {
        let size = ENTRY_SIZE + entry.state.len();
        if size > self.limit {
            return;
        }
        if self.young.size + size > self.limit {
            self.old = std::mem::take(&mut self.young);
        }
        let revisions = self.young.revisions.entry(oid).or_default();
        if revisions.iter().all(|known| known.serial != entry.serial) {
            self.young.size += size;
            revisions.push(entry);
        }
    }

    fn end_of_current(&mut self, oid: Oid, tid: Tid) {
        for half in [&mut self.young, &mut self.old] {
            let revisions = half.revisions.get_mut(&oid).into_iter().flatten();
            for entry in revisions.filter(|entry| entry.next.is_none() && entry.serial < tid) {
                entry.next = Some(tid);
            }
        }
    }

    fn note(&mut self, oid: Oid, tid: Tid) {
        self.changes.insert(oid, tid);
        self.order.push_back((tid, oid));
        while self.order.len() > CHANGES_MAX
            && let Some((tid, oid)) = self.order.pop_front()
        {
            self.forgotten = self.forgotten.max(tid);
            if self.changes.get(&oid) == Some(&tid) {
                self.changes.remove(&oid);
            }
        }
    }
}

/// Drops some revisions of an object; how much room they took, in bytes.
fn drop_where(revisions: &mut Vec<Entry>, is_gone: impl Fn(&Entry) -> bool) -> usize {
    let gone = revisions.extract_if(.., |entry| is_gone(entry));
    gone.map(|entry| ENTRY_SIZE + entry.state.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(serial: u64, next: Option<u64>, state: &str) -> Revision {
        Revision {
            data: state.as_bytes().to_vec().into(),
            serial: Tid::new(serial),
            next: next.map(Tid::new),
        }
    }

    fn found(recent: &Recent, oid: u64, before: u64) -> Option<(u64, Option<u64>, Vec<u8>)> {
        let found = recent.get(Oid::new(oid), Tid::new(before))?;
        Some((
            found.serial.as_u64(),
            found.next.map(Tid::as_u64),
            found.data.to_vec(),
        ))
    }

    #[test]
    fn a_change_ends_what_was_current() {
        let (recent, one) = (Recent::new(10_000), Oid::new(1));
        recent.put(one, &revision(5, None, "five"), Tid::new(8));
        assert_eq!(found(&recent, 1, 100), Some((5, None, b"five".to_vec())));
        recent.changed(Tid::new(9), [(one, Tid::new(9), None)].into_iter());
        assert_eq!(found(&recent, 1, 9), Some((5, Some(9), b"five".to_vec())));
        assert_eq!(found(&recent, 1, 10), None);
        // Loaded before, put afterwards.
        recent.put(one, &revision(5, None, "five"), Tid::new(8));
        assert_eq!(found(&recent, 1, 10), None);
        let change = (one, Tid::new(12), Some(&b"twelve"[..]));
        recent.changed(Tid::new(12), [change].into_iter());
        assert_eq!(found(&recent, 1, 13), Some((12, None, b"twelve".to_vec())));
        assert_eq!(found(&recent, 1, 12), None);
    }

    #[test]
    fn what_several_transactions_have_changed_ends_with_the_first() {
        let (recent, one) = (Recent::new(10_000), Oid::new(1));
        recent.put(one, &revision(5, None, "five"), Tid::new(8));
        // It may have been changed by the first one, too.
        let change = (one, Tid::new(12), Some(&b"twelve"[..]));
        recent.changed(Tid::new(9), [change].into_iter());
        assert_eq!(found(&recent, 1, 9), Some((5, Some(9), b"five".to_vec())));
        assert_eq!(
            [10, 12].map(|before| found(&recent, 1, before)),
            [None, None]
        );
        assert_eq!(found(&recent, 1, 13), Some((12, None, b"twelve".to_vec())));
    }

    #[test]
    fn what_a_pack_removes_is_forgotten() {
        let (recent, one) = (Recent::new(10_000), Oid::new(1));
        recent.put(one, &revision(5, Some(9), "five"), Tid::new(9));
        recent.put(one, &revision(9, None, "nine"), Tid::new(9));
        recent.forget(one, Tid::new(5));
        recent.forget(one, Tid::new(7));
        assert_eq!(found(&recent, 1, 9), None);
        assert_eq!(found(&recent, 1, 10), Some((9, None, b"nine".to_vec())));
    }

    #[test]
    fn a_pack_keeps_what_was_current_at_its_time() {
        let (recent, one) = (Recent::new(10_000), Oid::new(1));
        for (serial, next) in [(5, Some(7)), (7, Some(9)), (9, None)] {
            recent.put(one, &revision(serial, next, "state"), Tid::new(9));
        }
        recent.put(Oid::new(2), &revision(4, Some(6), "state"), Tid::new(9));
        recent.pack(Tid::new(7));
        assert_eq!(found(&recent, 1, 7), None);
        assert_eq!(found(&recent, 2, 6), None);
        assert_eq!(found(&recent, 1, 9), Some((7, Some(9), b"state".to_vec())));
        assert_eq!(found(&recent, 1, 10), Some((9, None, b"state".to_vec())));
        assert_eq!(recent.halves().young.size, 2 * (ENTRY_SIZE + 5));
    }

    #[test]
    fn what_is_used_stays_longest() {
        let recent = Recent::new(2 * (3 * ENTRY_SIZE + 3));
        for oid in 1..=3 {
            recent.put(Oid::new(oid), &revision(5, None, "x"), Tid::new(5));
        }
        recent.put(Oid::new(4), &revision(5, None, "x"), Tid::new(5));
        assert!(found(&recent, 1, 9).is_some(), "it is young again");
        for oid in 5..=6 {
            recent.put(Oid::new(oid), &revision(5, None, "x"), Tid::new(5));
        }
        let there = |oid| found(&recent, oid, 9).is_some();
        assert_eq!([1, 2, 3].map(there), [true, false, false]);
    }

    #[test]
    fn changes_that_are_forgotten_count_as_made() {
        let (recent, one) = (Recent::new(10_000), Oid::new(1));
        recent.changed(Tid::new(1), [(one, Tid::new(1), None)].into_iter());
        let others = (0..CHANGES_MAX as u64).map(|oid| (Oid::new(oid + 2), Tid::new(2), None));
        recent.changed(Tid::new(2), others);
        recent.put(one, &revision(0, None, "old"), Tid::ZERO);
        assert_eq!(found(&recent, 1, 9), None);
        recent.put(one, &revision(1, None, "new"), Tid::new(2));
        assert!(found(&recent, 1, 9).is_some());
    }

    #[test]
    fn what_was_changed_is_remembered_from_the_beginning_on() {
        let recent = Recent::new(10_000);
        recent.begin(Tid::new(5));
        for tid in 6..9 {
            let change = (Oid::new(tid * 10), Tid::new(tid), None);
            recent.changed(Tid::new(tid), [change].into_iter());
        }
        assert_eq!(recent.changed_after(Tid::new(4)), None);
        let after = |tid| recent.changed_after(Tid::new(tid)).map(|oids| oids.len());
        assert_eq!([5, 6, 8].map(after), [Some(3), Some(2), Some(0)]);
        recent.clear(Tid::new(20));
        assert_eq!([8, 20].map(after), [None, Some(0)]);
    }
}
