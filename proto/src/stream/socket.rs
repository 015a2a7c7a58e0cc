//! A plain socket, which remembers whether a read may find something.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::waiter::Ready;

#[derive(Debug)]
pub(super) struct Socket {
    kind: Arc<Kind>,
    /// A read may find something. Only a change of that is told.
    readable: bool,
    /// The peer sends no more.
    ended: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self::new(Kind::Tcp(stream))
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self::new(Kind::Unix(stream))
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind: Arc::new(kind),
            readable: false,
            ended: false,
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::new(match &*self.kind {
            Kind::Tcp(stream) => Kind::Tcp(stream.try_clone()?),
            Kind::Unix(stream) => Kind::Unix(stream.try_clone()?),
        }))
    }

    pub(super) fn shared_writer(&self) -> SharedWriter {
        SharedWriter(Arc::clone(&self.kind))
    }

    /// Takes note of what a wait has found.
    pub(super) fn note(&mut self, ready: Ready) {
        self.ended |= ready.ended;
        self.readable |= ready.read;
    }

    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &*self.kind {
            Kind::Tcp(stream) => stream.as_fd(),
            Kind::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = uninterrupted(|| match &*self.kind {
            Kind::Tcp(stream) => (&*stream).read(buffer),
            Kind::Unix(stream) => (&*stream).read(buffer),
        });
        // Less than there was room for: no more has come, but maybe the end.
        let is_full = result.as_ref().is_ok_and(|count| *count == buffer.len());
        self.readable &= is_full || self.ended;
        result
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.kind.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kind {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| match self {
            Self::Tcp(stream) => (&*stream).write(bytes),
            Self::Unix(stream) => (&*stream).write(bytes),
        })
    }
}

/// Writes to the socket of a plain stream, which others may write to as well: who has both sees to
/// it that they take turns. The socket is closed when the last of them is dropped.
#[derive(Debug)]
pub struct SharedWriter(Arc<Kind>);

impl Write for SharedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
