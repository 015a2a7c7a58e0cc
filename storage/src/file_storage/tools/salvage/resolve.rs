//! What a record of the damaged file becomes in the new one.

use std::ops::Range;

use zeo_proto::{Oid, Tid};

use super::find::Found;
use crate::file_storage::format::back_pointers::{Followed, LONG_WAY_STEPS};
use crate::file_storage::format::window::Window;
use crate::file_storage::format::{DATA_HEADER_LEN, DataHeader};
use crate::file_storage::index::Index;
use crate::file_storage::tools::data_file::DataFile;
use crate::references::references;
use crate::{Error, Result};

/// Data of older records are read by pieces of this.
const RECORD_CHUNK_BYTES: usize = 1 << 12;

/// Where the data are that a back-pointer leads to, and their length, and the
/// transaction of the record that it leads to.
type Target = (Option<(u64, u64)>, Option<Tid>);

/// A record that can be copied.
pub(super) struct Resolved {
    pub oid: Oid,
    pub serial: Tid,
    /// Where it is in the damaged file.
    pub position: u64,
    /// Its length in the damaged file.
    pub length: u64,
    /// Where its data are, and their length; `None` when the object is gone.
    pub data: Option<(u64, u64)>,
    /// The transaction to which a back-pointer leads.
    pub data_txn: Option<Tid>,
}

/// Reads records, and knows what of the file was copied.
pub(super) struct Resolver<'a> {
    input: &'a DataFile,
    old: Window<'a>,
    followed: Followed<Option<(u64, u64)>>,
    /// The last record of each object that was copied.
    index: Index,
    /// What was not copied, in order.
    lost: Vec<Range<u64>>,
}

impl<'a> Resolver<'a> {
    pub fn new(input: &'a DataFile) -> Self {
        Self {
            input,
            old: Window::new(input.reader(), RECORD_CHUNK_BYTES),
            followed: Followed::default(),
            index: Index::default(),
            lost: Vec::new(),
        }
    }

    /// Takes note that a range was not copied, or not all of it: from the
    /// front to the back, and first the larger of two that overlap.
    pub fn lose(&mut self, range: Range<u64>) {
        let known = self.lost.last().is_some_and(|last| last.end >= range.end);
        if !known {
            self.lost.push(range);
        }
    }

    /// Takes note of records that were copied.
    pub fn copied(&mut self, records: &[Resolved]) {
        for record in records {
            self.index.set(record.oid, record.position);
        }
    }

    /// The record at `position`, or why it can't be copied.
    pub fn resolve(
        &mut self,
        window: &mut Window<'_>,
        found: &Found,
        position: u64,
    ) -> Result<std::result::Result<Resolved, String>> {
        match self.try_to(window, found, position) {
            Ok(resolved) => Ok(Ok(resolved)),
            Err(Error::Corrupt { what, .. }) => Ok(Err(what)),
            Err(error) => Err(error),
        }
    }

    fn try_to(
        &mut self,
        window: &mut Window<'_>,
        found: &Found,
        position: u64,
    ) -> Result<Resolved> {
        let header = window.record_of(position, &found.txn)?;
        let reader = window.reader();
        self.check_hole(position, &header)?;
        if !found.is_sound && !self.leads_back(&header, found.status) {
            let what = "it does not point to the previous record of its object";
            return Err(reader.corrupt(position, what));
        }
        let (data, data_txn) = match (header.plen, header.back) {
            (0, 0) => (None, None),
            (0, back) => self.follow(position, header.oid, back)?,
            (plen, _) => {
                let data = (position.saturating_add(DATA_HEADER_LEN), plen);
                if !found.is_sound {
                    check_pickles(window, data)?;
                }
                (Some(data), None)
            }
        };
        Ok(Resolved {
            oid: header.oid,
            serial: header.tid,
            position,
            length: header.record_len(),
            data,
            data_txn,
        })
    }

    /// The data of a record.
    pub fn data(&mut self, record: &Resolved) -> Result<Option<Vec<u8>>> {
        let Some((position, length)) = record.data else {
            return Ok(None);
        };
        self.old
            .bytes(position, length)
            .map(|data| Some(data.to_vec()))
    }

    /// Fails when the disk can't read all of the record.
    fn check_hole(&self, position: u64, header: &DataHeader) -> Result<()> {
        let record = position..position.saturating_add(header.record_len());
        match self.input.hole_in(&record) {
            Some((_, what)) => Err(self.input.reader().corrupt(position, what)),
            None => Ok(()),
        }
    }

    /// Where a back-pointer leads to.
    fn follow(&mut self, mut position: u64, oid: Oid, mut back: u64) -> Result<Target> {
        let (start, mut data_txn, mut steps) = (position, None, 0);
        let place = loop {
            let reader = self.old.reader();
            if back >= position {
                let what = "the back-pointer does not point to an earlier record";
                return Err(reader.corrupt(position, what));
            }
            let header = self.old.header(back)?;
            self.check_hole(back, &header)?;
            if header.oid != oid {
                let what = format!(
                    "the back-pointer points to {back}, which is not a record of this object"
                );
                return Err(reader.corrupt(position, what));
            }
            data_txn = data_txn.or(Some(header.tid));
            steps += 1;
            if let Some(known) = self.followed.get(back) {
                break known;
            }
            match (header.plen, header.back) {
                (0, 0) => break None,
                (0, next) => (position, back) = (back, next),
                (plen, _) => {
                    let data = (back.saturating_add(DATA_HEADER_LEN), plen);
                    self.check_lost(position, back, &header)?;
                    break Some(data);
                }
            }
        };
        if steps >= LONG_WAY_STEPS {
            self.followed.note(start, place);
        }
        Ok((place, data_txn))
    }

    /// Fails when the data that the back-pointer of the record at `position`
    /// leads to were lost, and can't be read all the same.
    fn check_lost(&mut self, position: u64, back: u64, header: &DataHeader) -> Result<()> {
        let Some(range) = self.lost_at(back) else {
            return Ok(());
        };
        let data = (back.saturating_add(DATA_HEADER_LEN), header.plen);
        let is_there = range.contains(&header.tloc);
        if !is_there || data.0.saturating_add(data.1) > range.end {
            let what = format!("the back-pointer points to {back}, which was lost");
            return Err(self.old.reader().corrupt(position, what));
        }
        check_pickles(&mut self.old, data)
    }

    /// Whether the previous record is the last one that was copied, or was
    /// lost, so that object and pointer are right. (What was packed has none.)
    fn leads_back(&self, header: &DataHeader, status: u8) -> bool {
        let known = self.index.get(header.oid).unwrap_or(0);
        let packed = status == b'p' && header.prev == 0;
        header.prev == known || packed || self.lost_at(header.prev).is_some()
    }

    fn lost_at(&self, position: u64) -> Option<&Range<u64>> {
        let behind = self.lost.partition_point(|range| range.start <= position);
        let range = self.lost.get(behind.checked_sub(1)?)?;
        range.contains(&position).then_some(range)
    }
}

/// Fails unless there is a record of two pickles.
fn check_pickles(window: &mut Window<'_>, (position, length): (u64, u64)) -> Result<()> {
    let reader = window.reader();
    match references(window.bytes(position, length)?) {
        Ok(_) => Ok(()),
        Err(why) => Err(reader.corrupt(position, format!("it can't be read: {why}"))),
    }
}
