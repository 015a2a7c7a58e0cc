//! Whether there may be changes by others that no report has, so that it is worth a question.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What was heard of others, and what the last report knew of it.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Grows with each call for a poll.
    heard: AtomicU64,
    reported: Mutex<Option<Begun>>,
}

/// A report that has begun: it has all that was committed before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    heard: u64,
    at: Instant,
}

impl News {
    /// Others have committed something.
    pub fn hear(&self) {
        self.heard.fetch_add(1, Ordering::AcqRel);
    }

    /// Before the database is asked.
    pub fn begin(&self) -> Begun {
        Begun {
            heard: self.heard.load(Ordering::Acquire),
            at: Instant::now(),
        }
    }

    fn reported(&self) -> MutexGuard<'_, Option<Begun>> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others had committed when it began is reported.
    pub fn report(&self, begun: Begun) {
        *self.reported() = Some(begun);
    }

    /// Whether nothing was heard since the last report began, and that is not longer ago.
    pub fn are_known(&self, age: Duration) -> bool {
        let heard = self.heard.load(Ordering::Acquire);
        self.reported()
            .is_some_and(|last| last.heard == heard && last.at.elapsed() < age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_before_a_report_began_is_known() {
        let (news, long) = (News::default(), Duration::from_secs(3600));
        assert!(!news.are_known(long), "nothing is reported yet");
        news.hear();
        let begun = news.begin();
        assert!(!news.are_known(long), "it is on its way");
        news.report(begun);
        assert!(news.are_known(long));
        assert!(!news.are_known(Duration::ZERO), "it is too old");
        // It may have been committed after the report.
        let begun = news.begin();
        news.hear();
        news.report(begun);
        assert!(!news.are_known(long));
    }
}
