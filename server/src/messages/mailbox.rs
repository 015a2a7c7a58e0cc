//! How other threads reach a session: a bounded queue of events and a
//! descriptor that the session can wait for together with its socket.
//!
//! Whoever posts never waits. A mailbox that is full closes its session (the
//! client comes back and verifies its cache), since an invalidation that is
//! dropped would leave stale objects in a client for ever.

use std::cell::Cell;
use std::fmt;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{EventfdFlags, eventfd};
use zeo_proto::marshal::Encoding;

use crate::messages::event::Event;
use crate::messages::outlet::{Left, Outlet};
use crate::messages::rules;
use crate::messages::token::{Claim, Returned, Token};

/// How many events may wait for a session that does not look at them.
pub const CAPACITY_EVENTS: usize = 10_000;
/// How many bytes, about, may wait for such a session before it counts as
/// full. One event alone may be larger.
const CAPACITY_BYTES: usize = 64 << 20;

/// Why sessions are closed when the server stops.
pub const STOPPING: &str = "the server is stopping";

struct Shared {
    event: OwnedFd,
    token: Token,
    /// Is locked by who has the token, before he gets it and until he has given it back; and by the
    /// session, which finds it free but while somebody writes for it.
    desk: Mutex<Desk>,
    /// What the events that wait take.
    weight: AtomicUsize,
    close: OnceLock<&'static str>,
    /// As `close`, but not while a transaction is being written.
    dismiss: OnceLock<&'static str>,
}

/// What who writes for the session needs, and what he leaves to it.
#[derive(Default)]
struct Desk {
    /// None before the session lends its socket, and when it has ended.
    lent: Option<(Outlet, Receiver<Event>)>,
    left: Left,
}

impl Shared {
    fn announce(&self, is_notice: bool) {
        self.token.announce(is_notice);
    }

    /// Sends what waits if the session sleeps with nothing to write, and wakes it if it sleeps and
    /// has something to do itself.
    fn wake(&self) {
        let desk = self.token.is_lent().then(|| self.desk.try_lock().ok());
        let desk = desk.flatten().filter(|desk| desk.lent.is_some());
        match self.token.claim(desk.is_some()) {
            Claim::None => {}
            Claim::Wake => self.ring(),
            Claim::Write => {
                if let Some(desk) = desk {
                    self.write(desk);
                }
            }
        }
    }

    /// Sends notices, and gives the token back.
    fn write(&self, mut desk: MutexGuard<'_, Desk>) {
        loop {
            if let Some((outlet, events)) = &mut desk.lent {
                desk.left = outlet.send(|| self.next(events));
            }
            match self.token.give_back(!desk.left.is_empty()) {
                Returned::Done => return,
                Returned::Wake => {
                    drop(desk);
                    return self.ring();
                }
                Returned::Again => {}
            }
        }
    }

    fn next(&self, events: &Receiver<Event>) -> Option<Event> {
        let event = events.try_recv().ok()?;
        self.weight.fetch_sub(event.weight(), Ordering::Relaxed);
        Some(event)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
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
    shared: Arc<Shared>,
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
        let weight = self.shared.weight.load(Ordering::Relaxed);
        let is_notice = matches!(event, Event::Notice(_));
        if self.events.len() >= CAPACITY_EVENTS || weight >= CAPACITY_BYTES {
            return rules::full_mailbox_closes(|| {
                self.close("it does not read its invalidations");
            });
        }
        self.shared
            .weight
            .fetch_add(event.weight(), Ordering::Relaxed);
        // The session is gone: it needs nothing any more.
        let _ = self.events.send(event);
        self.shared.announce(is_notice);
        true
    }

    /// How many events wait, and about how many bytes they take.
    pub fn load(&self) -> (usize, usize) {
        let bytes = self.shared.weight.load(Ordering::Relaxed);
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
        self.shared.close.get().is_some() || self.shared.dismiss.get().is_some()
    }

    /// Gets what was posted to the client, if its session sleeps: sends notices itself, when the
    /// session has nothing to write and they are all that waits; else wakes it. Never waits.
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// A wake-up with something that happens in the middle of it.
    #[cfg(test)]
    pub(crate) fn wake_late(&self, meanwhile: impl FnOnce()) {
        self.shared.token.as_if_woken();
        meanwhile();
        self.shared.ring();
    }

