//! Writing transactions at the end of the file, each with its seal.

use std::io::{self, Write};

use zeo_proto::Tid;

use super::laid_out::{LaidOut, Span, laid_out_mut};
use super::room::Room;
use crate::disk::backend::Backend;
use crate::disk::paths::failed;
use crate::file_storage::format::seal::{self, SEAL_LEN, Seal, Sum};
use crate::file_storage::format::{STATUS_OFFSET, TRAILER_LEN, TxnHeader};
use crate::storage::Commit;
use crate::{Error, Result};

/// A batch up to this size is written at once, a larger one in pieces.
const WRITE_CHUNK_BYTES: usize = 8 << 20;
const WRITING: &str = "writing a transaction to";
pub(super) const SYNCING: &str = "syncing";

/// The end of the file, where the log writer writes.
pub(crate) struct Writer {
    /// Where the next transaction begins.
    pub end: u64,
    /// Up to here everything has been synced: `end`, but for copies.
    pub durable: u64,
    /// The last transaction written, visible or not.
    pub last_tid: Tid,
    /// Kept from batch to batch.
    pub buffer: Vec<u8>,
    /// What is prepared behind `end`.
    pub room: Room,
}

/// Writes the batch, durably unless less than `sync_every` is to be synced;
/// says where it ends.
pub(super) fn write_batch(
    writer: &mut Writer,
    backend: &dyn Backend,
    batch: &mut [Commit],
    sync_every: u64,
) -> Result<u64> {
    let mut last_tid = writer.last_tid;
    for commit in batch.iter() {
        if commit.tid <= last_tid {
            return Err(Error::Transaction(format!(
                "transaction {} does not come after transaction {last_tid}",
                commit.tid
            )));
        }
        last_tid = commit.tid;
    }
    let mut tail = Tail {
        backend,
        durable: writer.durable,
        position: writer.end,
        buffer: std::mem::take(&mut writer.buffer),
        last_tid: writer.last_tid,
        room: &mut writer.room,
    };
    for (tid, laid_out) in laid_out_mut(batch) {
        write_transaction(&mut tail, laid_out, tid)?;
    }
    if tail.end().saturating_sub(tail.durable) < sync_every {
        tail.flush().map_err(tail.failed(WRITING))?
    } else {
        tail.sync()?
    }
    let Tail {
        durable, position, ..
    } = tail;
    writer.buffer = tail.buffer;
    writer.durable = durable;
    Ok(position)
}

fn write_transaction(tail: &mut Tail<'_>, laid_out: &mut LaidOut, tid: Tid) -> Result<()> {
    tail.last_tid = tid;
    match seal::sealed_len(&laid_out.meta.extension) {
        Some(length) => write_sealed(tail, laid_out, tid, length).map_err(tail.failed(WRITING)),
        None => write_unsealed(tail, laid_out, tid),
    }
}

/// Adds a transaction with its seal. What is small is laid out in the buffer,
/// and sealed there; what is large is gone through twice.
fn write_sealed(
    tail: &mut Tail<'_>,
    laid_out: &mut LaidOut,
    tid: Tid,
    extension_len: usize,
) -> io::Result<()> {
    let length = laid_out.reservation.length();
    let small = usize::try_from(length).is_ok_and(|length| length <= WRITE_CHUNK_BYTES);
    if small && length.saturating_add(tail.buffer.len() as u64) > WRITE_CHUNK_BYTES as u64 {
        tail.flush()?;
    }
    let tloc = tail.end();
    let mut seal = Seal {
        position: tloc,
        length: length.saturating_sub(TRAILER_LEN),
        status: laid_out.meta.status,
        durable: tail.durable,
        checksum: 0,
    };
    let meta = &laid_out.meta;
    let header = header(laid_out, tid, meta.status, extension_len);
    let mut sum = Sum::new(header.header_len());
    if small {
        let from = tail.buffer.len();
        write_whole(&mut tail.buffer, laid_out, &header, tloc, Some(&seal))?;
        let written = tail.buffer.get_mut(from..).unwrap_or_default();
        sum.add(written);
        seal.checksum = sum.finish();
        let header_len = usize::try_from(header.header_len()).unwrap_or(usize::MAX);
        let place = written.get_mut(header_len.saturating_sub(SEAL_LEN)..header_len);
        place
            .ok_or_else(wrong_length)?
            .copy_from_slice(&seal.encode());
    } else {
        write_whole(&mut sum, laid_out, &header, tloc, Some(&seal))?;
        seal.checksum = sum.finish();
        write_whole(tail, laid_out, &header, tloc, Some(&seal))?;
    }
    set_written(tail, laid_out, &header, tloc)
}

