//! Copying what a pack keeps.
//!
//! Before the pack time: of each transaction the records to be kept, as data
//! without pointers, in a transaction of status `p`; those without any are
//! left out, but not the last one of all. After it: everything, as it is. So all of that moves by the same
//! distance, and only pointers to the front of the pack time need to be
//! looked up.

use std::collections::{BTreeSet, HashMap};

use zeo_proto::{Oid, Tid};

use super::moves::Move;
use super::output::Output;
use super::reach::Reach;
use crate::Result;
use crate::blob::{Removed, is_blob};
use crate::file_storage::format::walk::Txn;
use crate::file_storage::format::window::Window;
use crate::file_storage::format::{DataHeader, FIRST, Reader, TXN_HEADER_LEN};
use crate::file_storage::index::Index;
use crate::packing::watch::Watch;

/// The file is read by pieces of this.
const READ_CHUNK_BYTES: usize = if cfg!(test) { 64 } else { 1 << 16 };
const COPYING: &str = "copying";
/// No record of a blob is longer.
const BLOB_RECORD_MAX_BYTES: u64 = 1 << 12;

/// Copies what is kept of the transactions before the pack time; says how
/// those behind it move.
pub(super) fn copy_to_pack_time(
    reader: Reader<'_>,
    reach: &mut Reach,
    removed: Option<&mut Removed>,
    out: &mut Output,
    watch: &mut Watch<'_>,
) -> Result<Move> {
    let mut copying = RecordCopier {
        window: Window::new(reader, READ_CHUNK_BYTES),
        // Back-pointers lead anywhere.
        other: Window::new(reader, READ_CHUNK_BYTES / 4),
        reach,
        removed,
        out,
    };
    let end = copying.reach.pack_end;
    let (mut position, mut last) = (FIRST, Tid::ZERO);
    while position < end {
        let txn = copying.window.txn(position, last)?;
        if txn.header.status != b'u' {
            copying.transaction(&txn, txn.end() == reader.end)?;
        }
        last = txn.header.tid;
        position = txn.end();
        watch.bytes(COPYING, position, reader.end)?;
    }
    Ok(Move::new(end, out.end()))
}

struct RecordCopier<'a> {
    window: Window<'a>,
    other: Window<'a>,
    reach: &'a mut Reach,
    /// Where blobs are listed whose records go.
    removed: Option<&'a mut Removed>,
    out: &'a mut Output,
}

impl RecordCopier<'_> {
    /// The storage's last transaction stays, if need be without records: clients have its tid in their caches, and
    /// would refuse a server that is started again and is behind them.
    fn transaction(&mut self, txn: &Txn, is_last: bool) -> Result<()> {
        let (mut tloc, mut dropped) = (None, BTreeSet::new());
        let mut position = txn.records_start();
        while position < txn.records_end() {
            let header = self.window.record(position, txn)?;
            if self.reach.is_kept(header.oid, position)? {
                let tloc = match tloc {
                    Some(tloc) => tloc,
                    None => *tloc.insert(self.begin(txn)?),
                };
                self.record(position, header, tloc)?;
            } else if self.removed.is_some() && self.is_blob(position, &header)? {
                dropped.insert((header.oid, header.tid));
            }
            position = position.saturating_add(header.record_len());
        }
        self.list_blobs(txn, dropped)?;
        if tloc.is_none() && is_last {
            tloc = Some(self.begin(txn)?);
        }
        match tloc {
            Some(_) => self.out.finish(),
            None => Ok(()),
        }
    }

    fn is_blob(&mut self, position: u64, header: &DataHeader) -> Result<bool> {
        let Some((at, length)) = self.other.data_of(position, header)? else {
            return Ok(false);
        };
        let window = match header.plen {
            0 => &mut self.other,
            _ => &mut self.window,
        };
        Ok(is_blob(
            window.bytes(at, length.min(BLOB_RECORD_MAX_BYTES))?,
        ))
    }

    /// Lists blobs of which the transaction has records that go, and none that
    /// stays: clients store the record of a blob twice. (What stays may be no
    /// blob any more.)
    fn list_blobs(&mut self, txn: &Txn, mut dropped: BTreeSet<(Oid, Tid)>) -> Result<()> {
        let mut position = txn.records_start();
        while position < txn.records_end() && !dropped.is_empty() {
            let header = self.window.record(position, txn)?;
            if self.reach.is_kept(header.oid, position)? && self.is_blob(position, &header)? {
                dropped.remove(&(header.oid, header.tid));
            }
            position = position.saturating_add(header.record_len());
        }
        let Some(removed) = &mut self.removed else {
            return Ok(());
        };
        let mut dropped = dropped.into_iter();
        dropped.try_for_each(|(oid, tid)| removed.add(oid, tid))
    }

    fn begin(&mut self, txn: &Txn) -> Result<u64> {
        let mut header = txn.header;
        header.status = b'p';
        self.out.begin(&header, texts(&mut self.other, txn)?)
    }

    fn record(&mut self, position: u64, header: DataHeader, tloc: u64) -> Result<()> {
        let data = self.other.data_of(position, &header)?;
        let to = self.out.end();
        let packed = DataHeader {
            prev: 0,
            tloc,
            plen: data.map_or(0, |(_, length)| length),
            ..header
        };
        self.out.add(&packed.encode())?;
        match data {
            Some((at, length)) if header.plen != 0 => self.out.copy(&mut self.window, at, length),
            Some((at, length)) => self.out.copy(&mut self.other, at, length),
            // The object is gone.
            None => self.out.add(&[0; 8]),
        }?;
        self.reach.moved(header.oid, position, to);
        Ok(())
    }
}

