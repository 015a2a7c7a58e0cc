//! TLS over a socket.
//!
//! OpenSSL reads and writes the socket by way of [`Below`], on the thread of
//! the session, which alone has the stream. It may have to write in order to
//! read (the answer to a KeyUpdate), and the reverse.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use openssl::nid::Nid;
use openssl::ssl::{self, ErrorCode, Ssl, SslContextBuilder, SslMode, SslStream};
use openssl::x509::X509Ref;

use super::socket::Socket;
use super::waiter::Ready;

/// The first byte of TLS: the type of a record with a handshake message.
const HANDSHAKE_RECORD: u8 = 22;
/// The longest subject that is shown, in characters.
const SUBJECT_MAX_CHARS: usize = 200;

// Reasons of OpenSSL's errors (`sslerr.h`).
const CERTIFICATE_VERIFY_FAILED: i32 = 134;
const PEER_DID_NOT_RETURN_A_CERTIFICATE: i32 = 199;
const UNEXPECTED_EOF: i32 = 294;
/// From here on: alerts of the peer.
const ALERTS: i32 = 1000;

/// Prepares a context for the streams of this module; certificates and who is
/// trusted are another matter.
pub fn prepare(context: &mut SslContextBuilder) {
    // What is sent grows while it waits, and moves.
    context.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::RELEASE_BUFFERS,
    );
    // One system call takes as many records as have come, instead of two for
    // each. Python sends two for each message.
    context.set_read_ahead(true);
}

/// Why a TLS handshake has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// What has come does not begin as TLS does.
    #[error("it does not speak TLS")]
    NotTls,
    /// The peer has closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// The peer has no certificate, and has to.
    #[error("it has no certificate")]
    NoCertificate,
    /// The peer's certificate is not accepted.
    #[error("its certificate is not accepted: {reason}{}", of(subject.as_deref()))]
    Certificate {
        /// What OpenSSL says of it.
        reason: &'static str,
        /// The subject of the certificate where the check failed.
        subject: Option<String>,
    },
    /// The peer ended the handshake with an alert: often, because it does not
    /// accept our certificate.
    #[error("it sent an alert: {0}")]
    Alert(String),
    /// The peer does not keep to TLS, or there is nothing that both sides know.
    #[error("{0}")]
    Protocol(String),
    /// The socket has failed.
    #[error(transparent)]
    Io(io::Error),
}

fn of(subject: Option<&str>) -> String {
    subject.map_or(String::new(), |subject| format!(" ({subject})"))
}

/// What TLS knows of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The version of TLS, such as `TLSv1.3`.
    pub version: &'static str,
    /// The subject of the peer's certificate, if it has one: `CN=zope,O=Example`.
    pub subject: Option<String>,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Some(subject) => write!(f, "{}, certificate of {subject}", self.version),
            None => write!(f, "{}, no certificate", self.version),
        }
    }
}

#[derive(Debug)]
pub(super) struct Tls {
    ssl: SslStream<Below>,
    /// The subject of a certificate that was not accepted.
    refused: Arc<OnceLock<String>>,
    /// A read may find something.
    readable: bool,
    /// A read goes on when there is room to write.
    reads_when_writable: bool,
    is_truncated: bool,
}

/// The socket as OpenSSL sees it.
#[derive(Debug)]
struct Below {
    socket: Socket,
    /// The first byte that has come.
    first: Option<u8>,
    /// During the handshake: what is to be sent, so that the alert of a failed
    /// one can be sent later.
    held: Option<Vec<u8>>,
}

impl Tls {
    pub(super) fn new(socket: Socket, mut ssl: Ssl) -> io::Result<Self> {
        let refused = Arc::new(OnceLock::new());
        let (noted, mode) = (Arc::clone(&refused), ssl.verify_mode());
        ssl.set_verify_callback(mode, move |is_good, checked| {
            if let Some(certificate) = checked.current_cert()
                && !is_good
            {
                let _ = noted.set(subject(certificate));
            }
            is_good
        });
        let below = Below {
            socket,
            first: None,
            held: Some(Vec::new()),
        };
        Ok(Self {
            ssl: SslStream::new(ssl, below)?,
            refused,
            readable: false,
            reads_when_writable: false,
            is_truncated: false,
        })
    }

    pub(super) fn handshake(&mut self) -> Result<bool, HandshakeError> {
        let is_done = match self.ssl.do_handshake() {
            Ok(()) => true,
            Err(why) if waits(&why) => false,
            Err(why) => return Err(self.failure(why)),
        };
        let below = self.ssl.get_mut();
        let is_sent = below.send_held().map_err(HandshakeError::Io)?;
        if is_done && is_sent {
            below.held = None;
        }
        // What has come behind the handshake may be here already.
        self.readable = is_done && is_sent;
        Ok(self.readable)
    }

