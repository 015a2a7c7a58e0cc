//! Helper threads: each waits a while for its next job, since a thread for each load that asks a
//! database would take longer than the load.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::messages::channel::{Sender, unbounded};

/// How many helpers wait for jobs at most.
const IDLE_MAX: usize = 16;
/// How long each waits.
const IDLE_TIME: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Those that wait for a job. The last that has begun to wait comes first.
#[derive(Default)]
pub struct Helpers {
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    helpers: Vec<(u64, Sender<Job>)>,
    next: u64,
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers").finish_non_exhaustive()
    }
}

impl Helpers {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs it on a thread that waits, or on a new one.
    ///
    /// # Errors
    /// The system gives no thread; the job is dropped.
    pub fn run(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut job: Job = Box::new(job);
        loop {
            let Some((_, helper)) = self.idle().helpers.pop() else {
                break;
            };
            match helper.send(job) {
                Ok(()) => return Ok(()),
                Err(back) => job = back.0,
            }
        }
        let all = Arc::clone(self);
        let begun = thread::Builder::new()
            .name("helper".into())
            .spawn(move || all.work(job));
        begun.map(drop)
    }

    /// Does this job, and those that come while it waits.
    fn work(&self, first: Job) {
        first();
        let (sender, jobs) = unbounded::<Job>();
        loop {
            let number = {
                let mut idle = self.idle();
                if idle.helpers.len() >= IDLE_MAX {
                    return;
                }
                idle.next += 1;
                let number = idle.next;
                idle.helpers.push((number, sender.clone()));
                number
            };
            let until = Instant::now() + IDLE_TIME;
            let job = jobs.recv(Some(until)).ok().or_else(|| {
                let mut idle = self.idle();
                let waits = idle.helpers.len();
                idle.helpers.retain(|&(waiting, _)| waiting != number);
                let was_chosen = idle.helpers.len() == waits;
                drop(idle);
                // Who has chosen it sends a job at once.
                was_chosen.then(|| jobs.recv(None).ok()).flatten()
            });
            match job {
                Some(job) => job(),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_are_used_again() {
        let helpers = Arc::new(Helpers::default());
        let (done, told) = std::sync::mpsc::channel();
        let mut threads = std::collections::HashSet::new();
        for _ in 0..20 {
            let done = done.clone();
            let job = move || done.send(thread::current().id()).unwrap();
            helpers.run(job).unwrap();
            threads.insert(told.recv().unwrap());
            // Until it waits again.
            while helpers.idle().helpers.is_empty() {
                thread::yield_now();
            }
        }
        assert_eq!(threads.len(), 1);
    }

    #[test]
    fn jobs_at_the_same_time_have_threads_of_their_own() {
        let helpers = Arc::new(Helpers::default());
        let barrier = Arc::new(std::sync::Barrier::new(IDLE_MAX + 5));
        for _ in 1..IDLE_MAX + 5 {
            let barrier = Arc::clone(&barrier);
            let job = move || {
                barrier.wait();
            };
            helpers.run(job).unwrap();
        }
        barrier.wait();
    }
}