/// User, description and extension, as they stand in the file.
fn texts<'w>(window: &'w mut Window<'_>, txn: &Txn) -> Result<&'w [u8]> {
    let length = txn.header.header_len().saturating_sub(TXN_HEADER_LEN);
    window.bytes(txn.position.saturating_add(TXN_HEADER_LEN), length)
}

/// The transactions behind the pack time on their way.
pub(super) struct TailCopier {
    pub moved: Move,
    /// What was copied up to now, as a position in the old file.
    pub copied: u64,
    /// The index of the packed file.
    pub index: Index,
    /// The last records in transactions that are not visible yet.
    latest: HashMap<Oid, u64>,
    /// These transactions: where they end in the old file, and their records.
    hidden: Vec<(u64, Vec<(Oid, u64)>)>,
}

impl TailCopier {
    pub fn new(moved: Move, index: Index) -> Self {
        Self {
            moved,
            copied: moved.from(),
            index,
            latest: HashMap::new(),
            hidden: Vec::new(),
        }
    }

    /// Copies the transactions up to the end of `reader`, of which those up
    /// to `visible` go into the index.
    pub fn copy_to_end(
        &mut self,
        reader: Reader<'_>,
        visible: u64,
        reach: &Reach,
        out: &mut Output,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let mut window = Window::new(reader, READ_CHUNK_BYTES);
        while self.copied < reader.end {
            let txn = window.txn(self.copied, Tid::ZERO)?;
            let records = self.transaction(&mut window, &txn, reach, out)?;
            if txn.end() <= visible {
                set_all(&self.index, &records);
            } else {
                self.latest.extend(records.iter().copied());
                self.hidden.push((txn.end(), records));
            }
            self.copied = txn.end();
            watch.bytes(COPYING, self.copied, reader.end)?;
        }
        Ok(())
    }

    /// Puts into the index what has become visible: the file up to `visible`.
    pub fn show(&mut self, visible: u64) {
        for (end, records) in &self.hidden {
            if *end <= visible {
                set_all(&self.index, records);
            }
        }
    }

    fn transaction(
        &self,
        window: &mut Window<'_>,
        txn: &Txn,
        reach: &Reach,
        out: &mut Output,
    ) -> Result<Vec<(Oid, u64)>> {
        let tloc = out.begin(&txn.header, texts(window, txn)?)?;
        let mut records = Vec::new();
        let mut position = txn.records_start();
        while position < txn.records_end() {
            let mut header = window.record(position, txn)?;
            records.push((header.oid, out.end()));
            let length = header.record_len();
            header.tloc = tloc;
            header.prev = self.latest(header.oid);
            if header.back != 0 {
                header.back = self.back(window, position, &header, reach, txn)?;
            }
            out.add(&header.encode())?;
            match header.plen {
                0 => out.add(&header.back.to_be_bytes())?,
                plen => out.copy(window, position + (length - plen), plen)?,
            }
            position = position.saturating_add(length);
        }
        window.check_end(txn)?;
        out.finish()?;
        if txn.header.status == b'u' {
            records.clear();
        }
        Ok(records)
    }

    /// Where the object's record before the transaction stands.
    fn latest(&self, oid: Oid) -> u64 {
        let latest = self.latest.get(&oid).copied();
        latest.or_else(|| self.index.get(oid)).unwrap_or(0)
    }

    fn back(
        &self,
        window: &Window<'_>,
        position: u64,
        header: &DataHeader,
        reach: &Reach,
        txn: &Txn,
    ) -> Result<u64> {
        if header.back >= self.moved.from() {
            return Ok(self.moved.apply(header.back));
        }
        match reach.target(header.oid, header.back) {
            Some(moved) => Ok(moved),
            // Nobody reads it.
            None if txn.header.status == b'u' => Ok(0),
            None => {
                let what = "the back-pointer does not point to a record of its object";
                Err(window.reader().corrupt(position, what))
            }
        }
    }
}

fn set_all(index: &Index, records: &[(Oid, u64)]) {
    for &(oid, position) in records {
        index.set(oid, position);
    }
}
