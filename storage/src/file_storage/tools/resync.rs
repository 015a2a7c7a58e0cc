//! Finding the next transaction behind damage.

use byteorder::{BE, ByteOrder};

use crate::file_storage::format::walk::{RecordHeaders, Txn};
use crate::file_storage::format::{Reader, TXN_HEADER_LEN, TxnHeader};
use crate::{Error, Result};

/// How much is searched at a time: more and more, since the next transaction
/// may be near.
const FIRST_SEARCH_CHUNK_BYTES: usize = 1 << 12;
const SEARCH_CHUNK_BYTES: usize = 1 << 20;
const HEADER: usize = TXN_HEADER_LEN as usize;

/// The first transaction that begins at `from` or behind it: its lengths add
/// up, it has a status that a finished transaction has, and its first record
/// says that it belongs there. What it holds may be damaged. `None` when
/// there is none up to the end of the file.
///
/// Data that happen to hold a whole FileStorage are not mistaken for it: their
/// records belong to other positions.
///
/// # Errors
/// The file can't be read.
pub fn next_transaction(reader: &Reader<'_>, from: u64) -> Result<Option<Txn>> {
    let mut piece = Vec::new();
    let (mut start, mut length) = (from, FIRST_SEARCH_CHUNK_BYTES);
    while start < reader.end {
        let room = usize::try_from(reader.end.saturating_sub(start)).unwrap_or(SEARCH_CHUNK_BYTES);
        piece.resize(room.min(length), 0);
        reader.read_exact(&mut piece, start)?;
        for (at, bytes) in piece.windows(HEADER).enumerate() {
            let position = start.saturating_add(at as u64);
            if let Some(bytes) = bytes.first_chunk()
                && is_header(bytes, reader.end.saturating_sub(position))
                && let Some(txn) = transaction_at(reader, position)?
            {
                return Ok(Some(txn));
            }
        }
        if piece.len() < length {
            break;
        }
        // A header may begin in this piece and end in the next one.
        start = start.saturating_add((length - HEADER) as u64 + 1);
        length = (4 * length).min(SEARCH_CHUNK_BYTES);
    }
    Ok(None)
}

/// The transaction at `position`, if there is one.
///
/// # Errors
/// The file can't be read.
pub fn transaction_at(reader: &Reader<'_>, position: u64) -> Result<Option<Txn>> {
    let txn = match Txn::read(reader, position) {
        Ok(txn) if txn.header.is_finished() => txn,
        Ok(_) | Err(Error::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    match RecordHeaders::new(*reader, &txn).next() {
        None | Some(Ok(_)) => Ok(Some(txn)),
        Some(Err(Error::Corrupt { .. })) => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

/// Whether this can be the header of a finished transaction, where there is
/// so much room.
fn is_header(bytes: &[u8; HEADER], room: u64) -> bool {
    // The cheapest and most telling first.
    matches!(bytes[16], b' ' | b'p' | b'u') && BE::read_u16(&bytes[8..10]) == 0 && {
        let header = TxnHeader::parse(bytes);
        header.length >= header.header_len() && header.length < room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::files::{Builder, data, generation};

    /// Where the next transaction is found from each of these positions.
    fn found(file: &Builder, from: &[u64]) -> Vec<Option<u64>> {
        let generation = generation(&file.bytes, &[]);
        let next = |&from| next_transaction(&generation.reader(), from).unwrap();
        from.iter().map(|from| Some(next(from)?.position)).collect()
    }

    #[test]
    fn the_next_one_is_found() {
        let mut file = Builder::new();
        let first = file.txn(1, b' ', &[(1, 0, data("x"))]);
        let empty = file.txn(2, b'p', &[]);
        let large = "y".repeat(2 * SEARCH_CHUNK_BYTES + 7);
        let third = file.txn(3, b' ', &[(1, first + 23, data(&large))]);
        let last = file.txn(4, b' ', &[(2, 0, data("z"))]);
        let from = [0, first, first + 1, empty + 1, third + 1, last, last + 1];
        let expected = [first, first, empty, third, last, last].map(Some);
        assert_eq!(found(&file, &from), [&expected[..], &[None]].concat());
    }

    #[test]
    fn a_file_within_the_data_is_not_mistaken_for_it() {
        let mut inner = Builder::new();
        inner.txn(1, b' ', &[(1, 0, data("x"))]);
        let inner: String = inner.bytes.iter().map(|&b| char::from(b)).collect();
        let mut file = Builder::new();
        file.txn(1, b' ', &[(1, 0, data(&inner))]);
        let last = file.txn(2, b' ', &[(2, 0, data("z"))]);
        assert_eq!(found(&file, &[5]), [Some(last)]);
    }
}
