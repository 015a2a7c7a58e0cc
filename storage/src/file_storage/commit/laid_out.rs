//! A transaction whose vote has succeeded, laid out for the file.

use std::collections::HashSet;

use zeo_proto::Tid;

use super::body::Body;
use super::space::Reservation;
use crate::blob::Staged;
use crate::file_storage::read::generation::Generation;
use crate::packing::state::BackPointers;
#[cfg(doc)]
use crate::storage::Prepared;
use crate::storage::{Commit, TransactionMeta};

/// What a FileStorage has made of a transaction that is ready to be appended:
/// its own part of a [`Prepared`]. Dropping it gives its reserved space back.
#[derive(Debug)]
pub(crate) struct LaidOut {
    pub(crate) meta: TransactionMeta,
    pub(crate) body: Body,
    pub(crate) reservation: Reservation,
    /// The files of blobs, to be given their names.
    pub(crate) blobs: Vec<Staged>,
    /// Where the transaction stands in the file, once it is there.
    pub(crate) written: Option<Span>,
    /// The generation whose positions it has.
    pub(crate) generation: usize,
    /// That is not the one of its vote: a pack may have taken the revisions
    /// behind which blobs were staged.
    pub(crate) is_moved: bool,
    /// Held if there are back-pointers.
    #[expect(dead_code, reason = "what counts is how long it lives")]
    pub(crate) back_pointers: Option<BackPointers>,
}

/// A transaction's place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Where its first record begins.
    pub records: u64,
    /// Where the transaction ends.
    pub end: u64,
}

impl LaidOut {
    /// Takes the positions of previous records from this generation, if a
    /// pack came between. The objects are locked: their current records are
    /// those that were current at the vote. (What the pack found unreachable
    /// has none any more.) Back-pointers need nothing: no pack reads the file
    /// while [`BackPointers`] are held, and none are made meanwhile.
    pub(crate) fn move_to(&mut self, generation: &Generation) {
        if self.generation != generation.number {
            self.generation = generation.number;
            self.is_moved = true;
            self.body
                .set_previous(|oid| generation.index.get(oid).unwrap_or(0));
        }
    }

    /// For each changed object, as its last record has it: whether it is a
    /// new one, and the length of the data.
    pub(crate) fn records(&self) -> impl Iterator<Item = (bool, u64)> {
        let mut seen = HashSet::new();
        let latest_first = self.body.records().iter().rev();
        latest_first
            .filter(move |record| seen.insert(record.oid))
            .map(|record| (record.prev == 0, record.plen))
    }
}

/// The transactions of a batch that a FileStorage has prepared, with their tids.
pub(super) fn laid_out_mut(batch: &mut [Commit]) -> impl Iterator<Item = (Tid, &mut LaidOut)> {
    batch
        .iter_mut()
        .filter_map(|commit| Some((commit.tid, commit.prepared.work_mut().ok()?)))
}
