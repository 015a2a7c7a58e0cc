//! How other threads reach a session: a bounded queue of events and a
//! descriptor that the session can wait for together with its socket.
//!
//! Whoever posts never waits. A mailbox that is full closes its session (the
//! client comes back and verifies its cache), since an invalidation that is
//! dropped would leave stale objects in a client for ever.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{EventfdFlags, eventfd};

use crate::messages::event::Event;
use crate::messages::rules;

/// How many events may wait for a session that does not look at them.
pub const CAPACITY_EVENTS: usize = 10_000;
/// How many bytes, about, may wait for such a session before it counts as
/// full. One event alone may be larger.
const CAPACITY_BYTES: usize = 64 << 20;

/// Why sessions are closed when the server stops.
pub const STOPPING: &str = "the server is stopping";

/// Something was posted since the session has last looked.
const NEWS: u8 = 1;
/// The session waits for its descriptors, or is about to.
const ASLEEP: u8 = 2;

struct Wake {
    event: OwnedFd,
    /// [`NEWS`] and [`ASLEEP`]: in one word, so that nobody falls asleep
    /// beside news, and only who sleeps costs a system call.
    state: AtomicU8,
    /// What the events that wait take.
    weight: AtomicUsize,
    close: OnceLock<&'static str>,
    /// As `close`, but not while a transaction is being written.
    dismiss: OnceLock<&'static str>,
}

impl Wake {
    fn announce(&self) {
        self.state.fetch_or(NEWS, Ordering::AcqRel);
    }

    /// Wakes the session if it sleeps beside news.
    fn wake(&self) {
        let woken =
            self.state
                .compare_exchange(NEWS | ASLEEP, NEWS, Ordering::AcqRel, Ordering::Relaxed);
        if woken.is_ok() {
            self.ring();
        }
    }

    fn ring(&self) {
        // Can only fail when the counter is full, after 2^64 times.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }
}

/// The end that others post to.
#[derive(Clone)]
pub struct Mailbox {
    events: Sender<Event>,
    wake: Arc<Wake>,
}

impl Mailbox {
    /// Posts an event and wakes the session. False when the mailbox was full:
    /// then the session has been told to close, and nothing may be posted any
    /// more.
    #[must_use = "a client whose mailbox is full must be forgotten"]
    pub fn post(&self, event: Event) -> bool {
        let posted = self.post_quietly(event);
        self.wake();
        posted
    }

    /// Posts an event for which [`Self::wake`] follows soon: whoever posts
    /// several wakes the session once.
    #[must_use = "a client whose mailbox is full must be forgotten"]
    pub fn post_quietly(&self, event: Event) -> bool {
        let weight = self.wake.weight.load(Ordering::Relaxed);
        if self.events.len() >= CAPACITY_EVENTS || weight >= CAPACITY_BYTES {
            return rules::full_mailbox_closes(|| {
                self.close("it does not read its invalidations");
            });
        }
        self.wake
            .weight
            .fetch_add(event.weight(), Ordering::Relaxed);
        // The session is gone: it needs nothing any more.
        let _ = self.events.send(event);
        self.wake.announce();
        true
    }

    /// How many events wait, and about how many bytes they take.
    pub fn load(&self) -> (usize, usize) {
        let bytes = self.wake.weight.load(Ordering::Relaxed);
        (self.events.len(), bytes)
    }

    /// How full it is, from 0 to 1.
    pub fn fill(&self) -> f64 {
        let (events, bytes) = self.load();
        let of = |part: usize, whole: usize| part as f64 / whole as f64;
        let fill = of(events, CAPACITY_EVENTS).max(of(bytes, CAPACITY_BYTES));
        fill.min(1.0)
    }

    /// True when the session has ended or is about to.
    pub fn is_closed(&self) -> bool {
        self.wake.close.get().is_some() || self.wake.dismiss.get().is_some()
    }

    /// Wakes the session, if it sleeps and has not seen what was posted.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// A wake-up with something that happens in the middle of it.
    #[cfg(test)]
    pub(crate) fn wake_late(&self, meanwhile: impl FnOnce()) {
        self.wake.state.store(NEWS, Ordering::Release);
        meanwhile();
        self.wake.ring();
    }

