//! New oids: the sequence gives blocks of 16, as to RelStorage.

use std::sync::{Mutex, PoisonError};

use zeo_proto::Oid;

use crate::Result;

/// How many oids one value of the sequence stands for.
pub(super) const BLOCK: i64 = 16;
/// Nobody is ever given oids from here on: where a client has chosen such a one, the sequence is left as it
/// is, which would end soon behind it.
pub(super) const FAR_OID: i64 = i64::MAX - (1 << 40);
/// How many blocks are taken at once: a client asks for 100 oids.
pub(super) const BLOCKS: i32 = 7;

/// The next oids, in blocks of 16.
pub(super) const NEW_OIDS: &str = "SELECT nextval('zoid_seq') FROM generate_series(1, $1::integer)";
/// Oids of others: the sequence goes on behind them. One server at a time, so that none sets it back; and who takes
/// oids between the look and the step can hardly take so many that it is set back behind him.
pub(super) const USED_OIDS: &str =
    "SELECT CASE WHEN $1 > nextval('zoid_seq') THEN setval('zoid_seq', $1 + 1000) END
    FROM (SELECT pg_advisory_xact_lock(-1002)) locked";
/// (oid): the greatest oid before it, and the last value that the sequence has given (or 0). (The sequence itself could
/// be read only with a right that nobody needs otherwise.)
pub(super) const LAST_OIDS: &str = "SELECT (SELECT max(zoid) FROM object_state WHERE zoid < $1),
    coalesce(pg_sequence_last_value('zoid_seq'::regclass), 0)";

/// Oids that nobody has yet.
#[derive(Default)]
pub(super) struct Oids(Mutex<Stock>);

#[derive(Default)]
struct Stock {
    /// In falling order.
    free: Vec<i64>,
    /// The greatest that is known to be behind the sequence.
    last: i64,
}

impl Oids {
    /// The next one; if there is none, `blocks` gets values of the sequence.
    ///
    /// # Errors
    /// That of `blocks`.
    pub fn next(&self, blocks: impl FnOnce() -> Result<Vec<i64>>) -> Result<Option<Oid>> {
        let mut stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stock.free.is_empty() {
            for block in blocks()? {
                let last = block.saturating_mul(BLOCK);
                stock.free.extend(last - BLOCK + 1..=last);
            }
            stock.free.sort_unstable_by(|a, b| b.cmp(a));
            stock.last = stock.last.max(stock.free.first().copied().unwrap_or(0));
        }
        let next = stock.free.pop();
        Ok(next.map(|oid| Oid::new(oid.cast_unsigned())))
    }

    /// True for an oid that may be one which the sequence has still to give.
    pub fn exceeds(&self, oid: i64) -> bool {
        oid > self.last()
    }

    /// The greatest that is known to be behind the sequence.
    pub fn last(&self) -> i64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// The sequence gives only oids behind `last` from now on.
    pub fn used(&self, last: i64) {
        let mut stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stock.last = stock.last.max(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_given_out_in_order() {
        let oids = Oids::default();
        let next = |blocks: &[i64]| {
            let blocks = blocks.to_vec();
            oids.next(|| Ok(blocks)).unwrap().unwrap().as_u64()
        };
        assert_eq!(next(&[1, 3]), 1);
        let rest: Vec<_> = (0..31).map(|_| next(&[])).collect();
        assert_eq!(rest[..15], (2..=16).collect::<Vec<_>>());
        assert_eq!(rest[15..], (33..=48).collect::<Vec<_>>());
        assert_eq!(next(&[4]), 49);
        assert!(oids.exceeds(65) && !oids.exceeds(64));
    }
}
