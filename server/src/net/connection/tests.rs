//! Connections with another end that the test holds.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use slog::{Discard, Logger, o};
use zeo_proto::framing::FrameBuffer;
use zeo_proto::marshal::{Encoding, Flag, decode_message, encode_message};
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::MappingStorage;

use super::*;
use crate::messages::channel::unbounded;
use crate::messages::event::{Event, Missed};
use crate::messages::mailbox::{Mailbox, mailbox};
use crate::messages::notice::Notice;
use crate::messages::request::Request;
use crate::messages::requests::Requests;
use crate::settings::Settings;
use crate::status::stats::Stats;
use crate::storages::{ServedStorage, Storages};

pub(super) const READ: Interest = Interest {
    read: true,
    write: false,
    busy: false,
    lends: false,
    has_room: false,
};
pub(super) const LOOK: Option<Duration> = Some(Duration::ZERO);
/// Longer than anything takes: who waits for so long waits for ever.
pub(super) const FOR_EVER: Duration = Duration::from_secs(60);

/// A session and its connection, the other end of that, and the mailbox.
fn connected() -> (Session, Connection, UnixStream, Mailbox, Inbox) {
    connected_to(Storages::default())
}

pub(super) fn connected_to(
    storages: Storages,
) -> (Session, Connection, UnixStream, Mailbox, Inbox) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mailbox, inbox) = mailbox().unwrap();
    let settings = Settings {
        encoding: Encoding::Pickle,
        read_only: false,
        max_message_size: 1 << 20,
        client_conflict_resolution: false,
        conflict_resolver: None,
        invalidation_age: None,
        invalidation_queue_size: 100,
        transaction_timeout: None,
        ..Settings::default()
    };
    let session = Session::new(
        Arc::new(ClientStatus::new(1, "test".to_owned(), false)),
        Arc::new(settings),
        Arc::new(storages),
        mailbox.clone(),
        &Logger::root(Discard, o!()),
    );
    let stream = Stream::unix(ours).unwrap();
    let connection = Connection::new(stream, &session, &inbox).unwrap();
    (session, connection, theirs, mailbox, inbox)
}

/// The same of a client that has registered.
pub(crate) fn registered() -> (Session, Connection, UnixStream, Mailbox, Inbox) {
    let (storages, requests) = one_storage();
    let (mut session, mut connection, mut theirs, mailbox, inbox) = connected_to(storages);
    theirs.write_all(&hello()).unwrap();
    assert!(connection.wait(&inbox, READ).unwrap());
    connection.turn(&mut session, &inbox).unwrap();
    subscribed(&requests, &mailbox);
    (session, connection, theirs, mailbox, inbox)
}

fn run(mut connection: Connection, mut session: Session, inbox: &Inbox) {
    connection.run(&mut session, inbox, None, &Refusals::default());
}

#[test]
fn a_wake_up_that_comes_late_wakes_once() {
    let (mut session, mut connection, _theirs, mailbox, inbox) = connected();
    connection.turn(&mut session, &inbox).unwrap();
    connection.waiter.wait(LOOK).unwrap();
    assert!(inbox.fall_asleep(false));
    mailbox.wake_late(|| {
        assert!(mailbox.post_quietly(Event::Finished(Tid::ZERO)));
        connection.turn(&mut session, &inbox).unwrap();
    });
    assert!(connection.wait(&inbox, READ).unwrap());
    connection.turn(&mut session, &inbox).unwrap();
    assert!(inbox.next().is_none());
    let next = connection.waiter.wait(LOOK).unwrap();
    assert!(!next.woken, "the next wait would not wait");
    assert!(inbox.fall_asleep(false));
    assert!(mailbox.post(Event::Finished(Tid::ZERO)));
    assert!(inbox.has_news() && connection.waiter.wait(LOOK).unwrap().woken);
}

