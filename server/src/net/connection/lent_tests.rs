//! Sockets that are lent to who publishes, with another end that the test holds.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use zeo_proto::marshal::{Encoding, Flag};
use zeo_proto::{Oid, Tid};

use super::tests::{FOR_EVER, LOOK, messages, registered};
use super::*;
use crate::messages::event::Event;
use crate::messages::mailbox::Mailbox;
use crate::messages::notice::Notice;

/// A session that sleeps behind its answer to `register`, and what else `connected_to` gives.
fn asleep() -> (Session, Connection, UnixStream, Mailbox, Inbox) {
    let (mut session, mut connection, theirs, mailbox, inbox) = registered();
    let sleeps = sleeps(&mut session, &mut connection, &inbox);
    assert!(sleeps && connection.waiter.wait(LOOK).is_ok());
    (session, connection, theirs, mailbox, inbox)
}

/// One turn; whether the session sleeps and lends its socket then.
fn sleeps(session: &mut Session, connection: &mut Connection, inbox: &Inbox) -> bool {
    inbox.wake_up();
    match connection.turn(session, inbox).unwrap() {
        Turn::Wait(interest) => interest.fall_asleep(inbox) && interest.lends,
        Turn::Ended(reason) => panic!("{reason}"),
    }
}

/// An invalidation of so many objects, and its frame.
fn invalidation(tid: u64, oids: usize) -> (Event, Vec<u8>) {
    let notice = Arc::new(Notice::invalidate(Tid::new(tid), &vec![Oid::ZERO; oids]));
    let frame = notice.frame(Encoding::Pickle).to_vec();
    (Event::Notice(notice), frame)
}

#[test]
fn who_sleeps_with_nothing_to_write_is_told_without_being_woken() {
    let (mut session, connection, theirs, mailbox, inbox) = asleep();
    let before = connection.status.sent.get();
    let (event, frame) = invalidation(1, 3);
    assert!(mailbox.post(event));
    assert!(!connection.waiter.wait(LOOK).unwrap().woken && !inbox.has_news());
    assert_eq!(mailbox.load(), (0, 0));
    let sent = connection.status.sent.get() - before;
    assert_eq!(sent, frame.len() as u64);
    // What is not a notice still wakes it.
    assert!(mailbox.post(Event::Finished(Tid::ZERO)));
    assert!(connection.waiter.wait(LOOK).unwrap().woken);
    session.end("test");
    drop((connection, inbox));
    let found: Vec<_> = messages(theirs).collect();
    assert_eq!(found, [(Flag::Reply, 1), (Flag::Async, 0)]);
}

/// Nothing waits for a client that does not read: what its socket does not take is left to the
/// session, in order.
#[test]
fn what_a_full_socket_does_not_take_is_sent_by_the_session() {
    let (mut session, mut connection, theirs, mailbox, inbox) = asleep();
    let tids = 1..=50;
    for tid in tids.clone() {
        assert!(mailbox.post(invalidation(tid, 2000).0));
    }
    assert!(connection.waiter.wait(LOOK).unwrap().woken && inbox.has_news());
    assert!(
        !sleeps(&mut session, &mut connection, &inbox),
        "it has output"
    );
    let reader = std::thread::spawn(move || messages(theirs).count());
    let begun = Instant::now();
    while !sleeps(&mut session, &mut connection, &inbox) {
        assert!(begun.elapsed() < FOR_EVER);
        std::thread::yield_now();
    }
    drop((connection, inbox));
    assert_eq!(reader.join().unwrap(), 1 + tids.count());
}

/// The system would give its descriptor to the next connection, while a publisher writes to it.
#[test]
fn a_socket_that_was_lent_is_closed_with_its_session_and_not_written_to_any_more() {
    let (session, connection, theirs, mailbox, inbox) = asleep();
    inbox.retire();
    drop((session, connection));
    assert_eq!(messages(theirs).count(), 1, "it is closed");
    assert!(mailbox.post(invalidation(1, 1).0));
    assert_eq!(inbox.next().map(|_| ()), Some(()), "nobody has sent it");
}
