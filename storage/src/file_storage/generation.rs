//! One file with its index: what readers hold while they read. A pack
//! publishes a new generation; whoever holds the old one finishes on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zeo_proto::{Oid, Tid};

use super::format::{DataHeader, Reader};
use super::index::Index;
use crate::backend::Backend;
use crate::storage::Data;
use crate::{Error, Result};

/// A file, its index, and how much of it is visible.
pub(crate) struct Generation {
    pub backend: Arc<dyn Backend>,
    pub index: Index,
    /// Where the visible part of the file ends.
    end: AtomicU64,
    /// Up to where the index knows every record.
    indexed: AtomicU64,
    last_tid: AtomicU64,
}

impl Generation {
    pub fn new(backend: Arc<dyn Backend>, index: Index, end: u64, last_tid: Tid) -> Self {
        Self {
            backend,
            index,
            end: AtomicU64::new(end),
            indexed: AtomicU64::new(end),
            last_tid: AtomicU64::new(last_tid.as_u64()),
        }
    }

    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Up to where the index knows every record; it may know some behind.
    pub fn indexed(&self) -> u64 {
        self.indexed.load(Ordering::Acquire)
    }

    pub fn last_tid(&self) -> Tid {
        Tid::new(self.last_tid.load(Ordering::Acquire))
    }

    /// Makes a durable transaction visible: the file's end first, so that no
    /// index entry ever leads behind it; the last tid last, so that whoever
    /// read it finds all of the transaction.
    pub fn publish(&self, end: u64, tid: Tid, records: impl Iterator<Item = (Oid, u64)>) {
        self.end.store(end, Ordering::Release);
        for (oid, position) in records {
            self.index.set(oid, position);
        }
        self.indexed.store(end, Ordering::Release);
        self.last_tid.store(tid.as_u64(), Ordering::Release);
    }

    /// Reads the visible part of the file.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            backend: &*self.backend,
            end: self.end(),
        }
    }

    /// Where the current record of `oid` stands.
    pub fn lookup(&self, oid: Oid) -> Result<u64> {
        self.index.get(oid).ok_or(Error::NoObject(oid))
    }

    /// The data that a back-pointer leads to, over any number of steps.
    /// Fails with `NoObject` when it ends at an object that is gone.
    pub fn load_back(&self, oid: Oid, mut back: u64) -> Result<Data> {
        while back != 0 {
            let (header, data) = self.reader().record(back, None)?;
            if header.plen != 0 {
                return Ok(data);
            }
            back = header.back;
        }
        Err(Error::NoObject(oid))
    }

    /// The data of a record, its own or what its back-pointer leads to.
    pub fn resolve(&self, header: &DataHeader, own: Data) -> Result<Data> {
        if header.plen != 0 {
            return Ok(own);
        }
        self.load_back(header.oid, header.back)
    }
}
