//! Is what can't be read the torn end of a batch that nobody was told of, or
//! damage? `FORMAT.md` says why this decides rightly.

use crate::Result;
use crate::file_storage::format::seal::{self, Ending, SEAL_LEN, SEAL_MAGIC};
use crate::file_storage::format::verify::{read_ending, sound, verify_seal};
use crate::file_storage::format::walk::{Backwards, RecordHeaders, Txn};
use crate::file_storage::format::{Fault, Reader, TXN_HEADER_LEN};

/// How much is searched at a time.
const PIECE: usize = 1 << 20;
/// Where a record says where its transaction stands.
const TLOC_AT: u64 = 24;

/// Why the transaction at `position`, which is not whole, can't be the
/// beginning of a torn end; `None` when it can, and the file is to be cut
/// there. `torn` tells what is not whole; without it, the transaction has the
/// right length and is wrong within. All before `durable` was synced, as far
/// as is known otherwise.
pub(crate) fn damage(
    reader: &Reader<'_>,
    position: u64,
    torn: Option<Fault>,
    durable: u64,
) -> Result<Option<String>> {
    const FOLLOW: &str = "whole transactions seem to follow";
    if is_plain(reader, position)? {
        let damaged = match torn {
            None => {
                let why = "a crash does not leave that of a transaction without a seal";
                return Ok(Some(why.to_owned()));
            }
            Some(Fault::TooShort) => ends_in_a_length(reader, position)?,
            Some(_) => goes_on_behind(reader, position)?,
        };
        if damaged {
            return Ok(Some(FOLLOW.to_owned()));
        }
    } else if position < durable {
        return Ok(Some(format!(
            "the index, unless it is that of another file, says that all was well up to {durable}"
        )));
    } else if plain_behind(reader, position)? {
        return Ok(Some(FOLLOW.to_owned()));
    }
    let later = sealed_behind(reader, position)?;
    Ok(later.map(|later| format!("the transaction at {later} was written after it was durable")))
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
    let known = match header.length == header.header_len() {
        true => sound(reader.number(records))? == Some(header.length),
        false => sound(reader.number(records.saturating_add(TLOC_AT)))? == Some(position),
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
fn plain_behind(reader: &Reader<'_>, position: u64) -> Result<bool> {
    let mut next = sound(Txn::read(reader, position))?;
    while let Some(end) = next.map(|txn| txn.end()).filter(|&end| end < reader.end) {
        next = sound(Txn::read(reader, end))?;
        if let Some(txn) = next
            && is_whole_plain(reader, &txn)?
        {
            return Ok(true);
        }
    }
    let last = Backwards::new(*reader).next().map(sound).transpose()?;
    match last.flatten().filter(|last| last.position > position) {
        Some(last) => is_whole_plain(reader, &last),
        None => Ok(false),
    }
}

fn is_whole_plain(reader: &Reader<'_>, txn: &Txn) -> Result<bool> {
    if !txn.header.is_finished() {
        return Ok(false);
    }
    match read_ending(reader, txn.position, &txn.header)? {
        Ending::Plain => {}
        Ending::Sealed(seal) if !seal.belongs_to(txn.position, &txn.header) => {}
        _ => return Ok(false),
    }
    for record in RecordHeaders::new(*reader, txn) {
        if sound(record)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where a whole sealed transaction begins that was written when everything
/// up to `position` and more was durable.
fn sealed_behind(reader: &Reader<'_>, position: u64) -> Result<Option<u64>> {
    let mut piece = vec![0; PIECE];
    let mut start = position;
    loop {
        let room = usize::try_from(reader.end.saturating_sub(start)).unwrap_or(PIECE);
        piece.truncate(room.min(PIECE));
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
        if piece.len() < PIECE {
            return Ok(None);
        }
        // A seal may begin in this piece and end in the next one.
        start = start.saturating_add((PIECE - SEAL_LEN) as u64 + 1);
    }
}

/// True when the seal found at `place` is that of a whole transaction.
fn stands_at(reader: &Reader<'_>, seal: &seal::Seal, place: u64) -> Result<bool> {
    let Some(txn) = sound(Txn::read(reader, seal.position))? else {
        return Ok(false);
    };
    if seal::seal_at(seal.position, &txn.header) != Some(place) {
        return Ok(false);
    }
    let holds = sound(verify_seal(reader, &txn))?.flatten();
    Ok(holds == Some(*seal))
}
