//! The iterators that a client has open.

use std::collections::HashMap;

use zeo_proto::exception::Exception;
use zeo_storage::storage::{RecordIter, TransactionIter, TransactionRecord};

/// How many iterators one client may have open. Python's client drops those
/// that it no longer uses.
const MAX_OPEN_ITERATORS: usize = 10_000;

/// Open iterators by their ids.
#[derive(Default)]
pub(super) struct Iterators {
    next_id: u64,
    open: HashMap<u64, Open>,
}

/// An open iterator.
pub(super) enum Open {
    Transactions {
        iter: TransactionIter,
        last: Option<TransactionRecord>,
    },
    Records(RecordIter),
}

impl Iterators {
    /// Keeps an iterator; returns its id.
    pub(super) fn add(&mut self, iterator: Open) -> Result<u64, Exception> {
        if self.open.len() >= MAX_OPEN_ITERATORS {
            return Err(Exception::value_error(format!(
                "{MAX_OPEN_ITERATORS} iterators are open"
            )));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.open.insert(id, iterator);
        Ok(id)
    }

    /// The iterator of this id.
    pub(super) fn get(&mut self, id: u64) -> Result<&mut Open, Exception> {
        self.open
            .get_mut(&id)
            .ok_or_else(|| Exception::key_error(id))
    }

    /// Drops iterators that the client no longer uses.
    pub(super) fn drop_all(&mut self, ids: &[u64]) {
        for id in ids {
            self.open.remove(id);
        }
    }
}
