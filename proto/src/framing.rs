//! Sized messages: 4 bytes of length, big-endian, and that many bytes
//! (ZEO `asyncio.smp`).

use std::io;

/// Bytes received and not yet used, cut into frames.
///
/// A frame's length is checked against the limit as soon as it is known, and
/// memory grows only as bytes come in: a peer that names a length and sends
/// nothing costs nothing.
#[derive(Debug)]
pub struct FrameBuffer {
    /// All initialised; what is received stands in `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
    /// The least room for one read.
    room: usize,
}

/// The least room for one read, until there was more to read than that: most clients do nothing,
/// and wait for an answer before they send the next small message.
const FIRST_ROOM_BYTES: usize = 512;
/// The least room for one read after that.
const ROOM_BYTES: usize = 8 * 1024;
/// A larger buffer is freed when it is empty.
const KEPT_BUFFER_MAX_BYTES: usize = 64 * 1024;

/// How a TLS connection begins: a record of type 22, and the major version 3.
const TLS_HANDSHAKE: usize = 0x1603;

/// A frame that is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is over the limit.
    #[error("a message of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// The length that was named.
        length: usize,
        /// The limit in force.
        limit: usize,
    },
    /// What has come is no message: its first bytes are those of TLS.
    #[error(
        "a TLS ClientHello, but this server does not speak TLS: the client has <ssl> configured"
    )]
    Tls,
    /// No message of the protocol is empty.
    #[error("an empty message")]
    Empty,
}

impl FrameBuffer {
    /// An empty buffer that takes frames of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            limit,
            room: FIRST_ROOM_BYTES,
        }
    }

    /// Changes the limit from the next frame on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// How many bytes have been received and not yet been used.
    pub fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// The first frame, if it is there whole.
    ///
    /// # Errors
    /// [`FrameError`]: its length is 0 or above the limit, or it is no frame but TLS.
    pub fn frame(&self) -> Result<Option<&[u8]>, FrameError> {
        let received = &self.buffer[self.start..self.end];
        let Some((length, rest)) = received.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        match length {
            0 => Err(FrameError::Empty),
            _ if length > self.limit && length >> 16 == TLS_HANDSHAKE => Err(FrameError::Tls),
            _ if length > self.limit => Err(FrameError::TooLong {
                length,
                limit: self.limit,
            }),
            _ => Ok(rest.get(..length)),
        }
    }

    /// Drops the first frame, which [`Self::frame`] has given.
    pub fn consume(&mut self, length: usize) {
        self.start = (self.start + 4 + length).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT_BUFFER_MAX_BYTES {
                self.buffer = Vec::new();
            }
        }
    }

    /// Gives the memory back, if there is nothing in it: for a peer that has sent nothing for a while.
    pub fn trim(&mut self) {
        if self.start == self.end {
            *self = Self::new(self.limit);
        }
    }

    /// The memory that the buffer takes, in bytes.
    pub fn allocated(&self) -> usize {
        self.buffer.len()
    }

    /// The memory that it takes after the next [`Self::fill`].
    pub fn allocated_next(&self) -> usize {
        let moves = self.start > 0 && self.buffer.len() - self.end < self.room;
        self.size_for(if moves {
            self.end - self.start
        } else {
            self.end
        })
    }

    /// How large the buffer must be to go on at `end`: double, so that a long frame is copied a few
    /// times only, but no larger than the frame.
    fn size_for(&self, end: usize) -> usize {
        let size = self.buffer.len();
        let least = end + self.room;
        if size >= least {
            return size;
        }
        let received = &self.buffer[self.start..self.end];
        let length = received
            .first_chunk()
            .map(|length| u32::from_be_bytes(*length) as usize);
        let frame = length.map_or(0, |length| length.saturating_add(4));
        (size * 2).min(frame).max(least)
    }

    /// Takes in more bytes by one call of `read`; returns how many (0: the
    /// peer has closed).
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.start > 0 && self.buffer.len() - self.end < self.room {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let size = self.size_for(self.end);
        if size > self.buffer.len() {
            self.buffer.resize(size, 0);
        }
        let count = read(&mut self.buffer[self.end..])?;
        self.end += count;
        if self.end == self.buffer.len() {
            self.room = ROOM_BYTES;
        }
        Ok(count)
    }
}

/// Appends one frame to `out`.
pub fn write_frame(out: &mut Vec<u8>, payload: &[u8]) {
    // A frame of 4 GiB can't be made: records are limited far below.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(buffer: &mut FrameBuffer, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = buffer
                .fill(|space| {
                    let count = space.len().min(rest.len());
                    space[..count].copy_from_slice(&rest[..count]);
                    Ok(count)
                })
                .unwrap();
            rest = &rest[count..];
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let payloads: Vec<Vec<u8>> = [1, 2, 4000, 8192, 100_000, 3]
            .iter()
            .map(|&n| vec![n as u8; n])
            .collect();
        let mut stream = Vec::new();
        payloads
            .iter()
            .for_each(|payload| write_frame(&mut stream, payload));
        for step in [1, 3, 4096, stream.len()] {
            let mut buffer = FrameBuffer::new(100_000);
            let mut met = Vec::new();
            for piece in stream.chunks(step) {
                feed(&mut buffer, piece);
                while let Some(frame) = buffer.frame().unwrap().map(<[u8]>::to_vec) {
                    buffer.consume(frame.len());
                    met.push(frame);
                }
            }
            assert_eq!(met, payloads, "in steps of {step}");
        }
    }

    #[test]
    fn small_messages_take_little_memory_and_others_give_it_back() {
        let mut buffer = FrameBuffer::new(100_000);
        let mut message = Vec::new();
        write_frame(&mut message, &[1; 300]);
        for _ in 0..5 {
            feed(&mut buffer, &message);
            buffer.consume(300);
        }
        assert_eq!(buffer.allocated(), FIRST_ROOM_BYTES);
        feed(&mut buffer, &message.repeat(4));
        assert!(buffer.allocated() >= ROOM_BYTES);
        buffer.trim();
        assert_eq!(buffer.buffered(), 4 * message.len());
        (0..4).for_each(|_| buffer.consume(300));
        buffer.trim();
        assert_eq!(buffer.allocated(), 0);
        feed(&mut buffer, &message);
        assert!(buffer.frame() == Ok(Some(&[1; 300])));
        assert_eq!(buffer.allocated(), FIRST_ROOM_BYTES);
    }

    #[test]
    fn a_length_is_refused_before_its_bytes_come() {
        let mut buffer = FrameBuffer::new(10);
        feed(&mut buffer, &[0, 0, 0, 11]);
        assert_eq!(
            buffer.frame(),
            Err(FrameError::TooLong {
                length: 11,
                limit: 10
            })
        );
        let mut buffer = FrameBuffer::new(usize::MAX);
        feed(&mut buffer, &[255, 255, 255, 255, 1]);
        assert_eq!(buffer.frame(), Ok(None));
        assert!(
            buffer.buffer.len() <= FIRST_ROOM_BYTES,
            "named lengths take no memory"
        );
        let mut buffer = FrameBuffer::new(10);
        feed(&mut buffer, &[0, 0, 0, 0]);
        assert_eq!(buffer.frame(), Err(FrameError::Empty));
    }
}
