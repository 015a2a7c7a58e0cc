//! Who is the coordinator: its thread, or for a moment another one that has sent a request and finds
//! nobody at it. Both take requests from the same queue, under one mutex.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_utils::sync::Parker;

use super::Coordinator;
use crate::messages::channel::{Queue, Receiver, TryRecvError};
use crate::messages::request::Request;
use crate::messages::requests::TakesRequests;
use crate::messages::rules;

/// How many requests are taken before sessions are woken: whoever is told
/// something by several of them is woken once.
const BATCH_REQUESTS: usize = 64;
/// How many clients are sent their notices before the coordinator looks at requests again. A send
/// takes some microseconds.
const BATCH_SENDS: usize = 8;
/// How many clients are sent their notices by another thread that takes requests: as many as take no
/// longer than it would to wake the coordinator's.
const FEW_SENDS: usize = 4;

/// A coordinator that is whoever has its mutex. Others than its own thread only try that.
pub struct SharedCoordinator {
    /// None when it has ended.
    seat: Mutex<Option<Seat>>,
}

/// What belongs together: only who has the coordinator takes from its queue, so that requests are
/// taken in the order in which they stand there.
struct Seat {
    coordinator: Coordinator,
    requests: Queue<Request>,
    /// When the coordinator's thread looks again by itself.
    sleeps_until: Option<Instant>,
}

/// What the coordinator's thread does next.
enum Next {
    Again,
    Sleep(Option<Instant>),
    End,
}

impl SharedCoordinator {
    /// A coordinator with its requests; and what its thread sleeps by, for [`Self::run`].
    pub fn new(coordinator: Coordinator, requests: Receiver<Request>) -> (Arc<Self>, Parker) {
        let (requests, parker) = requests.split();
        let seat = Seat {
            coordinator,
            requests,
            sleeps_until: None,
        };
        let seat = Mutex::new(Some(seat));
        (Arc::new(Self { seat }), parker)
    }

    /// Takes requests until the coordinator is stopped, and those who have voted have finished or
    /// had their time.
    pub fn run(&self, parker: &Parker) {
        loop {
            match self.turn() {
                Next::Again => {}
                Next::Sleep(None) => parker.park(),
                Next::Sleep(Some(until)) => parker.park_deadline(until),
                Next::End => return,
            }
        }
    }

    fn turn(&self) -> Next {
        // Where another thread has failed in the middle of its work, this one fails, too.
        let seat = self.seat.lock();
        let mut seat = seat.unwrap_or_else(|_| resume_unwind(Box::new("it has failed elsewhere")));
        let next = seat.as_mut().map_or(Next::End, Seat::turn);
        if matches!(next, Next::End) {
            *seat = None;
        }
        next
    }

    /// What happens to a coordinator that nobody is at.
    #[cfg(test)]
    pub(crate) fn with<T>(
        &self,
        act: impl FnOnce(&mut Coordinator, &Queue<Request>) -> T,
    ) -> Option<T> {
        let mut seat = self.seat.try_lock().ok()?;
        let Seat {
            coordinator,
            requests,
            ..
        } = seat.as_mut()?;
        Some(act(coordinator, requests))
    }
}

impl TakesRequests for SharedCoordinator {
    fn take_waiting(&self) -> bool {
        let Ok(mut seat) = self.seat.try_lock() else {
            return false;
        };
        seat.as_mut().is_some_and(Seat::take_for_thread)
    }
}

