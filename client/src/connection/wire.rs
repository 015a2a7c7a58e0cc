//! Frames in and out, with a time limit on each wait.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use openssl::ssl::Ssl;
use rustix::event::PollFlags;
use zeo_proto::framing::{FrameBuffer, FrameError, write_frame};
use zeo_proto::marshal::Encoding;
use zeo_proto::message::encode_keep_alive;
use zeo_proto::stream::{HandshakeError, Ready, Stream};

use super::Options;
use crate::address::Address;
use crate::cancel::{Cancels, Waited};
use crate::connection_error::{ConnectionError, MessageError};
use crate::dial::dial;

/// The longest greeting to take, in bytes: that of a server has a few.
const GREETING_LIMIT: usize = 1024;

/// How often a client tells the server that it is there, while it waits.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// The most to take in, in bytes, while the server does not take what is to be sent.
const UNREAD_LIMIT: usize = 16 << 20;

/// How a record of TLS begins that a server sends first: an alert or a handshake, version 3.
const TLS_RECORDS: [usize; 2] = [0x1503, 0x1603];

/// A stream, what has come in, what is to go out, and until when to wait.
#[derive(Debug)]
pub(crate) struct Wire {
    address: Address,
    stream: Stream,
    input: FrameBuffer,
    output: Vec<u8>,
    /// What to wait for at most, and when that is over; none: for ever.
    limit: Option<(Duration, Instant)>,
    /// Behind the greeting: how messages are encoded, and when the next heartbeat is due.
    heartbeat: Option<(Encoding, Instant)>,
    is_tls: bool,
    cancels: Cancels,
}

impl Wire {
    /// Connects; the time for the greetings goes on.
    pub fn open(address: &Address, options: &Options) -> Result<Self, ConnectionError> {
        let until = Instant::now() + options.connect_limit;
        let session = options.tls.as_ref().map(|tls| tls.session(address));
        let session = session.transpose()?;
        let wire = Self {
            address: address.clone(),
            stream: dial(address, until, &options.cancels)?,
            input: FrameBuffer::new(GREETING_LIMIT),
            output: Vec::new(),
            limit: Some((options.connect_limit, until)),
            heartbeat: None,
            is_tls: session.is_some(),
            cancels: options.cancels.clone(),
        };
        match session {
            Some(session) => wire.secured(session),
            None => Ok(wire),
        }
    }

    /// TLS from here on.
    fn secured(mut self, session: Ssl) -> Result<Self, ConnectionError> {
        let failed = |address: &Address, why| ConnectionError::Tls {
            address: address.clone(),
            why,
        };
        let secured = self.stream.secured(session);
        self.stream = secured.map_err(|why| failed(&self.address, HandshakeError::Io(why)))?;
        loop {
            match self.stream.handshake() {
                Ok(true) => return Ok(self),
                Ok(false) => drop(self.wait("TLS", PollFlags::IN)?),
                Err(why) => {
                    self.stream.close();
                    return Err(failed(&self.address, why));
                }
            }
        }
    }

    /// Ends TLS in order.
    pub fn close(&mut self) {
        self.stream.close();
    }

    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// What ends all waits from now on.
    pub fn set_cancels(&mut self, cancels: Cancels) {
        self.cancels = cancels;
    }

