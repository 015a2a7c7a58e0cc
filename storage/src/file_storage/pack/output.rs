//! The packed file while it is written.

use std::io;
use std::sync::Arc;

use crate::disk::backend::Backend;
use crate::disk::paths::failed;
use crate::file_storage::commit::space::grow;
use crate::file_storage::format::seal::{Ending, SEAL_LEN, Seal, Sum};
use crate::file_storage::format::window::Window;
use crate::file_storage::format::{FIRST, MAGIC, Reader, TxnHeader};
use crate::{Error, Result};

/// At least so much is written at once; a transaction of twice that in parts.
const WRITE_CHUNK_BYTES: usize = 1 << 16;
/// So much is synced at once: a sync of more would hold up those of commits
/// for long.
const SYNC_CHUNK_BYTES: u64 = 32 << 20;
const LENGTH_OFFSET: u64 = 8;

/// A file that grows by whole transactions.
pub(super) struct Output {
    pub backend: Arc<dyn Backend>,
    /// Where the buffer will be written.
    position: u64,
    buffer: Vec<u8>,
    /// Where the transaction at work begins.
    txn: u64,
    /// Its header, if the texts end in a seal.
    sealed: Option<TxnHeader>,
    synced: u64,
    /// Up to where the file system has promised room.
    pub room: u64,
}

impl Output {
    /// A new file without transactions.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            position: 0,
            buffer: MAGIC.to_vec(),
            txn: FIRST,
            sealed: None,
            synced: 0,
            room: 0,
        }
    }

    /// Where what is added next will stand.
    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.buffer.len() as u64)
    }

    /// Begins a transaction: its header, of which the length may change, and
    /// its texts. Gives its position.
    pub fn begin(&mut self, header: &TxnHeader, texts: &[u8]) -> Result<u64> {
        self.txn = self.end();
        // Half a seal stands only in what was accepted as it is.
        let ending = texts.last_chunk().map(Ending::parse);
        let can_stand = usize::from(header.meta_lens[2]) >= SEAL_LEN;
        let is_sealed = ending.is_some_and(|ending| ending != Ending::Plain);
        self.sealed = (can_stand && is_sealed).then_some(*header);
        self.add(&header.encode())?;
        self.add(texts)?;
        Ok(self.txn)
    }

    /// Adds bytes to the transaction.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 2 * WRITE_CHUNK_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Adds `length` bytes that stand at `position` in another file.
    pub fn copy(&mut self, from: &mut Window<'_>, position: u64, length: u64) -> Result<()> {
        let mut done = 0;
        while done < length {
            let part = (length - done).min(from.piece());
            self.add(from.bytes(position.saturating_add(done), part)?)?;
            done += part;
        }
        Ok(())
    }

    /// Ends the transaction: sets its length, adds it once more, and seals
    /// the transaction anew if it was sealed.
    pub fn finish(&mut self) -> Result<()> {
        let length = self.end().saturating_sub(self.txn);
        self.put(
            &length.to_be_bytes(),
            self.txn.saturating_add(LENGTH_OFFSET),
        )?;
        self.add(&length.to_be_bytes())?;
        if let Some(header) = self.sealed {
            self.seal(length, &header)?;
        }
        if self.buffer.len() >= WRITE_CHUNK_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// All before it is durable when the file takes its place.
    fn seal(&mut self, length: u64, header: &TxnHeader) -> Result<()> {
        let header_len = header.header_len();
        let mut seal = Seal {
            position: self.txn,
            length,
            status: header.status,
            durable: self.txn,
            checksum: 0,
        };
        let end = self.txn.saturating_add(header_len);
        let at = end.saturating_sub(SEAL_LEN as u64);
        self.put(&seal.encode(), at)?;
        let mut sum = Sum::new(header_len);
        match self.in_buffer(self.txn) {
            Some(offset) => sum.add(self.buffer.get(offset..).unwrap_or_default()),
            None => self.sum_written(&mut sum)?,
        }
        seal.checksum = sum.finish();
        self.put(&seal.encode(), at)
    }

    /// Adds up a transaction of which a part is written already.
    fn sum_written(&mut self, sum: &mut Sum) -> Result<()> {
        self.flush()?;
        let reader = Reader {
            backend: &*self.backend,
            end: self.position,
        };
        let mut window = Window::new(reader, WRITE_CHUNK_BYTES);
        let mut at = self.txn;
        while at < self.position {
            let part = (self.position - at).min(window.piece());
            sum.add(window.bytes(at, part)?);
            at += part;
        }
        Ok(())
    }

    /// Replaces bytes, which were either all written already, or none.
    fn put(&mut self, bytes: &[u8], at: u64) -> Result<()> {
        let Some(offset) = self.in_buffer(at) else {
            return self.write(bytes, at);
        };
        let place = self.buffer.get_mut(offset..).unwrap_or_default();
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(())
    }

    fn in_buffer(&self, position: u64) -> Option<usize> {
        usize::try_from(position.checked_sub(self.position)?).ok()
    }

    /// Writes all that was added, and makes it durable.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.sync_written()
    }

    fn sync_written(&mut self) -> Result<()> {
        self.backend.sync().map_err(self.failed("syncing"))?;
        self.synced = self.position;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let end = self.end();
        if end > self.room {
            self.room = grow(&*self.backend, self.room, end)?;
        }
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer, self.position)?;
        self.buffer = buffer;
        self.buffer.clear();
        self.buffer.shrink_to(WRITE_CHUNK_BYTES);
        self.position = end;
        if end.saturating_sub(self.synced) > SYNC_CHUNK_BYTES {
            self.sync_written()
        } else {
            Ok(())
        }
    }

    fn write(&self, bytes: &[u8], position: u64) -> Result<()> {
        let written = self.backend.write_all_at(bytes, position);
        written.map_err(self.failed("writing the packed file"))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> Error {
        failed(doing, self.backend.path())
    }
}

#[cfg(test)]
mod tests {
    use zeo_proto::Tid;

    use super::*;
    use crate::disk::backend::MemoryBackend;

    #[test]
    fn long_files_are_synced_on_their_way() {
        let mut out = Output::new(Arc::new(MemoryBackend::default()));
        let header = TxnHeader {
            tid: Tid::new(1),
            length: 0,
            status: b'p',
            meta_lens: [0; 3],
        };
        while out.end() < 2 * SYNC_CHUNK_BYTES {
            out.begin(&header, b"").unwrap();
            out.add(&[7; WRITE_CHUNK_BYTES / 2]).unwrap();
            out.finish().unwrap();
            assert!(out.position - out.synced <= SYNC_CHUNK_BYTES);
        }
        assert!(out.synced > SYNC_CHUNK_BYTES);
        out.sync().unwrap();
        assert_eq!(out.backend.len().unwrap(), out.end());
    }
}
