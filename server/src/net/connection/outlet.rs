//! Connection: its socket, as others write to it while the session sleeps.

use std::io::{self, Write};
use std::sync::Arc;

use zeo_proto::stream::{SharedWriter, Stream};

use crate::status::client::ClientStatus;

/// A socket that is lent, and where its bytes are counted.
pub(super) struct LentSocket {
    socket: SharedWriter,
    status: Arc<ClientStatus>,
}

impl LentSocket {
    /// That of a stream; none over TLS, where a write may have to read.
    pub(super) fn of(stream: &Stream, status: &Arc<ClientStatus>) -> Option<Self> {
        let (socket, status) = (stream.shared_writer()?, Arc::clone(status));
        Some(Self { socket, status })
    }
}

impl Write for LentSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = write(&mut self.socket, bytes)?;
        self.status.sent.add(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes as much as goes without waiting.
pub(super) fn write(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(test)]
    let bytes = match crate::messages::rules::room(bytes.len()) {
        0 => return Err(io::ErrorKind::WouldBlock.into()),
        room => &bytes[..room],
    };
    socket.write(bytes)
}
