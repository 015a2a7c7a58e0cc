//! The thread of one client: it alone reads and writes the socket, and waits
//! for it and for the mailbox at once.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use slog::{debug, error};
use zeo_proto::framing::FrameBuffer;
use zeo_proto::stream::{Ready, Stream, Waiter};

use crate::mailbox::Inbox;
use crate::order::{Rule, is_broken};
use crate::session::{Flow, Session};

/// With so much waiting to be sent, nothing more is read or taken from the
/// mailbox: the client is to read first.
const OUTPUT_LIMIT: usize = 1 << 20;
/// An output buffer larger than this is given back when it is empty.
const OUTPUT_KEEP: usize = 64 * 1024;

/// A client's socket, and what has come by it or is to go.
pub struct Connection {
    waiter: Waiter,
    stream: Stream,
    /// Reading may find something. Only a change of that is told.
    readable: bool,
    /// The client sends no more.
    ended: bool,
    /// Nothing can be sent to it any more.
    gone: bool,
    input: FrameBuffer,
    /// How much of the session's output is sent.
    sent: usize,
    state: State,
    /// There are events that were left in the mailbox.
    mail: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Frames are taken as they come.
    Reading,
    /// The first frame in the buffer waits for the mailbox.
    Holding,
    /// Only to send what is left.
    Closing,
}

/// What to wait for, beside the mailbox and the client's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interest {
    /// Until there is something to read.
    read: bool,
    /// Until there is room to write.
    write: bool,
    /// There is room, and more to write: the wait is only a look.
    busy: bool,
}

/// What remains after a turn.
pub(crate) enum Turn {
    /// To wait for this, or for the mailbox.
    Wait(Interest),
    /// Nothing: the connection has ended, for this reason.
    Ended(&'static str),
}

impl Connection {
    /// A connection by `stream`, for a session with this inbox.
    pub fn new(stream: Stream, session: &Session, inbox: &Inbox) -> io::Result<Self> {
        Ok(Self {
            waiter: Waiter::new(&stream, inbox.descriptor())?,
            stream,
            readable: false,
            ended: false,
            gone: false,
            input: FrameBuffer::new(session.frame_limit()),
            sent: 0,
            state: State::Reading,
            mail: false,
        })
    }

    /// Serves the client until it goes, or has to.
    pub fn run(mut self, mut session: Session, inbox: &Inbox) {
        let served = catch_unwind(AssertUnwindSafe(|| self.serve(&mut session, inbox)));
        let reason = match served {
            Ok(Ok(reason)) => reason.to_owned(),
            Ok(Err(why)) => why.to_string(),
            Err(_) => {
                error!(
                    session.log(),
                    "the session has failed: this is a bug; its client is closed"
                );
                "a bug".to_owned()
            }
        };
        debug!(session.log(), "closing: {reason}");
        session.end(&reason);
    }

    /// Serves until the connection has ended; returns why.
    fn serve(&mut self, session: &mut Session, inbox: &Inbox) -> io::Result<&'static str> {
        loop {
            let interest = match self.turn(session, inbox)? {
                Turn::Wait(interest) => interest,
                Turn::Ended(reason) => return Ok(reason),
            };
            if !self.wait(inbox, interest)? {
                return Ok("the client has gone");
            }
        }
    }

    /// Waits, unless there is something to do, and reads what has come; false
    /// when the client has gone.
    fn wait(&mut self, inbox: &Inbox, interest: Interest) -> io::Result<bool> {
        let read = interest.read;
        if !(read && self.readable) {
            // With news in the mailbox this is only a look at the socket.
            let ready = self.waiter.wait(!interest.busy && inbox.fall_asleep());
            inbox.wake_up();
            self.note(ready?);
        }
        match read && self.readable {
            true => Ok(self.receive()? != Some(0)),
            // Who has only stopped sending may still read what is left.
            false => Ok(!(self.gone || self.ended && !interest.write)),
        }
    }

    fn note(&mut self, ready: Ready) {
        self.readable |= ready.read;
        self.ended |= ready.ended;
        self.gone |= ready.gone;
    }

