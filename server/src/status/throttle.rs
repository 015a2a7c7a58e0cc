//! Lines of the log that may be many at once: a few are let through, the rest is counted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::status::outcomes::Outcome;

/// So many lines of a kind are let through in [`WINDOW`].
const LINES: u64 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// Lets lines of several kinds through.
#[derive(Debug)]
pub struct Throttle<O> {
    kinds: Vec<Mutex<Kind>>,
    of: std::marker::PhantomData<O>,
}

#[derive(Debug, Default)]
struct Kind {
    /// When the first line of the window came.
    began: Option<Instant>,
    lines: u64,
    left_out: u64,
}

impl<O: Outcome> Default for Throttle<O> {
    fn default() -> Self {
        Self {
            kinds: O::ALL.iter().map(|_| Mutex::default()).collect(),
            of: std::marker::PhantomData,
        }
    }
}

impl<O: Outcome> Throttle<O> {
    /// Whether a line may be logged: then how many were left out since the last one.
    pub fn admit(&self, kind: O, now: Instant) -> Option<u64> {
        let kind = &self.kinds[kind.number()];
        let mut kind = kind.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |began| now.saturating_duration_since(began) >= WINDOW;
        if kind.began.is_none_or(is_over) {
            kind.began = Some(now);
            kind.lines = 0;
        }
        kind.lines += 1;
        if kind.lines > LINES {
            kind.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut kind.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::outcomes::Operation;

    #[test]
    fn many_lines_are_few_and_none_is_forgotten() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let logged = |at: u64| {
            let now = start + Duration::from_secs(at);
            (0..100)
                .filter_map(|_| throttle.admit(Operation::Load, now))
                .collect::<Vec<_>>()
        };
        assert_eq!(logged(0), [0; LINES as usize]);
        assert_eq!(
            throttle.admit(Operation::Commit, start),
            Some(0),
            "each kind by itself"
        );
        assert!(logged(59).is_empty());
        assert_eq!(logged(60)[..2], [190, 0]);
    }
}
