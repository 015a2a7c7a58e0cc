//! Room behind the last transaction: a mark, and zeros up to the end of the
//! file, which the next batch is written over.
//!
//! ```text
//! mark (35)    tid(8) length(8) "c" 0(2) 12(2) 0(2) "room of rzeo"
//! ```
//!
//! To Python it is the header of an unfinished transaction, which ends the
//! file. It repeats the last tid, since Python takes that of the header. There
//! is no second length behind it, so that no byte that a power cut takes or
//! leaves makes it a whole transaction.

use std::io;

use zeo_proto::Tid;

use super::{TXN_HEADER_LEN, TxnHeader};
use crate::disk::backend::Backend;

/// The most room that there may be, in bytes.
pub const ROOM_MAX_BYTES: u64 = 64 << 20;
/// Length of a mark.
pub(crate) const MARK_LEN: usize = TXN_HEADER_LEN as usize + TEXT.len();
/// What tells a mark from what Python leaves: its description. No byte of it
/// is 0.
const TEXT: &[u8; 12] = b"room of rzeo";

/// How much is read at a time to find a mark: at first what shows that a file
/// ends in a transaction.
const FIRST_LOOK_BYTES: usize = 64;
const LOOK_BYTES: usize = 1 << 16;
/// A server may be writing there: it takes so many looks to believe that there
/// is no mark before the zeros.
const LOOKS_MAX: usize = 5;

/// The mark behind the transaction of this tid.
pub(crate) fn mark(tid: Tid) -> [u8; MARK_LEN] {
    let header = TxnHeader {
        tid,
        length: MARK_LEN as u64,
        status: b'c',
        meta_lens: [0, TEXT.len() as u16, 0],
    };
    let mut bytes = [0; MARK_LEN];
    let (front, text) = bytes.split_at_mut(TXN_HEADER_LEN as usize);
    front.copy_from_slice(&header.encode());
    text.copy_from_slice(TEXT);
    bytes
}

fn is_mark(bytes: &[u8; MARK_LEN]) -> bool {
    let tid = bytes.first_chunk().copied().map(u64::from_be_bytes);
    tid.is_some_and(|tid| *bytes == mark(Tid::new(tid)))
}

/// Where the transactions of a file end, whole or not: at its end, or at the
/// mark of prepared room. Behind a mark there are only zeros.
///
/// # Errors
/// The file can't be read.
pub(crate) fn data_end(backend: &dyn Backend) -> io::Result<u64> {
    let length = backend.len()?;
    for _ in 0..LOOKS_MAX {
        let written = written_end(backend, length)?;
        if let Some(at) = written.checked_sub(MARK_LEN as u64) {
            let mut bytes = [0; MARK_LEN];
            if backend.read_at(&mut bytes, at)? == MARK_LEN && is_mark(&bytes) {
                return Ok(at);
            }
        }
        if length.saturating_sub(written) < 8 {
            break;
        }
    }
    Ok(length)
}

/// Where the last byte ends that is not 0; 0 when room can't be so long.
fn written_end(backend: &dyn Backend, length: u64) -> io::Result<u64> {
    let least = length.saturating_sub(ROOM_MAX_BYTES + 1);
    let (mut end, mut piece) = (length, vec![0; FIRST_LOOK_BYTES]);
    while end > least {
        let start = end.saturating_sub(piece.len() as u64).max(least);
        piece.truncate(usize::try_from(end - start).unwrap_or(LOOK_BYTES));
        let got = backend.read_at(&mut piece, start)?;
        let read = piece.get(..got).unwrap_or_default();
        if let Some(last) = read.iter().rposition(|&byte| byte != 0) {
            return Ok(start.saturating_add(last as u64 + 1));
        }
        end = start;
        piece.resize(LOOK_BYTES, 0);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::files::{Builder, data, memory};

    fn end_of(bytes: &[u8]) -> u64 {
        data_end(&*memory(bytes)).unwrap()
    }

    #[test]
    fn the_data_end_where_the_mark_stands() {
        let mut file = Builder::new();
        file.txn(1, b' ', &[(1, 0, data("x"))]);
        let end = file.bytes.len() as u64;
        assert_eq!(end_of(&file.bytes), end);
        for zeros in [0, 1, 7, 8, 63, 64, 100_000] {
            let room = [&mark(Tid::new(1))[..], &vec![0; zeros]].concat();
            let all = [&file.bytes[..], &room].concat();
            assert_eq!(end_of(&all), end, "{zeros}");
            for (at, byte) in [(3, 1), (16, b' '), (MARK_LEN - 1, b'0')] {
                let mut other = all.clone();
                other[file.bytes.len() + at] = byte;
                let expected = if at == 3 { end } else { other.len() as u64 };
                assert_eq!(end_of(&other), expected, "{zeros} {at}");
            }
            let written = [&all[..], b"\x01"].concat();
            assert_eq!(end_of(&written), written.len() as u64);
        }
    }

    #[test]
    fn zeros_alone_are_no_room() {
        for bytes in [&b""[..], b"FS30", &[0; 10], &[0; 200_000]] {
            assert_eq!(end_of(bytes), bytes.len() as u64);
        }
        let far = [
            &mark(Tid::new(1))[..],
            &vec![0; ROOM_MAX_BYTES as usize + 1],
        ]
        .concat();
        assert_eq!(end_of(&far), far.len() as u64);
        assert_eq!(end_of(&far[..far.len() - 1]), 0);
    }
}