    /// Does all that can be done without waiting. Requests come first and the
    /// mailbox after them: see the rule "answer, then drain" in `THREADS.md`.
    pub(crate) fn turn(&mut self, session: &mut Session, inbox: &Inbox) -> io::Result<Turn> {
        loop {
            // Whoever closes has posted before what the client is still owed.
            let closed = inbox.closed();
            self.take_all(session, inbox);
            let was_full = session.output.len() >= OUTPUT_LIMIT;
            let sent = self.send(session);
            if let Some(reason) = closed {
                return Ok(Turn::Ended(reason));
            }
            sent?;
            if self.state == State::Closing {
                // What a socket does not take, nobody reads: its client is
                // not to keep its locks for that.
                return Ok(Turn::Ended("closed"));
            }
            let is_full = session.output.len() >= OUTPUT_LIMIT;
            if was_full && !is_full {
                // Requests and events were left until there is room again.
                continue;
            }
            if session.output.is_empty() && session.add_chunk() {
                // One at a time, so that requests and events come in between.
                self.send(session)?;
                if self.state == State::Holding {
                    // The request may have waited for the end of a blob.
                    self.state = State::Reading;
                    continue;
                }
            }
            return Ok(Turn::Wait(Interest {
                read: self.state == State::Reading && !is_full,
                write: !session.output.is_empty() || session.has_chunks(),
                busy: session.output.is_empty() && session.has_chunks(),
            }));
        }
    }

    /// Answers requests and takes events, until none is left or too much
    /// waits to be sent.
    fn take_all(&mut self, session: &mut Session, inbox: &Inbox) {
        loop {
            self.answer_frames(session, inbox);
            if inbox.has_news() {
                inbox.take_note();
                self.mail = true;
            }
            if !self.mail || session.output.len() >= OUTPUT_LIMIT {
                return;
            }
            self.empty_mailbox(session, inbox);
        }
    }

