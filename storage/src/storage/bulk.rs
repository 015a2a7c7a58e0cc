//! How a copy writes many transactions quickly.

use super::{Op, TransactionMeta};
use crate::Result;

/// Writes transactions as they were elsewhere, many with one sync. Nobody else may write to the
/// storage meanwhile.
///
/// Dropped without [`Self::finish`], it leaves out the last ones, but none before others.
pub trait Bulk {
    /// Adds a transaction with the tid in `meta`, which must be later than all before. Its `ops` are
    /// [`Op::Restore`] and [`Op::Blob`]; of several records of an object the last one counts.
    ///
    /// # Errors
    ///
    /// Those of `ops`: the transaction is left out, those before it stay. `Value` for a tid or an oid
    /// that does not fit; any error of the storage, after which nothing can be added.
    fn add(
        &mut self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
    ) -> Result<()>;

    /// Commits what was added.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    fn finish(&mut self) -> Result<()>;

    /// False for a storage of current revisions, in which transactions and records disappear when
    /// later ones come.
    fn keeps_history(&self) -> bool;
}
