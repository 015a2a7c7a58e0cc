//! Reading one transaction with all checks that Python makes, and that of
//! its seal.

use super::seal::{self, Ending, Seal, Sum};
use super::walk::Txn;
use super::window::Window;
use super::{DataHeader, Fault, Reader, TXN_HEADER_LEN, TxnHeader};
use crate::{Error, Result};

/// How much of a transaction is read at a time to check its seal.
const READ_CHUNK_BYTES: u64 = 1 << 20;

/// What was found where a transaction should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Read {
    /// A transaction that is complete and consistent.
    Whole {
        /// The transaction.
        txn: Txn,
        /// What its seal says of it.
        sealed: Sealed,
    },
    /// A transaction that was not completely written, and the reason to think so.
    Unfinished(Fault),
}

/// What the seal of a consistent transaction says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// There is none for this place.
    No,
    /// The transaction is as it was written.
    Holds,
    /// It is not what the seal was written for, and why. Bytes have changed or
    /// were never written, or another tool has taken the seal from elsewhere.
    Fails(&'static str),
}

/// Reads the transaction at `position` up to its end. Shows each record to
/// `visit`, with its position, before it is known that all of the transaction
/// is whole; those of an undone (`u`) transaction are not looked at.
///
/// Tids and statuses, previous positions and back-pointers are not checked.
///
/// # Errors
/// [`Error::Corrupt`]: a transaction of this length is wrong within; or the
/// file can't be read.
pub fn read_verified(
    window: &mut Window<'_>,
    position: u64,
    visit: &mut dyn FnMut(u64, &DataHeader),
) -> Result<Read> {
    let reader = window.reader();
    if reader.end.saturating_sub(position) < TXN_HEADER_LEN {
        return Ok(Read::Unfinished(Fault::CutHeader));
    }
    let bytes = window.bytes(position, TXN_HEADER_LEN)?;
    let header = TxnHeader::parse(&bytes.first_chunk().copied().unwrap_or_default());
    let txn = Txn { position, header };
    if let Some(fault) = unfinished(&txn, reader.end) {
        return Ok(Read::Unfinished(fault));
    }
    // All of a small one is brought into the window at once.
    let length = txn.end().saturating_sub(position);
    window.bytes(position, length.min(window.piece()))?;
    let sealed = check_seal(window, &txn)?;
    if header.status != b'u' {
        read_records(window, &txn, visit)?;
    }
    window.check_end(&txn)?;
    Ok(Read::Whole { txn, sealed })
}

/// Why a transaction in a file of this size was not written to its end, if
/// it looks so.
fn unfinished(txn: &Txn, size: u64) -> Option<Fault> {
    let fault = txn.header.check(txn.position, size).err();
    if txn.header.encode().iter().all(|&byte| byte == 0) {
        return Some(Fault::Zeros);
    }
    // 0 where the status was never written.
    if fault != Some(Fault::TooLong) && matches!(txn.header.status, b'c' | 0) {
        return Some(Fault::Unfinished);
    }
    fault
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

/// `None` in place of an error about damage: where any bytes may stand, damage only means that
/// there is no transaction.
pub(crate) fn sound<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How the extension of the transaction at `position` ends.
pub(crate) fn read_ending(
    reader: &Reader<'_>,
    position: u64,
    header: &TxnHeader,
) -> Result<Ending> {
    let Some((at, length)) = seal::tail(position, header) else {
        return Ok(Ending::Plain);
    };
    let mut bytes = [0; seal::TAIL_MAX];
    let bytes = bytes.get_mut(..length).unwrap_or_default();
    reader.read_exact(bytes, at)?;
    Ok(Ending::of(bytes))
}

/// Whether a transaction whose lengths add up has a seal of its own, which
/// holds. Fails with `Corrupt` when the transaction is not the one that was sealed.
pub(crate) fn verify_seal(reader: &Reader<'_>, txn: &Txn) -> Result<Option<Seal>> {
    let ending = read_ending(reader, txn.position, &txn.header)?;
    let length = txn.end().saturating_sub(txn.position).min(READ_CHUNK_BYTES);
    let mut window = Window::new(*reader, usize::try_from(length).unwrap_or(0));
    match (compare(&mut window, txn, ending)?, ending) {
        (Sealed::Fails(why), _) => Err(reader.corrupt(txn.position, why)),
        (Sealed::Holds, Ending::Sealed(seal)) => Ok(Some(seal)),
        _ => Ok(None),
    }
}

/// What the seal says, where transactions are read from front to back.
pub(crate) fn check_seal(window: &mut Window<'_>, txn: &Txn) -> Result<Sealed> {
    let Some((at, length)) = seal::tail(txn.position, &txn.header) else {
        return Ok(Sealed::No);
    };
    let ending = Ending::of(window.bytes(at, length as u64)?);
    compare(window, txn, ending)
}

/// Compares a transaction with the seal in which its extension ends, if it
/// does.
fn compare(window: &mut Window<'_>, txn: &Txn, ending: Ending) -> Result<Sealed> {
    let seal = match ending {
        Ending::Sealed(seal) if seal.belongs_to(txn.position, &txn.header) => seal,
        Ending::Broken => return Ok(Sealed::Fails(seal::BROKEN)),
        Ending::Sealed(_) | Ending::Plain => return Ok(Sealed::No),
    };
    let mut sum = Sum::new(txn.header.header_len());
    let (mut at, piece) = (txn.position, window.piece());
    while at < txn.end() {
        let length = txn.end().saturating_sub(at).min(piece);
        sum.add(window.bytes(at, length)?);
        at = at.saturating_add(length);
    }
    let why = seal::compare(&seal, txn.header.status, &sum);
    Ok(why.map_or(Sealed::Holds, Sealed::Fails))
}
