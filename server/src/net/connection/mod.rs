//! The thread of one client: it reads and writes the socket, and waits for it
//! and for the mailbox at once. While it waits with nothing to write, others
//! may send notices in its place (`outlet.rs`).

mod handshake;
mod input;
mod interest;
mod outlet;

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{debug, error};
use zeo_proto::framing::FrameError;
use zeo_proto::stream::{Ready, Stream, Waiter};

use self::input::{Input, too_slow};
use self::interest::{Interest, REST};
use self::outlet::{LentSocket, write};
use crate::messages::mailbox::{Inbox, STOPPING};
use crate::messages::rules;
use crate::net::gate::Newcomer;
use crate::net::refusals::Refusals;
use crate::session::{Flow, Session};
use crate::status::client::ClientStatus;
use crate::status::outcomes::TlsRefusal;

/// When this much waits to be sent, nothing more is read or taken from the
/// mailbox until the client has read.
const OUTPUT_LIMIT_BYTES: usize = 1 << 20;
/// With TLS, so much is read although it can't be answered yet, since only a read finds a
/// close_notify.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// The most room that each of the buffers of a client keeps for which nothing happens.
const KEPT_BYTES: usize = 1024;
/// How long to wait for a client that has ended its sending half to take the
/// answers that it is owed.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take its output when the server stops. Less than the server waits for
/// sessions then.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take to register, so that silent ones don't keep
/// others out.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client's socket, with what was received and what is to be sent.
pub struct Connection {
    waiter: Waiter,
    stream: Stream,
    /// The client sends no more.
    ended: bool,
    /// It is served until then: a stranger, or one that sends no more.
    until: Option<Instant>,
    /// All that it has sent was read.
    finished: bool,
    /// Nothing can be sent to it any more.
    gone: bool,
    input: Input,
    state: State,
    /// There are events that were left in the mailbox.
    mail: bool,
    /// Where its bytes are counted.
    status: Arc<ClientStatus>,
    /// It speaks TLS where there is none.
    speaks_tls: bool,
    /// Others know the socket, and use it when it is lent.
    lends: bool,
    /// Nothing has happened for a while.
    rests: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Frames are taken as they come.
    Reading,
    /// The first frame in the buffer waits for the mailbox.
    Holding,
    /// Only to send what is left, if that goes at once.
    Closing,
    /// The server stops: to send what is left, and nothing else.
    Leaving,
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
    ///
    /// # Errors
    /// The socket can't be configured, or the system has no descriptor left.
    pub fn new(stream: Stream, session: &Session, inbox: &Inbox) -> io::Result<Self> {
        Ok(Self {
            waiter: Waiter::new(&stream, inbox.descriptor())?,
            stream,
            ended: false,
            until: Some(Instant::now() + REGISTER_TIMEOUT),
            finished: false,
            gone: false,
            input: Input::new(session.frame_limit(), session.memory()),
            state: State::Reading,
            mail: false,
            status: Arc::clone(session.status()),
            speaks_tls: false,
            lends: false,
            rests: false,
        })
    }

    /// Serves the client until it goes, or has to. With TLS, it is a
    /// newcomer until the handshake is done.
    pub fn run(
        &mut self,
        session: &mut Session,
        inbox: &Inbox,
        newcomer: Option<Newcomer>,
        refusals: &Refusals,
    ) {
        let served = catch_unwind(AssertUnwindSafe(|| {
            if let Some(newcomer) = newcomer
                && let Some(reason) = self.shake_hands(newcomer, session, inbox, refusals)?
            {
                return Ok(reason);
            }
            let reason = self.serve(session, inbox);
            if self.speaks_tls {
                let log = session.log();
                refusals.note(
                    log,
                    &session.status().address,
                    TlsRefusal::TlsAtPlainAddress,
                    &FrameError::Tls,
                );
            }
            reason
        }));
        inbox.retire();
        self.stream.close();
        let reason = match served {
            Ok(Ok(reason)) => reason.to_owned(),
            Ok(Err(why)) => why.to_string(),
            Err(_) => {
                error!(
                    session.log(),
                    "the session has failed, and its connection is closed: this is a bug"
                );
                "an internal error".to_owned()
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
                if let Some(reason) = inbox.closed() {
                    return Ok(reason);
                }
                let has_gone = self.gone || self.ended;
                return Ok(if has_gone {
                    self.farewell()
                } else {
                    "it does not register"
                });
            }
        }
    }