    /// Answers the requests that are there, as far as they can be now.
    fn answer_frames(&mut self, session: &mut Session, inbox: &Inbox) {
        while self.state == State::Reading && session.output.len() < OUTPUT_LIMIT {
            self.input.set_limit(session.frame_limit());
            let flow = match self.input.frame() {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    let (length, before) = (frame.len(), session.output.len());
                    let flow = session.on_frame(frame);
                    if is_broken(Rule::AnswerThenDrain) {
                        let reply = session.output.split_off(before);
                        std::iter::from_fn(|| inbox.next())
                            .for_each(|event| session.on_event(event));
                        session.output.extend(reply);
                    }
                    if flow != Flow::Hold {
                        self.input.consume(length);
                    }
                    flow
                }
                Err(why) => {
                    error!(session.log(), "{why}");
                    Flow::Close
                }
            };
            self.state = match flow {
                Flow::Continue => State::Reading,
                Flow::Hold => State::Holding,
                Flow::Close => State::Closing,
            };
        }
    }

    fn empty_mailbox(&mut self, session: &mut Session, inbox: &Inbox) {
        self.mail = false;
        while let Some(event) = inbox.next() {
            session.on_event(event);
            if session.output.len() >= OUTPUT_LIMIT {
                self.mail = true;
                break;
            }
        }
        if self.state == State::Holding {
            self.state = State::Reading;
        }
    }

    pub(crate) fn receive(&mut self) -> io::Result<Option<usize>> {
        let (stream, mut room) = (&mut self.stream, 0);
        let received = self.input.fill(|space| {
            room = space.len();
            uninterrupted(|| stream.read(space))
        });
        let received = would_block(received)?;
        // Less than there was room for: no more has come, but maybe the end.
        self.readable &= received == Some(room) || self.ended;
        Ok(received)
    }

    fn send(&mut self, session: &mut Session) -> io::Result<()> {
        let output = &mut session.output;
        while self.sent < output.len() {
            let rest = &output[self.sent..];
            match would_block(uninterrupted(|| self.stream.write(rest)))? {
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(count) => self.sent += count,
                None => break,
            }
        }
        if self.sent == output.len() {
            output.clear();
            self.sent = 0;
            if output.capacity() > OUTPUT_KEEP {
                *output = Vec::new();
            }
        } else if self.sent > output.len() / 2 {
            output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}

/// `None` when the socket is not ready.
fn would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use slog::{Discard, Logger, o};
    use zeo_proto::Tid;
    use zeo_proto::marshal::Encoding;

    use super::*;
    use crate::mailbox::{Event, Mailbox, mailbox};
    use crate::server::{Settings, Shelf};

    const READ: Interest = Interest {
        read: true,
        write: false,
        busy: false,
    };

    /// A session and its connection, the other end of that, and the mailbox.
    fn connected() -> (Session, Connection, UnixStream, Mailbox, Inbox) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mailbox, inbox) = mailbox().unwrap();
        let settings = Settings {
            encoding: Encoding::Pickle,
            read_only: false,
            max_message_size: 1 << 20,
            client_conflict_resolution: false,
            invalidation_age: None,
            invalidation_queue_size: 100,
            transaction_timeout: None,
        };
        let session = Session::new(
            1,
            "test".into(),
            Arc::new(settings),
            Arc::new(Shelf::default()),
            mailbox.clone(),
            &Logger::root(Discard, o!()),
        );
        let stream = Stream::unix(ours).unwrap();
        let connection = Connection::new(stream, &session, &inbox).unwrap();
        (session, connection, theirs, mailbox, inbox)
    }

    #[test]
    fn a_wake_up_that_comes_late_wakes_once() {
        let (mut session, mut connection, _theirs, mailbox, inbox) = connected();
        connection.turn(&mut session, &inbox).unwrap();
        connection.waiter.wait(false).unwrap();
        assert!(inbox.fall_asleep());
        mailbox.wake_late(|| {
            assert!(mailbox.post_quietly(Event::Finished(Tid::ZERO)));
            connection.turn(&mut session, &inbox).unwrap();
        });
        assert!(connection.wait(&inbox, READ).unwrap());
        connection.turn(&mut session, &inbox).unwrap();
        assert!(inbox.next().is_none());
        let next = connection.waiter.wait(false).unwrap();
        assert!(!next.woken, "the next wait would not wait");
        assert!(inbox.fall_asleep());
        assert!(mailbox.post(Event::Finished(Tid::ZERO)));
        assert!(inbox.has_news() && connection.waiter.wait(false).unwrap().woken);
    }

    #[test]
    fn only_who_sleeps_beside_news_is_woken() {
        let (mut session, mut connection, _theirs, mailbox, inbox) = connected();
        let is_woken = |connection: &mut Connection| {
            mailbox.wake();
            connection.waiter.wait(false).unwrap().woken
        };
        assert!(mailbox.post(Event::Finished(Tid::ZERO)));
        assert!(!is_woken(&mut connection), "it is awake");
        assert!(!inbox.fall_asleep(), "there are news");
        connection.turn(&mut session, &inbox).unwrap();
        assert!(inbox.fall_asleep());
        assert!(!is_woken(&mut connection), "there are none");
        assert!(mailbox.post_quietly(Event::Finished(Tid::ZERO)));
        assert!(is_woken(&mut connection));
        assert!(!is_woken(&mut connection), "once is enough");
        inbox.wake_up();
        mailbox.close("test");
        assert!(!inbox.fall_asleep() && inbox.closed().is_some());
    }

    #[test]
    fn what_came_before_the_end_is_read_and_then_the_end() {
        let (mut session, mut connection, mut theirs, _mailbox, inbox) = connected();
        connection.turn(&mut session, &inbox).unwrap();
        let mut all = Vec::new();
        zeo_proto::framing::write_frame(&mut all, b"ruok");
        theirs.write_all(&all[..5]).unwrap();
        assert!(connection.wait(&inbox, READ).unwrap());
        assert!(!connection.readable, "all was read");
        theirs.write_all(&all[5..]).unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert!(connection.wait(&inbox, READ).unwrap());
        assert!(connection.readable, "the end is still to be read");
        assert!(connection.input.frame().unwrap() == Some(b"ruok"));
        assert!(!connection.wait(&inbox, READ).unwrap());
    }

    #[test]
    fn more_than_a_read_takes_is_read_without_another_wait() {
        let (mut session, mut connection, mut theirs, _mailbox, inbox) = connected();
        connection.turn(&mut session, &inbox).unwrap();
        let frame = vec![7; 20_000];
        let mut sent = Vec::new();
        zeo_proto::framing::write_frame(&mut sent, &frame);
        theirs.write_all(&sent).unwrap();
        connection.input.set_limit(usize::MAX);
        while connection.input.frame().unwrap().is_none() {
            assert!(connection.wait(&inbox, READ).unwrap());
        }
        assert!(connection.input.frame().unwrap() == Some(&frame));
    }
}
