//! Where callers wait for the answer to a call, each for its own.
use crate::lock::locked;

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// The answer to one call; several callers may wait for the same one.
#[derive(Debug)]
pub(super) struct Slot<T> {
    inner: Mutex<Inner<T>>,
    given: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    answer: Option<T>,
    /// How many have asked and not yet taken the answer.
    waiting: usize,
}

impl<T> Slot<T> {
    /// Nobody waits yet.
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                answer: None,
                waiting: 0,
            }),
            given: Condvar::new(),
        }
    }

    /// One more caller, who is going to [`wait`](Self::wait).
    pub fn join(&self) {
        locked(&self.inner).waiting += 1;
    }

    /// Whether somebody has asked and not yet taken the answer.
    pub fn is_awaited(&self) -> bool {
        locked(&self.inner).waiting > 0
    }

    /// Gives the answer.
    pub fn give(&self, answer: T) {
        let mut inner = locked(&self.inner);
        let waiting = inner.waiting;
        inner.answer = Some(answer);
        drop(inner);
        match waiting {
            0 => {}
            1 => self.given.notify_one(),
            _ => self.given.notify_all(),
        }
    }
}

impl<T> Slot<T> {
    /// Waits for the answer, alone. Nothing if there is none after so long.
    pub fn wait_alone(&self, limit: Option<Duration>) -> Option<T> {
        self.wait_for(limit, |inner| inner.answer.take())
    }

    fn wait_for(
        &self,
        limit: Option<Duration>,
        take: impl Fn(&mut Inner<T>) -> Option<T>,
    ) -> Option<T> {
        // A limit that is too far away to be told is as good as none.
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut inner = locked(&self.inner);
        loop {
            if let Some(answer) = take(&mut inner) {
                return Some(answer);
            }
            inner = match until {
                None => self
                    .given
                    .wait(inner)
                    .unwrap_or_else(|why| why.into_inner()),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.given.wait_timeout(inner, left);
                    waited.unwrap_or_else(|why| why.into_inner()).0
                }
            };
        }
    }
}

impl<T: Clone> Slot<T> {
    /// Waits for the answer, maybe with others: the last one takes it, the others get copies. Nothing
    /// if there is none after so long.
    pub fn wait(&self, limit: Option<Duration>) -> Option<T> {
        self.wait_for(limit, |inner| {
            if inner.waiting <= 1 {
                return inner.answer.take();
            }
            let answer = inner.answer.clone()?;
            inner.waiting -= 1;
            Some(answer)
        })
    }
}
