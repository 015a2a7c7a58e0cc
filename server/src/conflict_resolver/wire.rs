//! What is said between the server and the resolver's process (`script.py` is the other side).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use zeo_storage::conflict::Question;

/// How long a greeting may be, in bytes.
pub(super) const GREETING_MAX: usize = 10_000;
/// What an answer may be longer than four times its question, in bytes.
const ANSWER_FREE: usize = 1 << 20;

/// A socket whose reads and writes all end at a time.
pub(super) struct Timed<'a> {
    pub stream: &'a UnixStream,
    pub deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(Some(left))
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The message that asks a question, and how long its answer may be.
///
/// # Errors
/// It is longer than a message can be.
pub(super) fn asked(question: &Question<'_>) -> io::Result<(Vec<u8>, usize)> {
    let class = question.class.unwrap_or_default().as_bytes();
    let parts = [class, question.old, question.committed, question.new];
    let mut body = Vec::new();
    body.extend(question.oid.to_bytes());
    body.extend(question.read.to_bytes());
    body.extend(question.committed_serial.to_bytes());
    for part in parts {
        body.extend(length(part)?);
        body.extend(part);
    }
    let longest = body.len().saturating_mul(4).saturating_add(ANSWER_FREE);
    Ok((body, longest))
}

/// Sends a message.
///
/// # Errors
/// Those of the socket; `TimedOut` or `WouldBlock` when its time is over.
pub(super) fn send(to: &mut Timed<'_>, body: &[u8]) -> io::Result<()> {
    to.write_all(&length(body)?)?;
    to.write_all(body)
}

/// The kind of a message and what follows it.
///
/// # Errors
/// Those of the socket; `UnexpectedEof` when it was closed; `TimedOut` or `WouldBlock` when its
/// time is over; `InvalidData` for a message that is empty, or longer than `longest`.
pub(super) fn receive(from: &mut Timed<'_>, longest: usize) -> io::Result<(u8, Vec<u8>)> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length == 0 || length as usize > longest {
        let what = format!("an answer of {length} bytes, where at most {longest} are expected");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    let expected = u64::from(length) - 1;
    let mut body = Vec::new();
    from.take(expected).read_to_end(&mut body)?;
    if (body.len() as u64) < expected {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((kind[0], body))
}

fn length(bytes: &[u8]) -> io::Result<[u8; 4]> {
    match u32::try_from(bytes.len()) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the records are too long",
        )),
    }
}
