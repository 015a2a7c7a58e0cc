//! Where callers wait for the answer to a call, each for its own.

use std::sync::{Condvar, Mutex};

use super::lock::locked;

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

impl<T: Clone> Slot<T> {
    /// Waits for the answer. The last one who does takes it; others get copies.
    pub fn wait(&self) -> T {
        let mut inner = locked(&self.inner);
        loop {
            if inner.waiting > 1
                && let Some(answer) = inner.answer.clone()
            {
                inner.waiting -= 1;
                return answer;
            }
            if let Some(answer) = inner.answer.take() {
                return answer;
            }
            inner = { self.given.wait(inner) }.unwrap_or_else(|why| why.into_inner());
        }
    }
}