    /// Tells the session to end, whatever else is waiting; `reason` is for
    /// its log.
    pub fn close(&self, reason: &'static str) {
        let _ = self.wake.close.set(reason);
        self.wake.announce();
        self.wake.wake();
    }

    /// As [`Self::close`], but a session whose transaction is being committed ends when its client
    /// has been told how that went: Python's clients would commit it a second time.
    pub fn dismiss(&self, reason: &'static str) {
        let _ = self.wake.dismiss.set(reason);
        self.wake.announce();
        self.wake.wake();
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a mailbox of {} events", self.events.len())
    }
}

/// The session's end.
pub struct Inbox {
    events: Receiver<Event>,
    wake: Arc<Wake>,
}

/// A new mailbox.
///
/// # Errors
/// The system has no descriptor left.
pub fn mailbox() -> std::io::Result<(Mailbox, Inbox)> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let wake = Arc::new(Wake {
        event,
        state: AtomicU8::new(0),
        weight: AtomicUsize::new(0),
        close: OnceLock::new(),
        dismiss: OnceLock::new(),
    });
    Ok((
        Mailbox {
            events: sender,
            wake: Arc::clone(&wake),
        },
        Inbox {
            events: receiver,
            wake,
        },
    ))
}

impl Inbox {
    /// Is written to when the session is to wake up. Edges count: nobody
    /// reads it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.event.as_fd()
    }

    /// True when something was posted since [`Self::take_note`].
    pub fn has_news(&self) -> bool {
        self.wake.state.load(Ordering::Acquire) & NEWS != 0
    }

    /// Takes note of the news; [`Self::next`] until `None` comes next.
    pub fn take_note(&self) {
        self.wake.state.fetch_and(!NEWS, Ordering::AcqRel);
    }

    /// Before a wait: from now on, what is posted wakes the session. False
    /// when there are news: then it is not to wait.
    pub fn fall_asleep(&self) -> bool {
        let asleep =
            self.wake
                .state
                .compare_exchange(0, ASLEEP, Ordering::AcqRel, Ordering::Relaxed);
        asleep.is_ok()
    }

    /// After a wait: the session looks by itself.
    pub fn wake_up(&self) {
        self.wake.state.fetch_and(!ASLEEP, Ordering::AcqRel);
    }

    /// The next event.
    pub fn next(&self) -> Option<Event> {
        let event = self.events.try_recv().ok()?;
        self.wake
            .weight
            .fetch_sub(event.weight(), Ordering::Relaxed);
        Some(event)
    }

    /// Why the session is to end, if it is.
    pub fn closed(&self) -> Option<&'static str> {
        self.closed_during(false)
    }

    /// Why the session is to end, if it is, also while its transaction is being committed.
    pub fn closed_during(&self, finishing: bool) -> Option<&'static str> {
        let close = self.wake.close.get();
        let dismiss = self.wake.dismiss.get().filter(|_| !finishing);
        close.or(dismiss).copied()
    }
}

#[cfg(test)]
mod tests {
    use zeo_proto::{Oid, Tid};

    use super::*;
    use crate::messages::event::Missed;
    use crate::messages::notice::Notice;

    #[test]
    fn many_bytes_fill_a_mailbox_as_many_events_do() {
        let (mailbox, inbox) = mailbox().unwrap();
        let oids = vec![Oid::ZERO; 1 << 20];
        let large = Arc::new(Notice::invalidate(Tid::ZERO, &oids));
        let post = |notice: &Arc<Notice>| mailbox.post(Event::Notice(Arc::clone(notice)));
        let fits = CAPACITY_BYTES / large.weight() + 1;
        assert!((0..fits).all(|_| post(&large)));
        assert!(
            inbox.next().is_some() && post(&large),
            "there is room again"
        );
        assert!(!post(&large));
        assert!(inbox.closed().is_some());
    }

    #[test]
    fn one_event_may_be_larger_than_a_mailbox() {
        let (mailbox, inbox) = mailbox().unwrap();
        let oids = vec![Oid::ZERO; 1 << 22];
        assert!(mailbox.post(Event::Invalidations(Missed::Objects(
            Tid::ZERO,
            oids.clone()
        ))));
        assert!(mailbox.post(Event::Invalidations(Missed::Objects(Tid::ZERO, oids))));
        assert_eq!(std::iter::from_fn(|| inbox.next()).count(), 2);
    }
}
