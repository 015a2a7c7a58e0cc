//! The way to a coordinator: a queue of requests, which its thread takes, or whoever has sent one and
//! finds that nobody else is at it (`THREADS.md`, "Who is the coordinator").

use std::fmt;
use std::sync::Arc;

use crate::messages::channel::{SendError, Sender};
use crate::messages::request::Request;

/// Takes requests in the place of the coordinator's thread.
pub trait TakesRequests: Send + Sync {
    /// Takes the requests that wait, unless somebody is at it: it never waits for him. False if the
    /// coordinator's thread has to look.
    fn take_waiting(&self) -> bool;
}

/// Nobody takes requests but the thread.
impl TakesRequests for () {
    fn take_waiting(&self) -> bool {
        false
    }
}

/// Where requests are sent to. Clones lead to the same coordinator.
#[derive(Clone)]
pub struct Requests {
    queue: Sender<Request>,
    taker: Arc<dyn TakesRequests>,
}

impl Requests {
    /// A way to this queue; `taker` takes from it in the place of a thread.
    pub fn new(queue: Sender<Request>, taker: Arc<dyn TakesRequests>) -> Self {
        Self { queue, taker }
    }

    /// Sends a request, and does the coordinator's work if nobody else does it now; else, or if there
    /// is more to do, its thread is woken. For who has time and holds no lock.
    ///
    /// # Errors
    /// The coordinator has ended.
    pub fn ask(&self, request: Request) -> Result<(), SendError<Request>> {
        self.queue.send_quietly(request)?;
        if !self.taker.take_waiting() {
            self.queue.wake();
        }
        Ok(())
    }

    /// Sends a request for the coordinator's thread. Waits while the queue is full.
    ///
    /// # Errors
    /// The coordinator has ended.
    pub fn send(&self, request: Request) -> Result<(), SendError<Request>> {
        self.queue.send(request)
    }

    /// The queue of the coordinator's thread.
    pub fn queue(&self) -> &Sender<Request> {
        &self.queue
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.len())
    }
}
