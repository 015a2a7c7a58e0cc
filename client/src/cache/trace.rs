//! The trace that ZEO's cache scripts read: what was asked of a cache, and what came of it.
//!
//! A record: `>I` time in seconds, `>I` length of the data << 8 | code, `>H` length of the oid,
//! tid, end tid, oid. The first hexadecimal digit of a code is the operation, the second the
//! outcome.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use zeo_proto::{Oid, Tid};

/// The file was opened.
pub(super) const OPENED: u8 = 0x00;
/// There is nothing to invalidate.
pub(super) const INVALIDATE_MISS: u8 = 0x10;
/// An invalidated record was kept as a revision that is no longer current.
pub(super) const INVALIDATE_KEPT: u8 = 0x1c;
/// An invalidated record was freed.
pub(super) const INVALIDATE_FREED: u8 = 0x1e;
/// There is no current record.
pub(super) const LOAD_MISS: u8 = 0x20;
/// A current record was read.
pub(super) const LOAD_HIT: u8 = 0x22;
/// There is no record of that time.
pub(super) const LOAD_BEFORE_MISS: u8 = 0x24;
/// A record that is no longer current was read.
pub(super) const LOAD_BEFORE_HIT: u8 = 0x26;
/// A current record was stored.
pub(super) const STORE_CURRENT: u8 = 0x52;
/// A record that is not current was stored.
pub(super) const STORE_NONCURRENT: u8 = 0x54;

/// Longer data are shown as of this length: ZEO's scripts take the number as signed.
const MAX_LENGTH: u32 = (1 << 23) - 1;

/// A trace file.
#[derive(Debug)]
pub(super) struct Trace {
    out: BufWriter<File>,
}

/// What is written of one operation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traced {
    pub start: Option<Tid>,
    pub end: Option<Tid>,
    pub length: u32,
}

impl Trace {
    /// Goes on with the trace file at `path`.
    ///
    /// # Errors
    /// It can't be opened or made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let mut trace = Self {
            out: BufWriter::new(file),
        };
        trace.write(OPENED, None, Traced::default())?;
        Ok(trace)
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// It can't be written; then there may be a part of it.
    pub fn write(&mut self, code: u8, oid: Option<Oid>, traced: Traced) -> io::Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let length = traced.length.min(MAX_LENGTH);
        let mut bytes = Vec::with_capacity(34);
        bytes.extend_from_slice(&(now.as_secs() as u32).to_be_bytes());
        bytes.extend_from_slice(&(length << 8 | u32::from(code)).to_be_bytes());
        bytes.extend_from_slice(&[0, if oid.is_some() { 8 } else { 0 }]);
        bytes.extend_from_slice(&traced.start.unwrap_or(Tid::ZERO).to_bytes());
        bytes.extend_from_slice(&traced.end.unwrap_or(Tid::ZERO).to_bytes());
        if let Some(oid) = oid {
            bytes.extend_from_slice(&oid.to_bytes());
        }
        self.out.write_all(&bytes)
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// It can't be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
