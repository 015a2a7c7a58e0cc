//! The bytes of a ZEC3 file: a header, then blocks one behind the other up to the file's end.
//!
//! | first byte | block |
//! |---|---|
//! | `a` | a record: `>I` size of the block, oid, start tid, end tid (zero: current), `>H` 0, `>I` length, data, oid again |
//! | `f` | free: `>I` size of the block; what follows is garbage |
//! | `1` to `4` | free, of so many bytes |
//!
//! Oids and tids have 8 bytes, big-endian. The header is the magic and the last tid.

use zeo_proto::{Oid, Tid};

/// What a file begins with.
pub(super) const MAGIC: &[u8; 4] = b"ZEC3";
/// Bytes of the header: the magic and the last tid.
pub(super) const HEADER: u64 = 12;
/// Bytes of a record besides its data.
pub(super) const OVERHEAD: u64 = 43;
/// Bytes of a record before its data.
pub(super) const HEAD: usize = 35;
/// Where the end tid stands in a record.
pub(super) const END_TID: u64 = 21;
/// Python makes no larger block: the room that a record is written into must fit into 32 bits,
/// and may be two of them.
pub(super) const MAX_BLOCK: u64 = (1 << 31) - 1;

/// What a record is, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub oid: Oid,
    /// The transaction that wrote the revision.
    pub start: Tid,
    /// The one that wrote the next revision; none for a current one.
    pub end: Option<Tid>,
    /// Bytes of its data.
    pub length: u32,
}

impl Head {
    /// Bytes of the block.
    pub fn size(&self) -> u64 {
        u64::from(self.length) + OVERHEAD
    }
}

/// One block, as its first bytes tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    Record(Head),
    /// Its size in bytes, 1 to 4 in such an `f` block, too, as Python may write at a file's end.
    Free(u64),
}

/// Why a file can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it does not begin with ZEC3")]
    Magic,
    #[error("it ends within its header")]
    Header,
    #[error("an unknown block {0:#04x}")]
    Unknown(u8),
    #[error("a block that is cut off")]
    Cut,
    #[error("a block of an impossible size")]
    Size,
    #[error("a record of a version, which no longer exists")]
    Version,
    #[error("a revision that ends before it begins")]
    Reversed,
    #[error("a record that is not where it should be")]
    Moved,
}

/// The block that begins with these bytes: [`HEAD`] of them, or as many as the file has.
pub(super) fn decode(bytes: &[u8]) -> Result<Block, Damage> {
    match bytes.first() {
        Some(b'a') => decode_head(bytes).map(Block::Record),
        Some(b'f') => match number(bytes, 1).ok_or(Damage::Cut)? {
            0 => Err(Damage::Size),
            size => Ok(Block::Free(size.into())),
        },
        Some(digit @ b'1'..=b'4') => Ok(Block::Free(u64::from(digit - b'0'))),
        Some(&other) => Err(Damage::Unknown(other)),
        None => Err(Damage::Cut),
    }
}

fn decode_head(bytes: &[u8]) -> Result<Head, Damage> {
    let eight = |at| bytes.get(at..at + 8).ok_or(Damage::Cut);
    let oid = Oid::from_slice(eight(5)?).ok_or(Damage::Cut)?;
    let start = Tid::from_slice(eight(13)?).ok_or(Damage::Cut)?;
    let end = Tid::from_slice(eight(21)?).ok_or(Damage::Cut)?;
    let size = number(bytes, 1).ok_or(Damage::Cut)?;
    let length = number(bytes, 31).ok_or(Damage::Cut)?;
    if bytes.get(29..31) != Some(&[0, 0]) {
        return Err(Damage::Version);
    }
    let end = Some(end).filter(|&end| end != Tid::ZERO);
    if end.is_some_and(|end| end <= start) {
        return Err(Damage::Reversed);
    }
    let head = Head {
        oid,
        start,
        end,
        length,
    };
    if head.size() != u64::from(size) || head.size() > MAX_BLOCK {
        return Err(Damage::Size);
    }
    Ok(head)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// The first bytes of a free block of 1 byte or more, below 4 GiB.
pub(super) fn free(size: u64) -> Vec<u8> {
    match size {
        1..=4 => vec![b'0' + size as u8],
        _ => head(b'f', size),
    }
}

/// The first bytes of a block of 5 bytes or more.
pub(super) fn head(kind: u8, size: u64) -> Vec<u8> {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes
}

/// Appends a record.
pub(super) fn encode(bytes: &mut Vec<u8>, head: &Head, data: &[u8]) {
    bytes.reserve(HEAD + data.len() + 8);
    bytes.extend_from_slice(&self::head(b'a', head.size()));
    bytes.extend_from_slice(&head.oid.to_bytes());
    bytes.extend_from_slice(&head.start.to_bytes());
    bytes.extend_from_slice(&head.end.unwrap_or(Tid::ZERO).to_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&head.length.to_be_bytes());
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(&head.oid.to_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Head = Head {
        oid: Oid::new(0x0102),
        start: Tid::new(3),
        end: Some(Tid::new(4)),
        length: 2,
    };

    fn record() -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, &RECORD, b"xy");
        bytes
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let bytes = record();
        assert_eq!(bytes.len() as u64, RECORD.size());
        assert_eq!(decode(&bytes), Ok(Block::Record(RECORD)));
        assert_eq!(&bytes[HEAD..HEAD + 2], b"xy");
    }

    #[test]
    fn free_blocks_of_all_sizes() {
        assert_eq!(free(1), b"1");
        assert_eq!(free(4), b"4");
        assert_eq!(free(5), b"f\0\0\0\x05");
        for size in [1, 2, 3, 4, 5, 6, 0xffff_ffff] {
            assert_eq!(decode(&free(size)), Ok(Block::Free(size)));
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let good = record();
        let wrong = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            decode(&bytes).unwrap_err()
        };
        assert_eq!(wrong(0, b'z'), Damage::Unknown(b'z'));
        assert_eq!(wrong(4, 1), Damage::Size);
        assert_eq!(wrong(28, 3), Damage::Reversed);
        assert_eq!(wrong(30, 1), Damage::Version);
        assert_eq!(wrong(34, 3), Damage::Size);
        for length in 0..HEAD {
            assert_eq!(decode(&good[..length]), Err(Damage::Cut));
        }
        assert_eq!(decode(b"f\0\0\0\0"), Err(Damage::Size));
        assert_eq!(decode(b"f\0\0\0"), Err(Damage::Cut));
    }
}
