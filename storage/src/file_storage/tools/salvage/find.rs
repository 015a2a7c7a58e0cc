//! What is there of a damaged transaction.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use byteorder::{BE, ByteOrder};
use zeo_proto::pickle::{Policy, decode_prefix};
use zeo_proto::{Tid, Value};

use crate::Result;
use crate::file_storage::format::seal::{self, Ending, Sum};
use crate::file_storage::format::verify::sound;
use crate::file_storage::format::walk::{RecordHeaders, Txn};
use crate::file_storage::format::window::Window;
use crate::file_storage::format::{
    DATA_HEADER_LEN, DataHeader, Reader, TRAILER_LEN, TXN_HEADER_LEN, TxnHeader,
};
use crate::file_storage::tools::resync::next_transaction;
use crate::storage::TransactionMeta;

const HEADER: usize = DATA_HEADER_LEN as usize;
/// How much is searched, or summed up, at a time.
const SEARCH_CHUNK_BYTES: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A transaction with the records of it that are there.
pub(super) struct Found {
    /// Place and length are true. Of one of which only records were found,
    /// nothing else is.
    pub txn: Txn,
    /// Its status.
    pub status: u8,
    /// The positions of its records, and their tids.
    pub records: Vec<(u64, Tid)>,
    /// All that is in it is as it was written, as far as that can be told.
    pub is_sound: bool,
    /// Its checksum says that it is as it was written.
    pub is_sealed: bool,
}

impl Found {
    /// A whole transaction without damage.
    pub fn whole(txn: Txn, records: Vec<(u64, Tid)>, is_sealed: bool) -> Self {
        Self {
            txn,
            status: txn.header.status,
            records,
            is_sound: true,
            is_sealed,
        }
    }

    /// The tid that all records have, if it is the same.
    pub fn tid_of_records(&self) -> Option<Tid> {
        let &(_, first) = self.records.first()?;
        let is_same = self.records.iter().all(|&(_, tid)| tid == first);
        is_same.then_some(first)
    }
}

/// Where to go on behind damage at `position`: where the next transaction
/// begins, or the end of the file.
pub(super) fn end(reader: &Reader<'_>, position: u64) -> Result<u64> {
    if let Some(damaged) = sound(Txn::read(reader, position))? {
        let mut records = RecordHeaders::new(*reader, &damaged);
        if records.next().is_none_or(|first| first.is_ok()) {
            return Ok(damaged.end());
        }
    }
    let next = next_transaction(reader, position.saturating_add(1))?;
    Ok(next.map_or(reader.end, |txn| txn.position))
}

/// The transaction that fills the range, if all its records are there, one
/// behind the other: only its lengths, status or tid, or what the records
/// hold, can be damaged. `None` also for one at the end of the file that was
/// not finished.
pub(super) fn frame(
    window: &mut Window<'_>,
    range: &Range<u64>,
    last: Tid,
) -> Result<Option<Found>> {
    let reader = window.reader();
    let Some(mut header) = sound(reader.txn_header(range.start))? else {
        return Ok(None);
    };
    let length = range.end.saturating_sub(range.start);
    header.length = length.saturating_sub(TRAILER_LEN);
    let position = range.start;
    let mut txn = Txn { position, header };
    let mut records = Vec::new();
    let mut at = txn.records_start();
    while at < txn.records_end() {
        let Some(record) = sound(window.record_of(at, &txn))? else {
            return Ok(None);
        };
        records.push((at, record.tid));
        at = at.saturating_add(record.record_len());
    }
    if at != txn.records_end() || records.is_empty() {
        return Ok(None);
    }
    let mut found = Found::whole(txn, records, false);
    let said = found.tid_of_records().filter(|&tid| tid > last);
    let mut status = None;
    for tid in [Some(header.tid), said].into_iter().flatten() {
        if status.is_none() {
            txn.header.tid = tid;
            status = sealed_status(window, &txn)?;
        }
    }
    found.is_sound = status.is_some();
    found.is_sealed = found.is_sound;
    if found.is_sound {
        found.txn = txn;
    }
    let is_last = range.end >= reader.end;
    match (status, header.status) {
        (None, b'c' | 0) if is_last => return Ok(None),
        (Some(status), _) => found.status = status,
        (None, b' ' | b'p' | b'u') => {}
        (None, _) => found.status = b' ',
    }
    Ok(Some(found))
}

