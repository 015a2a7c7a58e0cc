//! Reading one transaction with all checks that Python makes, and that of
//! its seal.

use byteorder::{BE, ByteOrder};

use super::seal::{self, Ending, Sum};
use super::walk::Txn;
use super::window::Window;
use super::{DataHeader, TXN_HEADER_LEN, TxnHeader};
use crate::Result;
use crate::file_storage::open::torn::{CUT_HEADER, MARKED, TOO_LONG, TOO_SHORT};

/// Length of the copy of the length at the end of a transaction.
const LENGTH_LEN: u64 = 8;

/// What stands where a transaction belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// A whole transaction, and whether a checksum says so.
    Whole {
        /// The transaction.
        txn: Txn,
        /// It has a seal of its own, which holds.
        sealed: bool,
    },
    /// One that was not written to its end, and why it looks so.
    Torn(&'static str),
}

/// Reads the transaction at `position` up to its end. Shows each record to
/// `visit`, with its position, before it is known that all of the transaction
/// is whole; those of an undone (`u`) transaction are not looked at.
///
/// Fails with `Corrupt` when a transaction of this length is wrong within.
/// Tids and statuses, previous positions and back-pointers are not checked.
pub fn read_whole(
    window: &mut Window<'_>,
    position: u64,
    visit: &mut dyn FnMut(u64, &DataHeader),
) -> Result<Read> {
    let reader = window.reader();
    if reader.end.saturating_sub(position) < TXN_HEADER_LEN {
        return Ok(Read::Torn(CUT_HEADER));
    }
    let bytes = window.bytes(position, TXN_HEADER_LEN)?;
    let header = TxnHeader::parse(&bytes.first_chunk().copied().unwrap_or_default());
    let txn = Txn { position, header };
    if let Some(why) = unfinished(&txn, reader.end) {
        return Ok(Read::Torn(why));
    }
    // All of a small one is brought into the window at once.
    let length = txn.end().saturating_sub(position);
    window.bytes(position, length.min(window.piece()))?;
    let sealed = check_seal(window, &txn)?;
    if header.status != b'u' {
        read_records(window, &txn, visit)?;
    }
    if BE::read_u64(window.bytes(txn.records_end(), LENGTH_LEN)?) != header.length {
        let what = "the transaction's length differs between its two ends";
        return Err(reader.corrupt(position, what));
    }
    Ok(Read::Whole { txn, sealed })
}

/// Why a transaction in a file of this size was not written to its end, if
/// it looks so.
fn unfinished(txn: &Txn, size: u64) -> Option<&'static str> {
    if txn.end() > size {
        Some(TOO_LONG)
    } else if matches!(txn.header.status, b'c' | 0) {
        // 0 where the status was never written.
        Some(MARKED)
    } else if txn.header.length < txn.header.header_len() {
        Some(TOO_SHORT)
    } else {
        None
    }
}

/// Fails unless the transaction is what was sealed, if it was; tells whether.
pub(crate) fn check_seal(window: &mut Window<'_>, txn: &Txn) -> Result<bool> {
    let (reader, header) = (window.reader(), &txn.header);
    let Some((at, length)) = seal::tail(txn.position, header) else {
        return Ok(false);
    };
    let seal = match Ending::of(window.bytes(at, length as u64)?) {
        Ending::Sealed(seal) if seal.belongs_to(txn.position, header) => seal,
        Ending::Broken => return Err(seal::broken(&reader, txn.position)),
        _ => return Ok(false),
    };
    let mut sum = Sum::new(header.header_len());
    let (mut at, piece) = (txn.position, window.piece());
    while at < txn.end() {
        let length = txn.end().saturating_sub(at).min(piece);
        sum.add(window.bytes(at, length)?);
        at = at.saturating_add(length);
    }
    seal::check_seal(&reader, &seal, header.status, &sum)?;
    Ok(true)
}

fn read_records(
    window: &mut Window<'_>,
    txn: &Txn,
    visit: &mut dyn FnMut(u64, &DataHeader),
) -> Result<()> {
    let (mut position, end) = (txn.records_start(), txn.records_end());
    while position < end {
        let header = window.record_of(position, txn)?;
        visit(position, &header);
        position = position.saturating_add(header.record_len());
    }
    Ok(())
}
