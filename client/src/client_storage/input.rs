//! What comes over a connection, frame by frame.

use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex};

use zeo_proto::framing::{FrameBuffer, FrameError};
use zeo_proto::stream::{Ready, Stream};

use crate::connection::Connection;
use crate::lock::locked;

/// The frames that come in; only the storage's thread has it.
pub(super) struct Input {
    stream: Source,
    frames: FrameBuffer,
}

enum Source {
    /// Nobody else reads or writes it.
    Own(Stream),
    /// Over TLS: whoever writes has it too, and never while he waits.
    Shared(Arc<Mutex<Connection>>),
}

/// What a look at the stream has found.
pub(super) enum Found {
    /// Something has come in.
    Bytes,
    /// Nothing is there: wait for the socket.
    Nothing,
    /// The server has closed the connection.
    End,
}

impl Input {
    pub fn own(stream: Stream, frames: FrameBuffer) -> Self {
        Self::new(Source::Own(stream), frames)
    }

    pub fn shared(connection: Arc<Mutex<Connection>>, frames: FrameBuffer) -> Self {
        Self::new(Source::Shared(connection), frames)
    }

    fn new(stream: Source, frames: FrameBuffer) -> Self {
        let mut input = Self { stream, frames };
        // There may be something that nobody has been told of.
        input.note_readable();
        input
    }

    /// The next frame that is there whole.
    pub fn frame(&self) -> Result<Option<&[u8]>, FrameError> {
        self.frames.frame()
    }

    /// Drops that frame, which has so many bytes.
    pub fn consume(&mut self, length: usize) {
        self.frames.consume(length);
    }

    /// The socket may have something to read.
    pub fn note_readable(&mut self) {
        let ready = Ready {
            read: true,
            ..Ready::default()
        };
        match &mut self.stream {
            Source::Own(stream) => stream.note(ready),
            Source::Shared(connection) => locked(connection).stream().note(ready),
        }
    }

    /// Takes in what is there, without waiting.
    pub fn read(&mut self) -> io::Result<Found> {
        let frames = &mut self.frames;
        let mut shared;
        let stream = match &mut self.stream {
            Source::Own(stream) => stream,
            Source::Shared(connection) => {
                shared = locked(connection);
                shared.stream()
            }
        };
        if !stream.is_readable() {
            return Ok(Found::Nothing);
        }
        match frames.fill(|space| stream.read(space)) {
            Ok(0) => Ok(Found::End),
            Ok(_) => Ok(Found::Bytes),
            Err(why) if why.kind() == ErrorKind::Interrupted => Ok(Found::Bytes),
            Err(why) if why.kind() == ErrorKind::WouldBlock => Ok(Found::Nothing),
            Err(why) => Err(why),
        }
    }
}
