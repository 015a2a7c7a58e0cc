//! Steps 2 and 3 of a commit: writing transactions at the end of the file,
//! and making them visible.

use std::io::{self, Write};

use zeo_proto::Tid;

use super::core::FileStorage;
use super::format::TxnHeader;
use super::prepared::{Prepared, Span};
use crate::backend::Backend;
use crate::log::Level;
use crate::storage::Commit;
use crate::{Error, Result};

/// A batch up to this size is written at once, a larger one in pieces.
const PIECE: usize = 8 << 20;
const TRAILER_LEN: u64 = 8;

/// The end of the file, where the log writer writes.
#[derive(Debug)]
pub(super) struct Writer {
    /// Where the next transaction begins.
    pub end: u64,
    /// The last transaction written, visible or not.
    pub last_tid: Tid,
    /// Kept from batch to batch.
    pub buffer: Vec<u8>,
}

impl FileStorage {
    /// Writes the batch and syncs once; a failure takes back all of it and
    /// latches the storage.
    pub(super) fn append_batch(&self, batch: &mut [Commit]) -> Result<()> {
        self.check_writable()?;
        let mut writer = self.writer();
        let backend = &*self.generation().backend;
        let start = writer.end;
        match write_batch(&mut writer, backend, batch) {
            Ok(end) => {
                writer.end = end;
                if let Some(last) = batch.last() {
                    writer.last_tid = last.tid;
                }
                for commit in batch {
                    commit.prepared.reservation.written();
                    commit.prepared.body.drop_data();
                }
                Ok(())
            }
            Err(error) => {
                self.latch(&error);
                for commit in batch {
                    commit.prepared.written = None;
                }
                if let Err(error) = backend.truncate(start) {
                    let what = format!(
                        "{}: what was written behind {start} could not be cut off: {error}",
                        backend.path().display()
                    );
                    self.say(Level::Error, &what);
                }
                Err(error)
            }
        }
    }

    /// Makes a transaction visible that was appended.
    pub(super) fn publish_commit(&self, commit: &Commit) {
        // A transaction that is not in the file has nothing to show.
        if let Some(Span { records, end }) = commit.prepared.written {
            let positions = commit.prepared.body.positions(records);
            self.generation().publish(end, commit.tid, positions);
        }
    }
}

/// Writes the batch durably; says where it ends.
fn write_batch(writer: &mut Writer, backend: &dyn Backend, batch: &mut [Commit]) -> Result<u64> {
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
    let failed = |doing| {
        move |source| Error::Io {
            doing,
            file: backend.path().to_owned(),
            source,
        }
    };
    let mut tail = Tail {
        backend,
        position: writer.end,
        buffer: std::mem::take(&mut writer.buffer),
    };
    for commit in batch.iter_mut() {
        write_transaction(&mut tail, &mut commit.prepared, commit.tid)
            .map_err(failed("writing a transaction to"))?;
    }
    tail.flush().map_err(failed("writing a transaction to"))?;
    backend.sync().map_err(failed("syncing"))?;
    writer.buffer = tail.buffer;
    Ok(tail.position)
}

fn write_transaction(tail: &mut Tail<'_>, prepared: &mut Prepared, tid: Tid) -> io::Result<()> {
    let tloc = tail.end();
    let meta = &prepared.meta;
    let texts = [&meta.user, &meta.description, &meta.extension];
    let length = prepared.reservation.length().saturating_sub(TRAILER_LEN);
    let header = TxnHeader {
        tid,
        length,
        status: meta.status,
        // The vote has checked that the lengths fit.
        meta_lens: texts.map(|text| u16::try_from(text.len()).unwrap_or(u16::MAX)),
    };
    tail.write_all(&header.encode())?;
    for text in texts {
        tail.write_all(text)?;
    }
    let records = tail.end();
    prepared.body.write_to(tail, tid, tloc)?;
    tail.write_all(&length.to_be_bytes())?;
    let end = tail.end();
    if end.checked_sub(tloc) != Some(prepared.reservation.length()) {
        return Err(io::Error::other(
            "the transaction does not have the length that it was prepared with",
        ));
    }
    prepared.written = Some(Span { records, end });
    Ok(())
}

/// The end of the file as a writer that gathers what it is given.
struct Tail<'a> {
    backend: &'a dyn Backend,
    /// Where the buffer will be written.
    position: u64,
    buffer: Vec<u8>,
}

impl Tail<'_> {
    /// Where what is written next will stand.
    fn end(&self) -> u64 {
        self.position.saturating_add(self.buffer.len() as u64)
    }
}

impl Write for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.backend.write_all_at(&self.buffer, self.position)?;
            self.position = self.end();
            self.buffer.clear();
            self.buffer.shrink_to(PIECE);
        }
        Ok(())
    }
}