impl Seat {
    /// A turn of the coordinator's thread.
    fn turn(&mut self) -> Next {
        if self.coordinator.is_done() {
            self.coordinator.close_all();
            return Next::End;
        }
        let taken = match self.requests.try_recv() {
            Ok(first) => {
                self.take(first);
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => {
                self.coordinator.close_all();
                return Next::End;
            }
        };
        self.coordinator.send_notices(BATCH_SENDS);
        self.coordinator.expire();
        self.coordinator.enter_when_due();
        self.coordinator.poll_when_due();
        if taken || self.coordinator.has_unsent() || self.coordinator.is_done() {
            return Next::Again;
        }
        self.sleeps_until = self.coordinator.due();
        Next::Sleep(self.sleeps_until)
    }

    /// Does what can be done in the place of the coordinator's thread; false if that has to look.
    fn take_for_thread(&mut self) -> bool {
        if self.coordinator.is_done() {
            return false;
        }
        if let Ok(first) = self.requests.try_recv() {
            self.take(first);
        }
        self.coordinator.send_notices(FEW_SENDS);
        let due = self.coordinator.due();
        let sleeps_too_long =
            due.is_some_and(|due| self.sleeps_until.is_none_or(|until| due < until));
        !(sleeps_too_long
            || self.coordinator.has_unsent()
            || self.coordinator.is_done()
            || !self.requests.is_empty())
    }

    /// Takes a request and some of those behind it.
    fn take(&mut self, first: Request) {
        let (coordinator, requests) = (&mut self.coordinator, &self.requests);
        let others = std::iter::from_fn(|| requests.try_recv().ok());
        let all = std::iter::once(first).chain(others.take(BATCH_REQUESTS));
        rules::in_inbox_order(all, |request| coordinator.take(request));
        coordinator.settle();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;
    use std::time::Duration;

    use slog::{Discard, Logger, o};
    use zeo_proto::Oid;
    use zeo_storage::MappingStorage;

    use super::*;
    use crate::commit::clock::SystemClock;
    use crate::commit::coordinator::Parts;
    use crate::messages::channel::unbounded;
    use crate::messages::event::Event;
    use crate::messages::mailbox::{Inbox, mailbox};
    use crate::messages::request::{AtWork, Claim, ClientId};
    use crate::messages::requests::Requests;
    use crate::status::stats::Stats;

    fn coordinator() -> (Arc<SharedCoordinator>, Parker, Requests) {
        let parts = Parts {
            storage: Arc::new(MappingStorage::new("test").unwrap()),
            stats: Arc::new(Stats::new(true)),
            clock: Arc::new(SystemClock),
            log: Logger::root(Discard, o!()),
            timeout: Some(Duration::from_secs(3600)),
            queue_size: 10,
        };
        let coordinator = Coordinator::new(parts, unbounded().0).unwrap();
        let (sender, receiver) = unbounded();
        let (shared, parker) = SharedCoordinator::new(coordinator, receiver);
        let taker: Arc<dyn TakesRequests> = Arc::<SharedCoordinator>::clone(&shared);
        (shared, parker, Requests::new(sender, taker))
    }

    fn subscribe(requests: &Requests, client: ClientId) -> Inbox {
        let (mailbox, inbox) = mailbox().unwrap();
        let subscribe = Request::Subscribe { client, mailbox };
        requests.ask(subscribe).unwrap();
        inbox
    }

    /// A vote on the object that all want.
    fn lock(client: ClientId, vote: u64) -> Request {
        let stored = vec![Oid::new(1)];
        Request::Lock {
            client,
            vote,
            claim: Claim {
                stored,
                ..Claim::default()
            },
            at_work: AtWork::default(),
        }
    }

    fn is_granted(inbox: &Inbox) -> bool {
        let mut events = std::iter::from_fn(|| inbox.next());
        events.any(|event| matches!(event, Event::Granted(_)))
    }

    #[test]
    fn who_finds_nobody_at_it_needs_no_thread() {
        let (shared, _parker, requests) = coordinator();
        let inbox = subscribe(&requests, 1);
        requests.ask(lock(1, 1)).unwrap();
        assert!(is_granted(&inbox));
        requests.ask(Request::Release { client: 1 }).unwrap();
        // Who finds somebody at it leaves its request to the thread.
        let asked = shared.with(|_, _| requests.ask(lock(1, 2)));
        assert_eq!(asked.map(|asked| asked.is_ok()), Some(true));
        assert!(!is_granted(&inbox) && requests.len() == 1);
        assert!(matches!(shared.turn(), Next::Again) && is_granted(&inbox));
    }

    #[test]
    fn the_thread_is_woken_for_what_is_due_before_it_wakes() {
        let (shared, _parker, requests) = coordinator();
        let _inbox = subscribe(&requests, 1);
        assert!(matches!(shared.turn(), Next::Sleep(None)));
        let take = |request| {
            requests.queue().send_quietly(request).unwrap();
            shared.take_waiting()
        };
        assert!(!take(lock(1, 1)), "its locks have a deadline");
        let Next::Sleep(Some(until)) = shared.turn() else {
            panic!("the deadline is forgotten");
        };
        assert!(until > Instant::now());
        assert!(take(Request::Release { client: 1 }));
        assert!(take(lock(1, 2)), "that one is later");
    }

    fn vote_often(client: ClientId, requests: &Requests) {
        let (inbox, begun) = (subscribe(requests, client), Instant::now());
        for vote in 0..300 {
            requests.ask(lock(client, vote)).unwrap();
            while !is_granted(&inbox) {
                assert!(begun.elapsed() < Duration::from_secs(600));
                thread::yield_now();
            }
            requests.ask(Request::Release { client }).unwrap();
        }
    }

    /// Many ask at once, and wait for each other: nobody is forgotten. Then it ends.
    #[test]
    fn no_request_is_left_lying() {
        let (shared, parker, requests) = coordinator();
        thread::scope(|scope| {
            let thread = &shared;
            let coordinator = scope.spawn(move || thread.run(&parker));
            let requests = &requests;
            let vote = |client| scope.spawn(move || vote_often(client, requests));
            let voters: Vec<_> = (1..=4).map(vote).collect();
            voters.into_iter().for_each(|voter| voter.join().unwrap());
            let until = Instant::now();
            requests.ask(Request::Stop { until }).unwrap();
            coordinator.join().unwrap();
        });
        assert!(requests.ask(lock(1, 1)).is_err());
    }

    /// What has failed in the middle can't be trusted, whoever was at it: the process ends.
    #[test]
    fn a_failure_in_another_thread_is_the_coordinators() {
        let (shared, parker, requests) = coordinator();
        let failing = AssertUnwindSafe(|| shared.with(|_, _| panic!("a bug")));
        assert!(catch_unwind(failing).is_err());
        let asked = requests.ask(Request::Release { client: 1 });
        assert!(asked.is_ok() && requests.len() == 1);
        assert!(catch_unwind(AssertUnwindSafe(|| shared.run(&parker))).is_err());
    }
}