#[test]
fn only_who_sleeps_beside_news_is_woken() {
    let (mut session, mut connection, _theirs, mailbox, inbox) = connected();
    let is_woken = |connection: &mut Connection| {
        mailbox.wake();
        connection.waiter.wait(LOOK).unwrap().woken
    };
    assert!(mailbox.post(Event::Finished(Tid::ZERO)));
    assert!(!is_woken(&mut connection), "it is awake");
    assert!(!inbox.fall_asleep(false), "there are news");
    connection.turn(&mut session, &inbox).unwrap();
    assert!(inbox.fall_asleep(false));
    assert!(!is_woken(&mut connection), "there are none");
    assert!(mailbox.post_quietly(Event::Finished(Tid::ZERO)));
    assert!(is_woken(&mut connection));
    assert!(!is_woken(&mut connection), "once is enough");
    inbox.wake_up();
    mailbox.close("test");
    assert!(!inbox.fall_asleep(false) && inbox.closed().is_some());
}

#[test]
fn what_came_before_the_end_is_read_and_then_the_end() {
    let (mut session, mut connection, mut theirs, _mailbox, inbox) = connected();
    connection.turn(&mut session, &inbox).unwrap();
    let mut all = Vec::new();
    zeo_proto::framing::write_frame(&mut all, b"ruok");
    theirs.write_all(&all[..5]).unwrap();
    assert!(connection.wait(&inbox, READ).unwrap());
    assert!(!connection.stream.is_readable(), "all was read");
    theirs.write_all(&all[5..]).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    assert!(connection.wait(&inbox, READ).unwrap());
    assert!(
        connection.stream.is_readable(),
        "the end is still to be read"
    );
    assert!(connection.input.buffer.frame().unwrap() == Some(b"ruok"));
    assert!(!connection.finished);
    assert!(connection.wait(&inbox, READ).unwrap());
    assert!(connection.finished);
}

/// A storage whose coordinator is the test.
pub(super) fn one_storage() -> (Storages, crate::messages::channel::Receiver<Request>) {
    let (coordinator, requests) = unbounded();
    let handle = ServedStorage {
        storage: Arc::new(MappingStorage::new("test").unwrap()),
        stats: Arc::new(Stats::new(true)),
        coordinator: Requests::new(coordinator, Arc::new(())),
    };
    (Storages::of([("1".to_owned(), handle)]), requests)
}

/// Waits for the request that `register` leads to, and answers it.
pub(super) fn subscribed(
    requests: &crate::messages::channel::Receiver<Request>,
    mailbox: &Mailbox,
) {
    let request = requests.recv(Some(Instant::now() + FOR_EVER));
    assert!(matches!(request, Ok(Request::Subscribe { .. })));
    assert!(mailbox.post(Event::Registered(Tid::ZERO)));
}

/// A note of news that is taken together with others must not hide the end.
#[test]
fn who_is_closed_in_the_middle_of_a_turn_ends_with_it() {
    let (storages, requests) = one_storage();
    // So that the session can't ask it, and closes itself.
    drop(requests);
    let (mut session, mut connection, mut theirs, _mailbox, inbox) = connected_to(storages);
    theirs.write_all(&hello()).unwrap();
    assert!(connection.wait(&inbox, READ).unwrap());
    let turn = connection.turn(&mut session, &inbox).unwrap();
    assert!(matches!(turn, Turn::Ended("the server is stopping")));
}

fn call(id: i128, name: &str, args: Vec<Value<'_>>) -> Vec<u8> {
    let (mut frame, id, args) = (Vec::new(), Value::Int(id), Value::Tuple(args));
    encode_message(&mut frame, Encoding::Pickle, &id, Flag::Call, name, &args).unwrap();
    frame
}

/// Everything that a client sends until it may call.
pub(super) fn hello() -> Vec<u8> {
    let mut frames = Vec::new();
    let greeting = zeo_proto::handshake::greeting(Encoding::Pickle);
    zeo_proto::framing::write_frame(&mut frames, greeting);
    frames.extend(call(
        1,
        "register",
        vec![Value::str("1"), Value::Bool(false)],
    ));
    frames
}

