//! The memo of a running pickle machine.

use std::collections::HashMap;

use super::arena::Id;
use super::error::Problem;

/// What PUT saved for GET, by index. Python counts from 0, so the entries
/// are a vector; the few picklers that leave gaps fall back to a map, so
/// that no index claims memory.
#[derive(Default)]
pub(super) struct Memo {
    dense: Vec<Id>,
    sparse: HashMap<u64, Id>,
    entries: u64,
}

/// The largest gap that is filled up in the vector.
const MAX_GAP: usize = 256;
const NOTHING: Id = Id::MAX;

impl Memo {
    /// The number of entries, which is the index that MEMOIZE takes.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn put(&mut self, index: u64, id: Id, limit: usize) -> Result<(), Problem> {
        let dense = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(entry) = self.dense.get_mut(dense) {
            if *entry == NOTHING && self.sparse.remove(&index).is_none() {
                self.entries += 1;
            }
            *entry = id;
            return Ok(());
        }
        if let Some(entry) = self.sparse.get_mut(&index) {
            *entry = id;
            return Ok(());
        }
        if self.dense.len() + self.sparse.len() >= limit {
            return Err(Problem::MemoFull(limit));
        }
        self.entries += 1;
        if dense <= self.dense.len().saturating_add(MAX_GAP) {
            self.dense.resize(dense, NOTHING);
            self.dense.push(id);
        } else {
            self.sparse.insert(index, id);
        }
        Ok(())
    }

    pub(super) fn get(&self, index: u64) -> Option<Id> {
        let dense = usize::try_from(index).ok()?;
        match self.dense.get(dense) {
            Some(&id) if id != NOTHING => Some(id),
            _ => self.sparse.get(&index).copied(),
        }
    }
}
