//! Decides whether unreadable bytes are the torn end of a batch that was never
//! acknowledged (it is cut off), or damage (the file is refused). `FORMAT.md`
//! says why this decides correctly.

use crate::Result;
use crate::file_storage::format::seal::{self, Ending, SEAL_LEN, SEAL_MAGIC};
use crate::file_storage::format::verify::{read_ending, sound, verify_seal};
use crate::file_storage::format::walk::{Backwards, RecordHeaders, Txn};
use crate::file_storage::format::{FIRST, Fault, Reader, TXN_HEADER_LEN};

/// Why a transaction is not cut off when only its seal does not hold.
pub(super) const NOT_OURS: &str = "the transaction is complete, so it is damaged, or another tool has \
     copied or changed the file: if so, `fstool index --accept` accepts it as it is";

/// How much is searched at a time.
const SEARCH_CHUNK_BYTES: usize = 1 << 20;
/// Where a record says where its transaction stands.
const TLOC_OFFSET: u64 = 24;

/// What is known of a file besides its bytes: by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// All before this was synced.
    pub durable: u64,
    /// Seals before this position prove nothing.
    pub accepted: u64,
    /// This storage was at work on the file when it was last heard of, so that
    /// what it wrote last may be there in part.
    pub is_open: bool,
}

/// What is known of a file without an index.
impl Default for Known {
    fn default() -> Self {
        Self {
            durable: FIRST,
            accepted: 0,
            is_open: false,
        }
    }
}

/// What is wrong with the transaction at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It looks as if it was not written to its end, and why.
    Frame(Fault),
    /// It has the right length, and its records don't fit in there.
    Within,
    /// All of it fits together, but its seal does not hold.
    Seal,
}

/// Why the transaction at `position`, which is not whole, can't be the
/// beginning of a torn end; `None` when it can, and the file is to be cut
/// there.
pub(crate) fn damage(
    reader: &Reader<'_>,
    position: u64,
    wrong: Wrong,
    known: &Known,
) -> Result<Option<String>> {
    const FOLLOW: &str = "whole transactions seem to follow";
    if wrong == Wrong::Seal && (!known.is_open || position < known.durable) {
        return Ok(Some(NOT_OURS.to_owned()));
    }
    if is_plain(reader, position)? {
        let damaged = match wrong {
            Wrong::Within | Wrong::Seal => {
                let why = "a crash does not cause that in a transaction without a seal";
                return Ok(Some(why.to_owned()));
            }
            Wrong::Frame(Fault::TooShort) => ends_in_a_length(reader, position)?,
            Wrong::Frame(_) => goes_on_behind(reader, position)?,
        };
        if damaged {
            return Ok(Some(FOLLOW.to_owned()));
        }
    } else if position < known.durable {
        return Ok(Some(format!(
            "the index, unless it belongs to another file, says that everything before {} is intact",
            known.durable
        )));
    } else if others_behind(reader, position, known)? {
        return Ok(Some(FOLLOW.to_owned()));
    }
    let later = sealed_behind(reader, position)?;
    Ok(later
        .map(|later| format!("the transaction at {later} was written after this one was on disk")))
}

/// True when what stands at `position` was written without a seal for this
/// place, by Python that is, however wrong it may be otherwise: the header
/// leads to a record that belongs there.
fn is_plain(reader: &Reader<'_>, position: u64) -> Result<bool> {
    let Some(header) = sound(reader.txn_header(position))? else {
        return Ok(false);
    };
    match sound(read_ending(reader, position, &header))? {
        Some(Ending::Plain) => {}
        // Moved or packed by Python.
        Some(Ending::Sealed(seal))
            if seal.position != position || (header.status, seal.status) == (b'p', b' ') => {}
        _ => return Ok(false),
    }
    let records = position.saturating_add(header.header_len());
    let known = if header.length == header.header_len() {
        sound(reader.number(records))? == Some(header.length)
    } else {
        sound(reader.number(records.saturating_add(TLOC_OFFSET)))? == Some(position)
    };
    Ok(known)
}