/// The messages behind the greeting, up to the end.
pub(super) fn messages(stream: UnixStream) -> impl Iterator<Item = (Flag, i128)> {
    stream.set_read_timeout(Some(FOR_EVER)).unwrap();
    let (mut stream, mut received) = (stream, FrameBuffer::new(usize::MAX));
    let mut frames = std::iter::from_fn(move || {
        loop {
            if let Some(frame) = received.frame().unwrap().map(<[u8]>::to_vec) {
                received.consume(frame.len());
                return Some(frame);
            }
            let count = received.fill(|space| stream.read(space));
            if count.expect("nothing comes any more") == 0 {
                return None;
            }
        }
    });
    assert!(frames.next().is_some());
    frames.map(|frame| {
        let message = decode_message(&frame, Encoding::Pickle).unwrap();
        let Value::Int(id) = message.id else { panic!() };
        (message.flag, id)
    })
}

#[test]
fn who_ends_sending_still_gets_what_it_is_owed() {
    let (storages, requests) = one_storage();
    let (session, connection, mut theirs, mailbox, inbox) = connected_to(storages);
    theirs.write_all(&hello()).unwrap();
    theirs.write_all(&call(2, "ping", vec![])).unwrap();
    let changes = vec![Tid::MAX.into()];
    let question = call(3, "getInvalidations", changes);
    theirs.write_all(&question).unwrap();
    theirs.write_all(&call(4, "ping", vec![])).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let server = thread::spawn(move || run(connection, session, &inbox));
    let mut messages = messages(theirs);
    // The rest is held behind this one, and behind the end.
    subscribed(&requests, &mailbox);
    let ids: Vec<_> = messages.by_ref().take(3).map(|(_, id)| id).collect();
    assert_eq!(ids, [1, 2, 4]);
    assert!(!server.is_finished(), "an answer is on its way");
    assert!(mailbox.post(Event::Invalidations(Box::new(Missed::Objects(
        Tid::ZERO,
        vec![]
    )))));
    assert_eq!(messages.map(|(_, id)| id).collect::<Vec<_>>(), [3]);
    server.join().unwrap();
}

/// It reads nothing until the server stops, and then all of it.
#[test]
fn who_reads_late_gets_all_at_a_stop_of_the_server() {
    let (storages, requests) = one_storage();
    let (session, connection, mut theirs, mailbox, inbox) = connected_to(storages);
    let server = thread::spawn(move || run(connection, session, &inbox));
    theirs.write_all(&hello()).unwrap();
    subscribed(&requests, &mailbox);
    let mut messages = messages(theirs);
    assert_eq!(messages.next(), Some((Flag::Reply, 1)));
    let large = Arc::new(Notice::invalidate(Tid::ZERO, &vec![Oid::ZERO; 30_000]));
    for _ in 0..8 {
        assert!(mailbox.post(Event::Notice(Arc::clone(&large))));
    }
    mailbox.close(STOPPING);
    assert_eq!(messages.count(), 8);
    server.join().unwrap();
}

#[test]
fn what_was_posted_before_a_request_goes_out_before_its_answer() {
    let (mut session, mut connection, mut theirs, mailbox, inbox) = registered();
    connection.turn(&mut session, &inbox).unwrap();
    // The session sees both at once.
    theirs.write_all(&call(2, "ping", vec![])).unwrap();
    assert!(mailbox.post(Event::Notice(Arc::new(Notice::info(0, 0)))));
    assert!(connection.wait(&inbox, READ).unwrap());
    connection.turn(&mut session, &inbox).unwrap();
    drop((connection, inbox));
    let found: Vec<_> = messages(theirs).collect();
    assert_eq!(
        found,
        [(Flag::Reply, 1), (Flag::Async, 0), (Flag::Reply, 2)]
    );
}