    /// Waits, unless there is something to do, and reads what has come; false
    /// when the client has gone, or its time is over.
    fn wait(&mut self, inbox: &Inbox, interest: Interest) -> io::Result<bool> {
        let read = interest.read && !self.finished;
        let has_more = read && self.stream.is_readable();
        self.input.take_memory()?;
        let deadline = if read { self.input.deadline() } else { None };
        if !has_more && !self.gone {
            // With news in the mailbox this is only a look at the socket.
            let sleeps = interest.fall_asleep(inbox);
            let timeout = if sleeps {
                let until = self.until.into_iter().chain(deadline).min();
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                left.into_iter()
                    .chain(interest.has_room.then_some(REST))
                    .min()
            } else {
                Some(Duration::ZERO)
            };
            let ready = self.waiter.wait(timeout);
            inbox.wake_up();
            let ready = ready?;
            self.rests = sleeps && interest.has_room && ready == Ready::default();
            self.note(ready);
        }
        if read && self.stream.is_readable() {
            self.input.take_memory_to_read()?;
            self.receive()?;
            return Ok(true);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(too_slow());
        }
        // Who has only stopped sending may still read what it is owed.
        Ok(!self.gone && self.until.is_none_or(|until| Instant::now() < until))
    }

    fn note(&mut self, ready: Ready) {
        self.stream.note(ready);
        self.gone |= ready.gone;
        if ready.ended && !self.ended {
            self.ended = true;
            self.until = Some(Instant::now() + LINGER_TIMEOUT);
        }
    }

    /// Does all that can be done without waiting. Between the mailbox and
    /// requests there is an order: see "answer, then drain" in `THREADS.md`.
    pub(crate) fn turn(&mut self, session: &mut Session, inbox: &Inbox) -> io::Result<Turn> {
        if std::mem::take(&mut self.rests) {
            self.input.buffer.trim();
            session.output.trim();
        }
        loop {
            // Whoever closes has posted before what the client is still owed.
            let closed = inbox.closed_during(session.is_finishing());
            rules::left_comes_first(
                session,
                |session| session.output.buffer().append(&mut inbox.take_left()),
                |session| self.take_all(session, inbox),
            );
            if self.ended {
                session.give_up_waiting();
            }
            let was_full = session.output.len() >= OUTPUT_LIMIT_BYTES;
            let sent = self.send(session);
            // A request of this turn may have begun a commit.
            if let Some(reason) = closed.and(inbox.closed_during(session.is_finishing())) {
                let is_done = session.output.is_empty() && !self.mail;
                if is_done || sent.is_err() || !self.leaves(reason) {
                    return Ok(Turn::Ended(reason));
                }
                if session.output.is_empty() {
                    continue;
                }
                return Ok(Turn::Wait(Interest {
                    read: false,
                    write: true,
                    busy: false,
                    lends: false,
                    has_room: false,
                }));
            }
            sent?;
            if self.state == State::Closing {
                // What a socket does not take, nobody reads: its client is
                // not to keep its locks for that.
                return Ok(Turn::Ended("closed"));
            }
            let is_full = session.output.len() >= OUTPUT_LIMIT_BYTES;
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
            if self.finished && self.is_even(session) {
                return Ok(Turn::Ended(self.farewell()));
            }
            if session.is_registered() && !self.ended {
                self.until = None;
            }
            if inbox.closed_during(session.is_finishing()).is_some() {
                // Since the turn began; the news of it may be taken note of.
                continue;
            }
            return Ok(Turn::Wait(Interest {
                read: (self.state == State::Reading && !is_full) || self.reads_ahead(),
                write: !session.output.is_empty() || session.has_chunks(),
                busy: session.output.is_empty() && session.has_chunks(),
                lends: self.may_lend(session, inbox),
                has_room: self.input.buffer.allocated().max(session.output.room()) > KEPT_BYTES,
            }));
        }
    }

    /// Whether others may write to the socket while the session sleeps now.
    fn may_lend(&mut self, session: &Session, inbox: &Inbox) -> bool {
        let has_nothing_to_write = session.output.is_empty() && !session.has_chunks() && !self.mail;
        if self.ended || !session.is_registered() || !rules::may_lend(has_nothing_to_write) {
            return false;
        }
        if !self.lends
            && let Some(socket) = LentSocket::of(&self.stream, &self.status)
        {
            inbox.lend(Box::new(socket), session.encoding());
            self.lends = true;
        }
        self.lends
    }