    fn failure(&self, why: ssl::Error) -> HandshakeError {
        let first = self.ssl.get_ref().first;
        if first.is_some_and(|first| first != HANDSHAKE_RECORD) {
            return HandshakeError::NotTls;
        }
        let why = match why.into_io_error() {
            Ok(why) if why.kind() == ErrorKind::ConnectionReset => return HandshakeError::Closed,
            Ok(why) => return HandshakeError::Io(why),
            Err(why) => why,
        };
        match reason_code(&why) {
            None | Some(UNEXPECTED_EOF) => HandshakeError::Closed,
            Some(PEER_DID_NOT_RETURN_A_CERTIFICATE) => HandshakeError::NoCertificate,
            Some(CERTIFICATE_VERIFY_FAILED) => HandshakeError::Certificate {
                reason: self.ssl.ssl().verify_result().error_string(),
                subject: self.refused.get().cloned(),
            },
            Some(ALERTS..) => HandshakeError::Alert(reason(&why)),
            Some(_) => HandshakeError::Protocol(reason(&why)),
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.ssl.get_ref().first.is_none()
    }

    pub(super) fn identity(&self) -> Identity {
        let ssl = self.ssl.ssl();
        Identity {
            version: ssl.version_str(),
            subject: ssl.peer_certificate().map(|peer| subject(&peer)),
        }
    }

    /// Takes note of what a wait has found.
    pub(super) fn note(&mut self, ready: Ready) {
        self.ssl.get_mut().socket.note(ready);
        self.readable |= ready.read || (self.reads_when_writable && ready.write);
    }

    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Reads from one record; there may be more, until it finds nothing.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads_when_writable = false;
        loop {
            let why = match self.ssl.ssl_read(buffer) {
                Ok(count) => return Ok(count),
                Err(why) => why,
            };
            self.reads_when_writable = why.code() == ErrorCode::WANT_WRITE;
            match ended(&why) {
                Some(is_truncated) => {
                    self.is_truncated = is_truncated;
                    return Ok(0);
                }
                None if is_to_be_repeated(&why) => {}
                None => {
                    self.readable = false;
                    return Err(as_io_error(why));
                }
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.ssl.ssl_write(bytes) {
                Ok(count) => return Ok(count),
                Err(why) if is_to_be_repeated(&why) => {}
                Err(why) => return Err(as_io_error(why)),
            }
        }
    }

    pub(super) fn close(&mut self) {
        // Nobody waits for it: what the socket does not take is lost.
        match self.ssl.get_ref().held {
            Some(_) => drop(self.ssl.get_mut().send_held()),
            None => drop(self.ssl.shutdown()),
        }
    }
}

impl AsFd for Tls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ssl.get_ref().socket.as_fd()
    }
}

impl Below {
    /// Sends what is held; false when there is no room for all of it.
    fn send_held(&mut self) -> io::Result<bool> {
        let held = self.held.get_or_insert_default();
        while !held.is_empty() {
            match self.socket.write(held) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => drop(held.drain(..count)),
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(why) => return Err(why),
            }
        }
        Ok(true)
    }
}

impl Read for Below {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Without asking the system again.
        if !self.socket.is_readable() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.socket.read(buffer)?;
        if self.first.is_none() {
            self.first = buffer.iter().take(count).next().copied();
        }
        Ok(count)
    }
}

impl Write for Below {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.held {
            Some(held) => held.write(bytes),
            None => self.socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The subject as it is written: `CN=zope,O=Example`. It may be a stranger's.
fn subject(certificate: &X509Ref) -> String {
    let parts = certificate.subject_name().entries().map(|entry| {
        let key = entry.object().nid();
        let key = match key.short_name() {
            Ok(name) if key != Nid::UNDEF => name.to_owned(),
            _ => entry.object().to_string(),
        };
        let value = entry.data().to_string();
        let value = value.as_deref().unwrap_or("?");
        format!("{key}={value}")
    });
    let text = parts.collect::<Vec<_>>().join(",");
    let text = text
        .escape_debug()
        .take(SUBJECT_MAX_CHARS)
        .collect::<String>();
    if text.is_empty() {
        "no subject".to_owned()
    } else {
        text
    }
}

fn waits(why: &ssl::Error) -> bool {
    [ErrorCode::WANT_READ, ErrorCode::WANT_WRITE].contains(&why.code())
}

/// A wait for what is here already: a message of TLS itself came in between.
fn is_to_be_repeated(why: &ssl::Error) -> bool {
    waits(why) && why.io_error().is_none()
}

/// Whether the error is the end of the stream, and then, whether it came
/// without close_notify.
fn ended(why: &ssl::Error) -> Option<bool> {
    match why.code() {
        ErrorCode::ZERO_RETURN => Some(false),
        ErrorCode::SYSCALL if why.io_error().is_none() => Some(true),
        ErrorCode::SSL if reason_code(why) == Some(UNEXPECTED_EOF) => Some(true),
        _ => None,
    }
}

fn reason_code(why: &ssl::Error) -> Option<i32> {
    why.ssl_error()?.errors().first().map(|e| e.reason_code())
}

fn reason(why: &ssl::Error) -> String {
    let first = why.ssl_error().and_then(|stack| stack.errors().first());
    let reason = first.and_then(|first| first.reason());
    reason.map_or_else(|| why.to_string(), str::to_owned)
}

fn as_io_error(why: ssl::Error) -> io::Error {
    match why.into_io_error() {
        Ok(why) => why,
        Err(why) => io::Error::other(format!("TLS: {}", reason(&why))),
    }
}