#[test]
fn who_registers_may_stay_and_who_does_not_may_not() {
    let (storages, requests) = one_storage();
    let (mut session, mut connection, mut theirs, mailbox, inbox) = connected_to(storages);
    connection.turn(&mut session, &inbox).unwrap();
    theirs.write_all(&hello()).unwrap();
    assert!(connection.wait(&inbox, READ).unwrap());
    connection.turn(&mut session, &inbox).unwrap();
    let until = connection.until.take().unwrap();
    assert!(until <= Instant::now() + REGISTER_TIMEOUT);
    connection.until = Some(Instant::now());
    assert!(!connection.wait(&inbox, READ).unwrap(), "its time is over");
    subscribed(&requests, &mailbox);
    connection.turn(&mut session, &inbox).unwrap();
    assert_eq!(connection.until, None);
    mailbox.close("test");
    assert!(connection.wait(&inbox, READ).unwrap());
}

/// What is told and what is asked, each as soon as the answer to the one before
/// is there, while the session falls asleep behind that. Nothing else wakes
/// it: a wake-up that is lost leaves both sides waiting.
#[test]
fn no_wake_up_is_lost() {
    let (storages, requests) = one_storage();
    let (session, connection, mut theirs, mailbox, inbox) = connected_to(storages);
    let server = thread::spawn(move || run(connection, session, &inbox));
    theirs.write_all(&hello()).unwrap();
    subscribed(&requests, &mailbox);
    let mut messages = messages(theirs.try_clone().unwrap());
    assert!(messages.next().is_some());
    let small = Arc::new(Notice::info(0, 0));
    // Several of them are more than the output takes.
    let large = Arc::new(Notice::invalidate(Tid::ZERO, &vec![Oid::ZERO; 30_000]));
    let ping = call(2, "ping", vec![]);
    for round in 0..20_000 {
        // Earlier and later in what the session does meanwhile.
        (0..round % 301).for_each(|_| std::hint::spin_loop());
        let (posts, notice) = match round % 1000 {
            0 => (8, &large),
            _ => ([1, 0, 1, 2][round % 4], &small),
        };
        let asks = round % 4 == 1 || round % 4 == 2;
        if asks {
            theirs.write_all(&ping).unwrap();
        }
        for _ in 0..posts {
            assert!(mailbox.post_quietly(Event::Notice(Arc::clone(notice))));
        }
        mailbox.wake();
        let expected = posts + usize::from(asks);
        let replies = { messages.by_ref().take(expected) }
            .filter(|(flag, _)| *flag == Flag::Reply)
            .count();
        assert_eq!(replies, usize::from(asks));
    }
    theirs.shutdown(Shutdown::Write).unwrap();
    assert_eq!(messages.count(), 0);
    server.join().unwrap();
}

#[test]
fn more_than_a_read_takes_is_read_without_another_wait() {
    let (mut session, mut connection, mut theirs, _mailbox, inbox) = connected();
    connection.turn(&mut session, &inbox).unwrap();
    let frame = vec![7; 20_000];
    let mut sent = Vec::new();
    zeo_proto::framing::write_frame(&mut sent, &frame);
    theirs.write_all(&sent).unwrap();
    connection.input.buffer.set_limit(usize::MAX);
    while connection.input.buffer.frame().unwrap().is_none() {
        assert!(connection.wait(&inbox, READ).unwrap());
    }
    assert!(connection.input.buffer.frame().unwrap() == Some(&frame));
}

#[test]
fn who_rests_gives_its_buffers_back() {
    let (mut session, mut connection, mut theirs, _mailbox, inbox) = registered();
    theirs
        .write_all(&call(2, "ping", vec![]).repeat(100))
        .unwrap();
    assert!(connection.wait(&inbox, READ).unwrap());
    let mut rounds = 0;
    while let Turn::Wait(interest) = connection.turn(&mut session, &inbox).unwrap()
        && (interest.has_room || connection.stream.is_readable())
    {
        assert!(connection.wait(&inbox, interest).unwrap());
        rounds += 1;
    }
    assert!(rounds > 1, "there was nothing to give back");
    assert_eq!(
        (connection.input.buffer.allocated(), session.output.room()),
        (0, 0)
    );
}