    /// Tells the session to end, whatever else is waiting; `reason` is for
    /// its log.
    pub fn close(&self, reason: &'static str) {
        let _ = self.shared.close.set(reason);
        self.shared.announce(false);
        self.shared.wake();
    }

    /// As [`Self::close`], but a session whose transaction is being committed ends when its client
    /// has been told how that went: Python's clients would commit it a second time.
    pub fn dismiss(&self, reason: &'static str) {
        let _ = self.shared.dismiss.set(reason);
        self.shared.announce(false);
        self.shared.wake();
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
    /// An event that was taken out for the session, and comes before all in `events`.
    first: Cell<Option<Event>>,
    shared: Arc<Shared>,
}

/// A new mailbox.
///
/// # Errors
/// The system has no descriptor left.
pub fn mailbox() -> std::io::Result<(Mailbox, Inbox)> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let shared = Arc::new(Shared {
        event,
        token: Token::default(),
        desk: Mutex::default(),
        weight: AtomicUsize::new(0),
        close: OnceLock::new(),
        dismiss: OnceLock::new(),
    });
    Ok((
        Mailbox {
            events: sender,
            shared: Arc::clone(&shared),
        },
        Inbox {
            events: receiver,
            first: Cell::new(None),
            shared,
        },
    ))
}

impl Inbox {
    /// Is written to when the session is to wake up. Edges count: nobody
    /// reads it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    /// From now on, `socket` is lent to who posts, as [`Self::fall_asleep`] says. Its writes must not
    /// wait.
    pub fn lend(&self, socket: Box<dyn Write + Send>, encoding: Encoding) {
        let outlet = Outlet::new(socket, encoding);
        self.shared.desk().lent = Some((outlet, self.events.clone()));
    }

    /// True when something was posted since [`Self::take_note`].
    pub fn has_news(&self) -> bool {
        self.shared.token.has_news()
    }

    /// Takes note of the news; [`Self::next`] until `None` comes next.
    pub fn take_note(&self) {
        self.shared.token.take_note();
    }

    /// Before a wait: from now on, what is posted wakes the session, or is sent by who posts, if the
    /// session has nothing to write and `lends` its socket. False when there are news: then it is
    /// not to wait.
    pub fn fall_asleep(&self, lends: bool) -> bool {
        self.shared.token.fall_asleep(lends)
    }

    /// After a wait: the session looks by itself, and alone has the socket. Who is in the middle of a
    /// write to it is waited for.
    pub fn wake_up(&self) {
        if self.shared.token.wake_up() {
            rules::wait_for_token(|| drop(self.shared.desk()));
        }
    }

    /// What others have begun to send for the session and could not finish: it comes before all that
    /// the session itself has to send.
    pub fn take_left(&self) -> Vec<u8> {
        if !self.shared.token.take_left() {
            return Vec::new();
        }
        let left = std::mem::take(&mut self.shared.desk().left);
        self.first.set(left.event);
        left.bytes
    }

    /// The next event.
    pub fn next(&self) -> Option<Event> {
        let first = self.first.take();
        first.or_else(|| self.shared.next(&self.events))
    }

    /// The session has ended: nobody else writes to its socket, or keeps it open.
    pub fn retire(&self) {
        self.shared.token.wake_up();
        rules::wait_for_token(|| self.shared.desk().lent = None);
    }

    /// Whether somebody is in the middle of a write for the session.
    #[cfg(test)]
    pub(crate) fn is_written_for(&self) -> bool {
        self.shared.token.is_writing()
    }

    /// Why the session is to end, if it is.
    pub fn closed(&self) -> Option<&'static str> {
        self.closed_during(false)
    }

    /// Why the session is to end, if it is, also while its transaction is being committed.
    pub fn closed_during(&self, finishing: bool) -> Option<&'static str> {
        let close = self.shared.close.get();
        let dismiss = self.shared.dismiss.get().filter(|_| !finishing);
        close.or(dismiss).copied()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.retire();
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
        assert!(mailbox.post(Event::Invalidations(Box::new(Missed::Objects(
            Tid::ZERO,
            oids.clone()
        )))));
        assert!(mailbox.post(Event::Invalidations(Box::new(Missed::Objects(
            Tid::ZERO,
            oids
        )))));
        assert_eq!(std::iter::from_fn(|| inbox.next()).count(), 2);
    }
}
