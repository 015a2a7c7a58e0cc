//! The headers of transactions and of data records, and what can be wrong with
//! the frame of a transaction.

use std::fmt;

use byteorder::{BE, ByteOrder};
use zeo_proto::{Oid, Tid};

use super::{DATA_HEADER_LEN, TRAILER_LEN, TXN_HEADER_LEN};

/// A transaction header, without its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnHeader {
    /// The transaction.
    pub tid: Tid,
    /// Length of the transaction without its last 8 bytes.
    pub length: u64,
    /// `b' '`, `b'p'` packed, `b'u'` undone (skipped), `b'c'` unfinished.
    pub status: u8,
    /// Lengths of user, description and extension.
    pub meta_lens: [u16; 3],
}

impl TxnHeader {
    /// Length of the header with its texts.
    pub fn header_len(&self) -> u64 {
        TXN_HEADER_LEN
            + self
                .meta_lens
                .iter()
                .map(|&len| u64::from(len))
                .sum::<u64>()
    }

    /// What is wrong with the length of a transaction with this header, at
    /// `position` of a file that ends at `end`. Its status, and the copy of the
    /// length at its end, are not looked at.
    ///
    /// # Errors
    /// [`Fault`]: what is wrong with the length.
    pub fn check(&self, position: u64, end: u64) -> Result<(), Fault> {
        let records_end = position.saturating_add(self.length);
        if records_end.saturating_add(TRAILER_LEN) > end {
            Err(Fault::TooLong)
        } else if self.length < self.header_len() {
            Err(Fault::TooShort)
        } else {
            Ok(())
        }
    }

    /// Whether this is the status of a transaction that was finished.
    pub fn is_finished(&self) -> bool {
        matches!(self.status, b' ' | b'p' | b'u')
    }

    /// The header in its 23 bytes.
    pub fn parse(bytes: &[u8; TXN_HEADER_LEN as usize]) -> Self {
        Self {
            tid: Tid::new(BE::read_u64(&bytes[0..8])),
            length: BE::read_u64(&bytes[8..16]),
            status: bytes[16],
            meta_lens: [
                BE::read_u16(&bytes[17..19]),
                BE::read_u16(&bytes[19..21]),
                BE::read_u16(&bytes[21..23]),
            ],
        }
    }

    /// The 23 bytes of the header.
    pub fn encode(&self) -> [u8; TXN_HEADER_LEN as usize] {
        let mut bytes = [0; TXN_HEADER_LEN as usize];
        BE::write_u64(&mut bytes[0..8], self.tid.as_u64());
        BE::write_u64(&mut bytes[8..16], self.length);
        bytes[16] = self.status;
        for (slot, &len) in bytes[17..23].chunks_exact_mut(2).zip(&self.meta_lens) {
            BE::write_u16(slot, len);
        }
        bytes
    }
}

/// What is wrong with the frame of a transaction: its header, and its length
/// at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// There is less than a header.
    CutHeader,
    /// It would end behind the file.
    TooLong,
    /// There are only zeros in its place: it was never written.
    Zeros,
    /// Its status says so (`c`), or was never written (0).
    Unfinished,
    /// It would end within its own header.
    TooShort,
    /// The copy of the length at its end is another number.
    LengthsDiffer,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CutHeader => "the file ends within a transaction's header",
            Self::TooLong => "a transaction is longer than the file",
            Self::Zeros => "there are zeros in the place of a transaction",
            Self::Unfinished => "a transaction is marked as unfinished",
            Self::TooShort => "a transaction is shorter than its header",
            Self::LengthsDiffer => "the transaction's length differs between its two ends",
        })
    }
}

/// A data record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote the record.
    pub tid: Tid,
    /// Position of the object's previous record; 0 when there is none.
    pub prev: u64,
    /// Position of the transaction.
    pub tloc: u64,
    /// Length of the data; 0 when a back-pointer follows.
    pub plen: u64,
    /// The back-pointer when `plen` is 0 (0: the object is gone), else 0.
    pub back: u64,
}

impl DataHeader {
    /// Length of the record: header and data, or header and back-pointer.
    /// Saturates on nonsense lengths; compare it with the room there is.
    pub fn record_len(&self) -> u64 {
        DATA_HEADER_LEN.saturating_add(if self.plen == 0 { 8 } else { self.plen })
    }

    /// The header in its 42 bytes, without the back-pointer. `None` when the
    /// two bytes of the version length are not 0: versions ended with ZODB 3.9.
    pub fn parse(bytes: &[u8; DATA_HEADER_LEN as usize]) -> Option<Self> {
        (BE::read_u16(&bytes[32..34]) == 0).then(|| Self {
            oid: Oid::new(BE::read_u64(&bytes[0..8])),
            tid: Tid::new(BE::read_u64(&bytes[8..16])),
            prev: BE::read_u64(&bytes[16..24]),
            tloc: BE::read_u64(&bytes[24..32]),
            plen: BE::read_u64(&bytes[34..42]),
            back: 0,
        })
    }

    /// The 42 bytes of the header; data or back-pointer follow.
    pub fn encode(&self) -> [u8; DATA_HEADER_LEN as usize] {
        let mut bytes = [0; DATA_HEADER_LEN as usize];
        BE::write_u64(&mut bytes[0..8], self.oid.as_u64());
        BE::write_u64(&mut bytes[8..16], self.tid.as_u64());
        BE::write_u64(&mut bytes[16..24], self.prev);
        BE::write_u64(&mut bytes[24..32], self.tloc);
        BE::write_u64(&mut bytes[34..42], self.plen);
        bytes
    }
}
