//! The thread of one client: it alone reads and writes the socket, and waits
//! for it and for the mailbox at once.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use slog::{debug, error};
use zeo_proto::framing::FrameBuffer;
use zeo_proto::stream::{Interest, Stream};

use crate::mailbox::Inbox;
use crate::order::{Rule, is_broken};
use crate::session::{Flow, Session};

/// With so much waiting to be sent, nothing more is read or taken from the
/// mailbox: the client is to read first.
const OUTPUT_LIMIT: usize = 1 << 20;
/// An output buffer larger than this is given back when it is empty.
const OUTPUT_KEEP: usize = 64 * 1024;

/// Serves the client until it goes, or has to.
pub fn run(stream: Stream, mut session: Session, inbox: &Inbox) {
    let mut connection = Connection::new(stream, &session);
    let served = catch_unwind(AssertUnwindSafe(|| connection.serve(&mut session, inbox)));
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

pub(crate) struct Connection {
    stream: Stream,
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

/// What remains after a turn.
pub(crate) enum Turn {
    /// To wait for this, or for the mailbox.
    Wait(Interest),
    /// Nothing: the connection has ended, for this reason.
    Ended(&'static str),
}

impl Connection {
    pub(crate) fn new(stream: Stream, session: &Session) -> Self {
        Self {
            stream,
            input: FrameBuffer::new(session.frame_limit()),
            sent: 0,
            state: State::Reading,
            mail: false,
        }
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

    /// Waits, and reads what has come; false when the client has gone.
    fn wait(&mut self, inbox: &Inbox, interest: Interest) -> io::Result<bool> {
        let ready = self.stream.wait(inbox.descriptor(), interest)?;
        if ready.woken {
            // Even if there is no news: the wake-up may come after its event
            // was taken, and would be found again by every wait.
            inbox.clear();
            self.mail = true;
        }
        match ready.read {
            true => Ok(self.receive()? != Some(0)),
            false => Ok(!ready.hung_up),
        }
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
            return Ok(Turn::Wait(Interest {
                read: self.state == State::Reading && !is_full,
                write: !session.output.is_empty(),
            }));
        }
    }

    /// Answers requests and takes events, until none is left or too much
    /// waits to be sent.
    fn take_all(&mut self, session: &mut Session, inbox: &Inbox) {
        loop {
            self.answer_frames(session, inbox);
            if inbox.has_news() {
                inbox.clear();
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
        let stream = &mut self.stream;
        would_block(self.input.fill(|space| stream.read(space)))
    }

    fn send(&mut self, session: &mut Session) -> io::Result<()> {
        let output = &mut session.output;
        while self.sent < output.len() {
            match would_block(self.stream.write(&output[self.sent..]))? {
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

/// `None` when the socket is not ready after all.
fn would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use slog::{Discard, Logger, o};
    use zeo_proto::Tid;
    use zeo_proto::marshal::Encoding;

    use super::*;
    use crate::mailbox::{Event, mailbox};
    use crate::server::{Settings, Shelf};

    const READ: Interest = Interest {
        read: true,
        write: false,
    };

    #[test]
    fn a_wake_up_that_comes_late_wakes_once() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
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
        let mut session = Session::new(
            1,
            "test".into(),
            Arc::new(settings),
            Arc::new(Shelf::default()),
            mailbox.clone(),
            &Logger::root(Discard, o!()),
        );
        let stream = Stream::unix(ours).unwrap();
        let mut connection = Connection::new(stream, &session);
        mailbox.wake_late(|| {
            assert!(mailbox.post_quietly(Event::Finished(Tid::ZERO)));
            connection.turn(&mut session, &inbox).unwrap();
        });
        assert!(connection.wait(&inbox, READ).unwrap());
        connection.turn(&mut session, &inbox).unwrap();
        assert!(inbox.next().is_none());
        assert!(!inbox.is_woken(), "the next wait would not wait");
        assert!(mailbox.post(Event::Finished(Tid::ZERO)));
        assert!(inbox.has_news() && inbox.is_woken());
    }
}