/// The status that the transaction was sealed with, if it has its checksum,
/// given a frame that was put right.
fn sealed_status(window: &mut Window<'_>, txn: &Txn) -> Result<Option<u8>> {
    let Some(at) = seal::seal_at(txn.position, &txn.header) else {
        return Ok(None);
    };
    let bytes = window.bytes(at, seal::SEAL_LEN as u64)?;
    let seal = match bytes.first_chunk().map(Ending::parse) {
        Some(Ending::Sealed(seal)) => seal,
        _ => return Ok(None),
    };
    if (seal.position, seal.length) != (txn.position, txn.header.length) {
        return Ok(None);
    }
    let mut sum = Sum::new(txn.header.header_len());
    sum.add(&txn.header.encode());
    let mut at = txn.position.saturating_add(TXN_HEADER_LEN);
    while at < txn.records_end() {
        let length = txn.records_end().saturating_sub(at).min(SEARCH_CHUNK_BYTES);
        sum.add(window.bytes(at, length)?);
        at = at.saturating_add(length);
    }
    sum.add(&txn.header.length.to_be_bytes());
    Ok((sum.finish() == seal.checksum).then_some(seal.status))
}

/// The records in a range, by the transactions to which they say they belong,
/// which are in the range as well. Not all that is found need be one.
pub(super) fn search(window: &mut Window<'_>, range: &Range<u64>, last: Tid) -> Result<Vec<Found>> {
    let mut found: BTreeMap<u64, Vec<(u64, Tid)>> = BTreeMap::new();
    let mut at = range.start;
    while range.end.saturating_sub(at) > DATA_HEADER_LEN {
        let length = range.end.saturating_sub(at).min(SEARCH_CHUNK_BYTES);
        let piece = window.bytes(at, length)?;
        let mut offset = 0;
        while let Some(bytes) = piece.get(offset..).and_then(|rest| rest.first_chunk()) {
            let position = at.saturating_add(offset as u64);
            let step = match is_record(bytes, position, range, last) {
                None => 1,
                Some(header) => {
                    let records = found.entry(header.tloc).or_default();
                    records.push((position, header.tid));
                    header.record_len()
                }
            };
            offset = offset.saturating_add(usize::try_from(step).unwrap_or(usize::MAX));
        }
        at = at.saturating_add(offset as u64);
    }
    Ok(found
        .into_iter()
        .map(|(position, records)| part(position, records, range))
        .collect())
}

fn is_record(
    bytes: &[u8; HEADER],
    position: u64,
    range: &Range<u64>,
    last: Tid,
) -> Option<DataHeader> {
    // The cheapest first: positions have six bytes.
    let plausible = BE::read_u16(&bytes[24..26]) == 0 && BE::read_u16(&bytes[16..18]) == 0;
    let header = plausible.then(|| DataHeader::parse(bytes)).flatten()?;
    let room = range.end.saturating_sub(position);
    let first = header.tloc.saturating_add(TXN_HEADER_LEN);
    let belongs = header.tloc >= range.start && first <= position && header.prev < header.tloc;
    (belongs && header.tid > last && header.record_len() <= room).then_some(header)
}

fn part(position: u64, records: Vec<(u64, Tid)>, range: &Range<u64>) -> Found {
    // One that has another tid than most may be wrong in that.
    let mut counts: BTreeMap<Tid, usize> = BTreeMap::new();
    for &(_, tid) in &records {
        *counts.entry(tid).or_default() += 1;
    }
    let tid = counts.iter().max_by_key(|&(_, count)| count);
    let header = TxnHeader {
        tid: tid.map_or(Tid::ZERO, |(&tid, _)| tid),
        length: range.end.saturating_sub(position),
        status: b'p',
        meta_lens: [0; 3],
    };
    Found {
        txn: Txn { position, header },
        status: b'p',
        records,
        is_sound: false,
        is_sealed: false,
    }
}

/// A tid that the transaction which ends at `end` can't have reached: that of
/// the next one, or if there is none, of tomorrow.
pub(super) fn bound(reader: &Reader<'_>, end: u64) -> Result<Tid> {
    let tomorrow = SystemTime::now().checked_add(DAY).unwrap_or(UNIX_EPOCH);
    let next = sound(Txn::read(reader, end))?.map(|txn| txn.header.tid);
    Ok(next.unwrap_or_else(|| Tid::from_time(tomorrow)))
}

/// User, description and extension, without what remains of a seal.
pub(super) fn meta(reader: &Reader<'_>, txn: &Txn) -> Result<TransactionMeta> {
    let mut meta = reader.txn_meta(txn.position, &txn.header)?;
    let extension = &mut meta.extension;
    if let Some((before, last)) = extension.split_last_chunk()
        && Ending::parse(last) != Ending::Plain
    {
        let left = if before == b"}." { 0 } else { before.len() };
        extension.truncate(left);
    }
    Ok(meta)
}

/// Whether an extension is what it has to be: nothing, or the pickle of a
/// dict.
pub(super) fn is_dict(extension: &[u8]) -> bool {
    let value = || decode_prefix(extension, &Policy::FILE);
    extension.is_empty() || matches!(value(), Ok((Value::Dict(_), _)))
}