/// True when the file ends in a whole transaction that begins behind
/// `position`. (Python does not look, and cuts it off.)
fn goes_on_behind(reader: &Reader<'_>, position: u64) -> Result<bool> {
    let last = Backwards::new(*reader).next().map(sound).transpose()?;
    Ok(last.flatten().is_some_and(|last| last.position > position))
}

/// True when the file ends in what can be the length of a transaction from
/// `position` on: Python's own check.
fn ends_in_a_length(reader: &Reader<'_>, position: u64) -> Result<bool> {
    let length = reader.number(reader.end.saturating_sub(8))?;
    let room = reader.end.saturating_sub(position);
    Ok((TXN_HEADER_LEN..=room).contains(&length))
}

/// True when a whole transaction of Python follows: where lengths lead to
/// from `position` on, or at the end of the file. Python syncs each of its
/// transactions, and writes nothing behind a torn one.
fn others_behind(reader: &Reader<'_>, position: u64, known: &Known) -> Result<bool> {
    let mut next = sound(Txn::read(reader, position))?;
    while let Some(end) = next.map(|txn| txn.end()).filter(|&end| end < reader.end) {
        next = sound(Txn::read(reader, end))?;
        if let Some(txn) = next
            && is_of_others(reader, &txn, known)?
        {
            return Ok(true);
        }
    }
    let last = Backwards::new(*reader).next().map(sound).transpose()?;
    match last.flatten().filter(|last| last.position > position) {
        Some(last) => is_of_others(reader, &last, known),
        None => Ok(false),
    }
}

/// True for a whole transaction that another tool wrote, with or without a
/// seal from elsewhere.
fn is_of_others(reader: &Reader<'_>, txn: &Txn, known: &Known) -> Result<bool> {
    if !txn.header.is_finished() {
        return Ok(false);
    }
    match read_ending(reader, txn.position, &txn.header)? {
        Ending::Plain => {}
        Ending::Sealed(seal) if !seal.belongs_to(txn.position, &txn.header) => {}
        // This storage may have written that as well, and not to its end.
        _ if known.is_open => return Ok(false),
        _ if sound(verify_seal(reader, txn))?.is_some() => return Ok(false),
        _ => {}
    }
    for record in RecordHeaders::new(*reader, txn) {
        if sound(record)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where a sealed transaction begins that was written when everything up to
/// `position` and more was durable. Its seal need not hold: no part of a torn
/// end was written when any other part of it was durable.
fn sealed_behind(reader: &Reader<'_>, position: u64) -> Result<Option<u64>> {
    let mut piece = vec![0; SEARCH_CHUNK_BYTES];
    let mut start = position;
    loop {
        let room = usize::try_from(reader.end.saturating_sub(start)).unwrap_or(SEARCH_CHUNK_BYTES);
        piece.truncate(room.min(SEARCH_CHUNK_BYTES));
        reader.read_exact(&mut piece, start)?;
        for (at, bytes) in piece.windows(SEAL_LEN).enumerate() {
            let Some(bytes) = bytes.first_chunk().filter(|b| b.ends_with(SEAL_MAGIC)) else {
                continue;
            };
            if let Ending::Sealed(seal) = Ending::parse(bytes)
                && seal.durable > position
                && stands_at(reader, &seal, start.saturating_add(at as u64))?
            {
                return Ok(Some(seal.position));
            }
        }
        if piece.len() < SEARCH_CHUNK_BYTES {
            return Ok(None);
        }
        // A seal may begin in this piece and end in the next one.
        start = start.saturating_add((SEARCH_CHUNK_BYTES - SEAL_LEN) as u64 + 1);
    }
}

/// True when the seal found at `place` is that of a transaction that has both
/// its ends.
fn stands_at(reader: &Reader<'_>, seal: &seal::Seal, place: u64) -> Result<bool> {
    let txn = sound(Txn::read(reader, seal.position))?;
    Ok(txn.is_some_and(|txn| seal::seal_at(txn.position, &txn.header) == Some(place)))
}