/// Adds a transaction whose extension leaves no room for a seal: first as an
/// unfinished one, and when that is durable, its true status.
fn write_unsealed(tail: &mut Tail<'_>, laid_out: &mut LaidOut, tid: Tid) -> Result<()> {
    tail.sync()?;
    let tloc = tail.end();
    let extension_len = laid_out.meta.extension.len();
    let header = header(laid_out, tid, b'c', extension_len);
    write_whole(tail, laid_out, &header, tloc, None).map_err(tail.failed(WRITING))?;
    set_written(tail, laid_out, &header, tloc).map_err(tail.failed(WRITING))?;
    tail.sync()?;
    let status_at = tloc.saturating_add(STATUS_OFFSET);
    tail.backend
        .write_all_at(&[laid_out.meta.status], status_at)
        .map_err(tail.failed(WRITING))?;
    tail.backend.sync().map_err(tail.failed(SYNCING))
}

fn header(laid_out: &LaidOut, tid: Tid, status: u8, extension_len: usize) -> TxnHeader {
    let meta = &laid_out.meta;
    let lens = [meta.user.len(), meta.description.len(), extension_len];
    TxnHeader {
        tid,
        length: laid_out.reservation.length().saturating_sub(TRAILER_LEN),
        status,
        // The vote has checked that the lengths fit.
        meta_lens: lens.map(|len| u16::try_from(len).unwrap_or(u16::MAX)),
    }
}

/// Writes a transaction as it stands in the file at `tloc`.
fn write_whole(
    out: &mut impl Write,
    laid_out: &mut LaidOut,
    header: &TxnHeader,
    tloc: u64,
    seal: Option<&Seal>,
) -> io::Result<()> {
    let meta = &laid_out.meta;
    out.write_all(&header.encode())?;
    out.write_all(&meta.user)?;
    out.write_all(&meta.description)?;
    match seal {
        Some(seal) => {
            out.write_all(seal::before_seal(&meta.extension))?;
            out.write_all(&seal.encode())?;
        }
        None => out.write_all(&meta.extension)?,
    }
    laid_out.body.write_to(out, header.tid, tloc)?;
    out.write_all(&header.length.to_be_bytes())
}

/// Takes note of where the transaction stands.
fn set_written(
    tail: &Tail<'_>,
    laid_out: &mut LaidOut,
    header: &TxnHeader,
    tloc: u64,
) -> io::Result<()> {
    let end = tail.end();
    if end.checked_sub(tloc) != Some(laid_out.reservation.length()) {
        return Err(wrong_length());
    }
    let records = tloc.saturating_add(header.header_len());
    laid_out.written = Some(Span { records, end });
    Ok(())
}

fn wrong_length() -> io::Error {
    io::Error::other("the transaction does not have the length that it was prepared with")
}

/// The end of the file as a writer that gathers what it is given.
struct Tail<'a> {
    backend: &'a dyn Backend,
    /// Up to here everything has been synced.
    durable: u64,
    /// Where the buffer will be written.
    position: u64,
    buffer: Vec<u8>,
    /// The last transaction that was begun.
    last_tid: Tid,
    room: &'a mut Room,
}

impl Tail<'_> {
    /// Where what is written next will stand.
    fn end(&self) -> u64 {
        self.position.saturating_add(self.buffer.len() as u64)
    }

    /// Makes durable what was written, if anything was.
    fn sync(&mut self) -> Result<()> {
        self.flush().map_err(self.failed(WRITING))?;
        if self.position > self.durable {
            let (backend, end) = (self.backend, self.position);
            self.room.renew(backend, end, self.last_tid)?;
            self.room.release(backend).map_err(self.failed(WRITING))?;
            backend.sync().map_err(self.failed(SYNCING))?;
            self.durable = self.position;
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> Error {
        failed(doing, self.backend.path())
    }
}

impl Write for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let end = self.end();
            self.room.hold(self.position, &mut self.buffer);
            self.room.mark(end, self.last_tid, &mut self.buffer);
            self.backend.write_all_at(&self.buffer, self.position)?;
            self.position = end;
            self.buffer.clear();
            self.buffer.shrink_to(WRITE_CHUNK_BYTES);
        }
        Ok(())
    }
}
