//! Giving out oids over a base that may be anything.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use zeo_proto::Oid;

use crate::Result;

/// Where oids begin, at random: below this.
const START_MAX: u64 = 1 << 62;

/// The oids given out, in runs. A run ends where an oid is already used;
/// then another one begins at random.
pub(super) struct Oids {
    runs: Mutex<Runs>,
}

struct Runs {
    current: Range<u64>,
    earlier: Vec<Range<u64>>,
}

impl Oids {
    pub fn new() -> Self {
        Self::starting_at(start())
    }

    fn starting_at(start: u64) -> Self {
        Self {
            runs: Mutex::new(Runs {
                current: start..start,
                earlier: Vec::new(),
            }),
        }
    }

    /// An oid that was not given out before and that `is_free`.
    pub fn new_oid(&self, is_free: impl Fn(Oid) -> Result<bool>) -> Result<Oid> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = runs.current.end;
            let was_given = runs.earlier.iter().any(|run| run.contains(&next));
            if !was_given && is_free(Oid::new(next))? {
                runs.current.end = next.saturating_add(1);
                return Ok(Oid::new(next));
            }
            let start = start();
            let ended = std::mem::replace(&mut runs.current, start..start);
            if !ended.is_empty() {
                runs.earlier.push(ended);
            }
        }
    }
}

fn start() -> u64 {
    fastrand::u64(1..=START_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_and_never_twice() {
        let oids = Oids::starting_at(10);
        let mut given = Vec::new();
        for _ in 0..5 {
            given.push(oids.new_oid(|_| Ok(true)).unwrap().as_u64());
        }
        assert_eq!(given, [10, 11, 12, 13, 14]);
        // 15 is used: on with a random one.
        let elsewhere = oids.new_oid(|oid| Ok(oid.as_u64() != 15)).unwrap();
        assert!(elsewhere.as_u64() != 15 && elsewhere.as_u64() <= START_MAX);
        let next = oids.new_oid(|_| Ok(true)).unwrap();
        assert_eq!(next.as_u64(), elsewhere.as_u64() + 1);
        // Back to where oids were given out already.
        oids.runs.lock().unwrap().current = 8..10;
        let fresh = oids.new_oid(|_| Ok(true)).unwrap();
        assert!(!(8..15).contains(&fresh.as_u64()));
    }
}