    /// Whether a client that is closed for this reason may take its output first: it does no
    /// harm, and is only closed because the server stops.
    fn leaves(&mut self, reason: &str) -> bool {
        if reason != STOPPING || self.gone {
            return false;
        }
        if self.state != State::Leaving {
            self.state = State::Leaving;
            self.until = Some(Instant::now() + LEAVE_TIMEOUT);
        }
        true
    }

    /// Whether to look for the client's end behind requests that have to wait.
    fn reads_ahead(&self) -> bool {
        self.stream.is_tls() && self.input.buffer.buffered() < READ_AHEAD_BYTES
    }

    /// What is said of a client that has gone.
    fn farewell(&self) -> &'static str {
        if self.stream.is_truncated() {
            "the client has gone without TLS's close_notify: it was killed, or the connection cut"
        } else {
            "the client has gone"
        }
    }

    /// True when the client is owed nothing: frames are left in the buffer
    /// only where there is no room for their answers.
    fn is_even(&self, session: &Session) -> bool {
        self.state == State::Reading && session.output.is_empty() && !session.is_owed()
    }

    /// Answers requests and takes events, until none is left or too much
    /// waits to be sent.
    fn take_all(&mut self, session: &mut Session, inbox: &Inbox) {
        loop {
            self.answer_frames(session, inbox);
            if !self.take_mail(session, inbox) {
                return;
            }
        }
    }

    /// Answers the requests that are there, as far as they can be now. What
    /// was posted before goes out before: the client may know of it already,
    /// from the one that has caused it.
    fn answer_frames(&mut self, session: &mut Session, inbox: &Inbox) {
        while self.state == State::Reading && session.output.len() < OUTPUT_LIMIT_BYTES {
            if self.take_mail(session, inbox) {
                continue;
            }
            self.input.buffer.set_limit(session.frame_limit());
            let flow = match self.input.buffer.frame() {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    let (length, before) = (frame.len(), session.output.len());
                    let flow = session.on_frame(frame);
                    rules::after_answer(session, before, || inbox.next());
                    if flow != Flow::Hold {
                        self.input.consume(length);
                    }
                    if session.has_waited() && self.has_more() {
                        session.was_wanted();
                    }
                    flow
                }
                Err(FrameError::Tls) => {
                    self.speaks_tls = true;
                    Flow::Close
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

    /// Whether the client has sent more than was answered.
    fn has_more(&mut self) -> bool {
        if self.input.buffer.buffered() == 0
            && let Ok(ready) = self.waiter.wait(Some(Duration::ZERO))
        {
            self.note(ready);
        }
        self.input.buffer.buffered() > 0 || self.stream.is_readable()
    }

    /// Empties the mailbox as far as there is room in the output; false when
    /// there was nothing, or no room.
    fn take_mail(&mut self, session: &mut Session, inbox: &Inbox) -> bool {
        if inbox.has_news() {
            inbox.take_note();
            self.mail = true;
        }
        if !self.mail || session.output.len() >= OUTPUT_LIMIT_BYTES {
            return false;
        }
        self.mail = false;
        while let Some(event) = inbox.next() {
            session.on_event(event);
            if session.output.len() >= OUTPUT_LIMIT_BYTES {
                self.mail = true;
                break;
            }
        }
        if self.state == State::Holding {
            self.state = State::Reading;
        }
        true
    }

    /// Reads what is there, up to the room in the buffer.
    pub(crate) fn receive(&mut self) -> io::Result<Option<usize>> {
        let stream = &mut self.stream;
        let received = would_block(self.input.buffer.fill(|space| stream.read(space)))?;
        if received == Some(0) {
            self.finished = true;
            self.note(Ready {
                ended: true,
                ..Ready::default()
            });
        }
        self.status.received.add(received.unwrap_or(0) as u64);
        Ok(received)
    }

    fn send(&mut self, session: &mut Session) -> io::Result<()> {
        let output = &mut session.output;
        while !output.is_empty() {
            let next = match output.next() {
                Ok(next) => next,
                Err(why) => {
                    error!(
                        session.log(),
                        "{why}; the client is disconnected, since a part of its answer is sent"
                    );
                    return Err(io::Error::other("its answer can't be read"));
                }
            };
            match would_block(write(&mut self.stream, next))? {
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(count) => {
                    output.advance(count);
                    self.status.sent.add(count as u64);
                }
                None => break,
            }
            if self.ended {
                self.until = Some(Instant::now() + LINGER_TIMEOUT);
            }
        }
        output.settle();
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

#[cfg(test)]
mod lent_tests;
#[cfg(test)]
pub(crate) mod tests;
