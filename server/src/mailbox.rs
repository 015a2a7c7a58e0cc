//! How other threads reach a session: a bounded queue of events and a
//! descriptor that the session can wait for together with its socket.
//!
//! Whoever posts never waits. A mailbox that is full closes its session (the
//! client comes back and verifies its cache), since an invalidation that is
//! dropped would leave stale objects in a client for ever.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{EventfdFlags, eventfd};
use zeo_proto::exception::Exception;
use zeo_proto::marshal::{Encoding, Flag, encode_message};
use zeo_proto::{Oid, Tid, Value};

use crate::order::{Rule, is_broken};
use crate::session::Session;

/// How many events may wait for a session that does not look at them.
pub const CAPACITY: usize = 10_000;
/// How many bytes, about, may wait for such a session before it counts as
/// full. One event alone may be larger.
const CAPACITY_BYTES: usize = 64 << 20;

/// What a session is told.
pub enum Event {
    /// It is entered for invalidations; the last tid at that moment.
    Registered(Tid),
    /// The locks that its vote of this number asked for are its own.
    Granted(u64),
    /// Its transaction is durable and visible.
    Finished(Tid),
    /// Its transaction could not be written.
    FinishFailed(Exception),
    /// A message to pass on: another client's invalidation, or new sizes.
    Notice(Arc<Notice>),
    /// The answer to `getInvalidations`: the last tid and the objects
    /// changed since; `None` when the queue does not reach back so far.
    Invalidations(Option<(Tid, Vec<Oid>)>),
    /// A helper thread is done; this is what remains to do in the session.
    Job(Box<dyn FnOnce(&mut Session) + Send>),
}

impl Event {
    /// About how many bytes of memory it takes.
    fn weight(&self) -> usize {
        match self {
            Event::Notice(notice) => notice.weight(),
            Event::Invalidations(Some((_, oids))) => 64 + size_of_val(&**oids),
            _ => 64,
        }
    }
}

/// A notification for many clients, encoded once for each encoding.
pub struct Notice {
    content: Content,
    frames: [OnceLock<Vec<u8>>; 2],
}

enum Content {
    Invalidate(Tid, Vec<Oid>),
    Info { length: u64, size: u64 },
}

impl Notice {
    /// `invalidateTransaction(tid, oids)`.
    pub fn invalidate(tid: Tid, oids: &[Oid]) -> Self {
        Self::new(Content::Invalidate(tid, oids.to_vec()))
    }

    /// `info({length, size})`.
    pub fn info(length: u64, size: u64) -> Self {
        Self::new(Content::Info { length, size })
    }

    fn new(content: Content) -> Self {
        Self {
            content,
            frames: [OnceLock::new(), OnceLock::new()],
        }
    }

    /// An oid takes 8 bytes here and 11 in a frame.
    fn weight(&self) -> usize {
        match &self.content {
            Content::Invalidate(_, oids) => 256 + oids.len().saturating_mul(19),
            Content::Info { .. } => 256,
        }
    }

    fn call(&self) -> (&'static str, Value<'static>) {
        match &self.content {
            Content::Invalidate(tid, oids) => {
                let oids = oids.iter().map(|&oid| oid.into()).collect();
                let args = Value::Tuple(vec![Value::from(*tid), Value::List(oids)]);
                ("invalidateTransaction", args)
            }
            &Content::Info { length, size } => {
                ("info", Value::Tuple(vec![size_info(length, size)]))
            }
        }
    }

    /// The frame of the notification.
    pub fn frame(&self, encoding: Encoding) -> &[u8] {
        let slot = match encoding {
            Encoding::Pickle => &self.frames[0],
            Encoding::Msgpack => &self.frames[1],
        };
        slot.get_or_init(|| {
            let mut frame = Vec::new();
            let id = Value::Int(0);
            let (method, args) = self.call();
            // Ids and numbers can be written in either encoding.
            let _ = encode_message(&mut frame, encoding, &id, Flag::Async, method, &args);
            frame
        })
    }
}

/// The dict that `info` and part of `get_info` consist of.
pub fn size_info(length: u64, size: u64) -> Value<'static> {
    Value::Dict(vec![
        (Value::str("length"), Value::Int(i128::from(length))),
        (Value::str("size"), Value::Int(i128::from(size))),
    ])
}

struct Wake {
    event: OwnedFd,
    /// True from the wake-up until the session clears it: further ones need
    /// no system call.
    pending: AtomicBool,
    /// True when something was posted without a wake-up.
    unannounced: AtomicBool,
    /// What the events that wait take.
    weight: AtomicUsize,
    close: OnceLock<&'static str>,
}

impl Wake {
    fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst) {
            // Can only fail when the counter is full, and then it wakes.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
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
        if self.events.len() >= CAPACITY || weight >= CAPACITY_BYTES {
            if is_broken(Rule::FullMailboxCloses) {
                return true;
            }
            self.close("it does not read its invalidations");
            return false;
        }
        self.wake
            .weight
            .fetch_add(event.weight(), Ordering::Relaxed);
        // The session is gone: it needs nothing any more.
        let _ = self.events.send(event);
        self.wake.unannounced.store(true, Ordering::Release);
        true
    }

    /// True when the session has ended or is about to.
    pub fn is_closed(&self) -> bool {
        self.wake.close.get().is_some()
    }

    /// Wakes the session, if anything was posted since the last time.
    pub fn wake(&self) {
        if self.wake.unannounced.swap(false, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    /// A wake-up with something that happens in the middle of it.
    #[cfg(test)]
    pub(crate) fn wake_late(&self, meanwhile: impl FnOnce()) {
        self.wake.pending.store(true, Ordering::SeqCst);
        meanwhile();
        rustix::io::write(&self.wake.event, &1_u64.to_ne_bytes()).unwrap();
    }

    /// Tells the session to end, whatever else is waiting; `reason` is for
    /// its log.
    pub fn close(&self, reason: &'static str) {
        let _ = self.wake.close.set(reason);
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
pub fn mailbox() -> std::io::Result<(Mailbox, Inbox)> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let wake = Arc::new(Wake {
        event,
        pending: AtomicBool::new(false),
        unannounced: AtomicBool::new(false),
        weight: AtomicUsize::new(0),
        close: OnceLock::new(),
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
    /// Becomes readable when something was posted.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.event.as_fd()
    }

    /// True when there is something to look at. Cheap.
    pub fn has_news(&self) -> bool {
        self.wake.pending.load(Ordering::SeqCst)
    }

    /// Takes note of the wake-up; [`Self::next`] until `None` comes next.
    pub fn clear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.wake.event, &mut count);
        self.wake.pending.store(false, Ordering::SeqCst);
    }

    /// The next event.
    pub fn next(&self) -> Option<Event> {
        let event = self.events.try_recv().ok()?;
        self.wake
            .weight
            .fetch_sub(event.weight(), Ordering::Relaxed);
        Some(event)
    }

    /// True when a wait for the descriptor would end at once.
    #[cfg(test)]
    pub(crate) fn is_woken(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.wake.event, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    }

    /// Why the session is to end, if it is.
    pub fn closed(&self) -> Option<&'static str> {
        self.wake.close.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(mailbox.post(Event::Invalidations(Some((Tid::ZERO, oids.clone())))));
        assert!(mailbox.post(Event::Invalidations(Some((Tid::ZERO, oids)))));
        assert_eq!(std::iter::from_fn(|| inbox.next()).count(), 2);
    }
}
