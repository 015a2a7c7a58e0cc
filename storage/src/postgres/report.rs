//! What the call of a commit returns.

use tokio_postgres::Row;
use zeo_proto::{Oid, Tid};

use super::batch::Batch;
use super::groups::Changed;
use super::ids::oid_of;
use super::session::value;
use crate::error::Conflict;
use crate::{Error, Result};

/// How many changes by others it has: with one more, there may be still more, which are asked for behind the commit.
/// PostgreSQL sends rows while it has the lock of all commits, and waits with it if we take none: so all of them must
/// find room in the buffers of a socket.
const OTHERS_MAX: usize = 500;

/// The rows of a call.
#[derive(Default)]
pub(super) struct Report {
    pub tids: Vec<(i64, Tid)>,
    pub refused: Vec<(i64, Error)>,
    pub others: Vec<Changed>,
    /// States of others were left out.
    has_left_out: bool,
    /// It had to wait for others who were committing.
    pub waited: bool,
}

impl Report {
    pub fn take(&mut self, row: &Row, batch: &Batch) -> Result<()> {
        let (kind, a, b) = (
            value::<&str>(row, 0)?,
            value::<i64>(row, 1)?,
            value::<Option<i64>>(row, 2)?,
        );
        let given = b.unwrap_or(0);
        match kind {
            "t" => self.tids.push((a, Tid::new(given.cast_unsigned()))),
            "w" => self.waited = true,
            "g" => self.refused.push((a, locks_lost())),
            "o" => {
                let what = value::<Option<i64>>(row, 3)?;
                self.has_left_out |= what == Some(2);
                self.others.push((a, b, value(row, 4)?, what == Some(1)));
            }
            "r" => {
                let committed = value::<Option<i64>>(row, 3)?.unwrap_or(0);
                self.refused.push((a, overtaken(oid_of(given), committed)));
            }
            "c" => {
                let committed = value::<Option<i64>>(row, 3)?.unwrap_or(0);
                let changed = Error::ReadConflict {
                    oid: oid_of(given),
                    committed: Tid::new(committed.cast_unsigned()),
                    read: batch.read(a, given),
                };
                self.refused.push((a, changed));
            }
            _ => self.refused.push((a, too_early(given))),
        }
        Ok(())
    }

    /// Whether it has all that others have changed.
    pub fn is_complete(&self) -> bool {
        self.others.len() <= OTHERS_MAX && !self.has_left_out
    }
}

/// Somebody changed the object without its lock: an undo or a pack by RelStorage.
fn overtaken(oid: Oid, committed: i64) -> Error {
    let committed = Tid::new(committed.cast_unsigned());
    Error::Conflict(Box::new(Conflict {
        reason: Some("another process changed the object without its lock".to_owned()),
        ..Conflict::untried(oid, (committed, Tid::ZERO), Vec::new())
    }))
}

fn too_early(last: i64) -> Error {
    let last = Tid::new(last.cast_unsigned());
    Error::Value(format!(
        "the transaction can't be added: it is not later than the last one, {last}"
    ))
}

/// The tid that a row of the call gives to a transaction.
pub(super) fn tid_given(row: &Row) -> Option<i64> {
    let kind = value::<&str>(row, 0).ok()?;
    value(row, 2).ok().filter(|_| kind == "t")
}

pub(super) fn locks_lost() -> Error {
    Error::Unavailable(
        "the connection to PostgreSQL that held the locks of this transaction is lost".to_owned(),
    )
}