    /// What has come in, taken out.
    pub fn take_input(&mut self) -> FrameBuffer {
        std::mem::replace(&mut self.input, FrameBuffer::new(0))
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// From now on, waits at most so long, all in all.
    pub fn set_limit(&mut self, limit: Option<Duration>) {
        // What is too far away to be told is as good as none.
        self.limit = limit.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)));
    }

    /// Takes messages of any length from now on.
    pub fn begin_messages(&mut self, encoding: Encoding, options: &Options) {
        self.set_message_limit(options.message_limit);
        self.heartbeat = Some((encoding, Instant::now() + HEARTBEAT));
    }

    pub fn set_message_limit(&mut self, limit: usize) {
        self.input.set_limit(limit);
    }

    /// The server's first frame.
    pub fn greeting(&mut self) -> Result<Vec<u8>, ConnectionError> {
        self.take("greeting", <[u8]>::to_vec)
    }

    /// What a greeting means that is none of ZEO 5.
    pub fn strange_greeting(&self, greeting: &[u8]) -> ConnectionError {
        let address = self.address.clone();
        let version = String::from_utf8_lossy(greeting).into_owned();
        let digits = version.strip_prefix(['Z', 'M']).unwrap_or_default();
        if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()) {
            return ConnectionError::OldServer { address, version };
        }
        let why = format!("no ZEO server: its greeting is {}", shown(greeting));
        ConnectionError::NoServer { address, why }
    }

    /// Where to encode what [`Self::flush`] will send.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    pub fn queue_frame(&mut self, payload: &[u8]) {
        write_frame(&mut self.output, payload);
    }

    /// Sends all; meanwhile takes in what comes, so that neither waits for the other.
    pub fn flush(&mut self, what: &str) -> Result<(), ConnectionError> {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.stream.write(&self.output[sent..]) {
                Ok(0) => return Err(self.lost(what, Some(ErrorKind::WriteZero.into()))),
                Ok(count) => sent += count,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    if self.input.buffered() < UNREAD_LIMIT {
                        self.wait(what, PollFlags::IN | PollFlags::OUT)?;
                        self.receive(what)?;
                    } else {
                        self.wait(what, PollFlags::OUT)?;
                    }
                }
                Err(why) => return Err(self.lost(what, Some(why))),
            }
        }
        self.output.clear();
        if let Some((_, due)) = &mut self.heartbeat {
            *due = Instant::now() + HEARTBEAT;
        }
        Ok(())
    }

    /// Hands the next frame to `use_frame`, waiting for it.
    pub fn take<R>(
        &mut self,
        what: &str,
        use_frame: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, ConnectionError> {
        loop {
            // Also of a server that sends without an end, and never what is waited for.
            self.check_time(what)?;
            match self.input.frame() {
                Ok(Some(_)) => break,
                Ok(None) => {}
                Err(why) => return Err(self.no_frame(what, why)),
            }
            if !self.receive(what)? {
                self.wait_for_input(what)?;
            }
        }
        let frame = self.input.frame().ok().flatten().unwrap_or_default();
        let (length, used) = (frame.len(), use_frame(frame));
        self.input.consume(length);
        Ok(used)
    }

    /// Takes in what is there; false if there is nothing.
    fn receive(&mut self, what: &str) -> Result<bool, ConnectionError> {
        let stream = &mut self.stream;
        match self.input.fill(|space| stream.read(space)) {
            Ok(0) => Err(self.lost(what, None)),
            Ok(_) => Ok(true),
            Err(why) if why.kind() == ErrorKind::Interrupted => Ok(true),
            Err(why) if why.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(why) => Err(self.lost(what, Some(why))),
        }
    }

    /// Waits until there is something to read, and sends heartbeats meanwhile.
    fn wait_for_input(&mut self, what: &str) -> Result<(), ConnectionError> {
        while !self.wait(what, PollFlags::IN)? {
            if let Some((encoding, _)) = self.heartbeat {
                // Both encodings can hold it.
                let _ = encode_keep_alive(&mut self.output, encoding);
                self.flush(what)?;
            }
        }
        Ok(())
    }

    /// Waits for the stream; false if a heartbeat is due instead, where nothing is being sent.
    fn wait(&mut self, what: &str, flags: PollFlags) -> Result<bool, ConnectionError> {
        let over = self.limit.map(|(_, over)| over);
        let due = self.heartbeat.map(|(_, due)| due);
        let due = due.filter(|_| !flags.contains(PollFlags::OUT));
        loop {
            self.check_time(what)?;
            if due.is_some_and(|due| due <= Instant::now()) {
                return Ok(false);
            }
            let until = over.into_iter().chain(due).min();
            let socket = Some((self.stream.as_fd(), flags));
            let waited = self.cancels.wait_for(socket, until);
            match waited.map_err(|why| self.lost(what, Some(why)))? {
                (Waited::Ready, found) => {
                    self.stream.note(Ready {
                        read: found.intersects(!PollFlags::OUT),
                        write: found.contains(PollFlags::OUT),
                        ..Ready::default()
                    });
                    return Ok(true);
                }
                (Waited::TimeOver, _) => {}
                (Waited::Cancelled, _) => {
                    return Err(self.lost(what, Some(io::Error::other("given up"))));
                }
            }
        }
    }

    fn check_time(&self, what: &str) -> Result<(), ConnectionError> {
        match self.limit {
            Some((_, over)) if over <= Instant::now() => Err(self.timed_out(what)),
            _ => Ok(()),
        }
    }

    fn timed_out(&self, what: &str) -> ConnectionError {
        let limit = self.limit.map_or(Duration::ZERO, |(limit, _)| limit);
        let hint = match (what, self.is_tls) {
            ("greeting", false) => "; no ZEO server, a stuck one, or one that expects TLS",
            ("TLS", _) => "; a stuck server, or one without TLS",
            _ => "",
        };
        ConnectionError::TimedOut {
            address: self.address.clone(),
            what: answer_to(what),
            limit,
            hint,
        }
    }

    fn lost(&self, what: &str, why: Option<io::Error>) -> ConnectionError {
        ConnectionError::Disconnected {
            address: self.address.clone(),
            what: answer_to(what),
            why,
            hint: match (what, self.is_tls) {
                // Of TLS 1.3, the refusal comes after the handshake.
                ("greeting", true) => "; does the server trust this client's certificate?",
                ("greeting", false) => "; is it a ZEO server, and one without TLS?",
                _ => "",
            },
        }
    }

    pub fn misunderstood(&self, what: &str, why: MessageError) -> ConnectionError {
        ConnectionError::Message {
            address: self.address.clone(),
            what: answer_to(what),
            why,
        }
    }

    fn no_frame(&self, what: &str, why: FrameError) -> ConnectionError {
        let address = self.address.clone();
        match (&why, what) {
            (FrameError::TooLong { length, .. }, "greeting") => {
                let start = (*length as u32).to_be_bytes();
                let why = if TLS_RECORDS.contains(&(length >> 16)) {
                    "the server speaks TLS".to_owned()
                } else {
                    format!("no ZEO server: it begins with {}", shown(&start))
                };
                ConnectionError::NoServer { address, why }
            }
            (FrameError::Tls, _) => {
                let why = "the server speaks TLS".to_owned();
                ConnectionError::NoServer { address, why }
            }
            _ => self.misunderstood(what, why.into()),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What a wait is for: `what` is a method, or the greeting, a message, the status.
fn answer_to(what: &str) -> String {
    match what {
        "greeting" | "message" | "status" | "TLS" => what.to_owned(),
        method => format!("reply to {method}"),
    }
}

/// The first bytes that something sent, for people.
fn shown(bytes: &[u8]) -> String {
    let shown: String = { bytes.iter().take(40) }
        .flat_map(|byte| byte.escape_ascii())
        .map(char::from)
        .collect();
    format!("'{shown}'")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn heartbeats_are_sent_while_a_reply_is_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let now = Instant::now();
        let mut wire = Wire {
            address: Address::Unix("pair".into()),
            stream: Stream::unix(ours).unwrap(),
            input: FrameBuffer::new(100),
            output: Vec::new(),
            limit: Some((HEARTBEAT, now + HEARTBEAT)),
            heartbeat: Some((Encoding::Msgpack, now)),
            is_tls: false,
            cancels: Cancels::default(),
        };
        let mut expected = Vec::new();
        encode_keep_alive(&mut expected, Encoding::Msgpack).unwrap();
        let server = thread::spawn(move || {
            let mut received = vec![0; expected.len()];
            theirs.read_exact(&mut received).unwrap();
            assert_eq!(received, expected);
            theirs.write_all(b"\0\0\0\x02ok").unwrap();
            theirs
        });
        let reply = wire.take("ping", <[u8]>::to_vec).unwrap();
        assert_eq!(reply, b"ok");
        server.join().unwrap();
    }
}
