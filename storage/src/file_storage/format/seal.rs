//! What tells a whole transaction from a torn one: a seal behind the STOP of
//! the extension's pickle, where unpicklers do not look.
//!
//! ```text
//! seal (41)    position(8) length(8) status(1) durable(8) checksum(8) check(4)
//!              "rzeo"
//!              position, length, status: as the transaction was written
//!              durable: where its batch begins; all before it was synced
//!              checksum: XXH3-64 of the transaction with its last 8 bytes,
//!              but without its status, this checksum, and the check
//!              check: low half of the XXH3-64 of the 33 bytes before it
//! ```
//!
//! Python copies extensions as they are when it packs. A seal that came to
//! another position with its transaction, or the transaction of which was
//! packed in its place, means nothing any more; its check still tells it from
//! a torn one.

use std::io::{self, Write};

use byteorder::{BE, ByteOrder};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{META_MAX, STATUS_OFFSET, TXN_HEADER_LEN, TxnHeader};

/// Length of a seal.
pub(crate) const SEAL_LEN: usize = 41;
/// The end of a seal. Its last byte is no STOP, which ends every pickle.
pub(crate) const SEAL_MAGIC: &[u8; 4] = b"rzeo";
/// What stands for an empty extension before a seal: the pickle of `{}`.
const EMPTY: &[u8] = b"}.";
/// The most that [`tail`] names.
pub(super) const TAIL_MAX: usize = SEAL_LEN + EMPTY.len();

/// What a seal says of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Where the transaction was written.
    pub position: u64,
    /// Its length without the last 8 bytes.
    pub length: u64,
    /// Its status.
    pub status: u8,
    /// The file was durable up to here when the transaction was written.
    pub durable: u64,
    /// The checksum of the transaction.
    pub checksum: u64,
}

/// How an extension ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a seal, be it that of its transaction or not.
    Sealed(Seal),
    /// With what remains of a seal of which a part was never written, or
    /// has changed.
    Broken,
    /// As Python wrote it.
    Plain,
}

impl Seal {
    /// The bytes of the seal.
    pub fn encode(&self) -> [u8; SEAL_LEN] {
        let mut bytes = [0; SEAL_LEN];
        BE::write_u64(&mut bytes[..8], self.position);
        BE::write_u64(&mut bytes[8..16], self.length);
        bytes[16] = self.status;
        BE::write_u64(&mut bytes[17..25], self.durable);
        BE::write_u64(&mut bytes[25..33], self.checksum);
        let check = check(&bytes);
        BE::write_u32(&mut bytes[33..37], check);
        bytes[37..].copy_from_slice(SEAL_MAGIC);
        bytes
    }

    /// True when it is the seal of the transaction at `position`, and so
    /// tells about it.
    ///
    /// A pack by Python also writes `p` and changes records where nothing
    /// moves.
    pub fn belongs_to(&self, position: u64, header: &TxnHeader) -> bool {
        let packed = header.status == b'p' && self.status != b'p';
        self.position == position && self.length == header.length && !packed
    }
}

impl Ending {
    /// The ending of an extension whose last bytes are these.
    pub fn parse(bytes: &[u8; SEAL_LEN]) -> Self {
        let written = bytes[37..] == SEAL_MAGIC[..];
        if written && BE::read_u32(&bytes[33..37]) == check(bytes) {
            return Self::Sealed(Seal {
                position: BE::read_u64(&bytes[..8]),
                length: BE::read_u64(&bytes[8..16]),
                status: bytes[16],
                durable: BE::read_u64(&bytes[17..25]),
                checksum: BE::read_u64(&bytes[25..33]),
            });
        }
        // What was never written reads as zeros, and one byte may have
        // changed. No pickle of a dict ends like that.
        let magic = bytes[37..].iter().zip(SEAL_MAGIC);
        let alike = magic.filter(|&(&found, &byte)| found == byte || found == 0);
        if alike.count() + 1 >= SEAL_MAGIC.len() {
            Self::Broken
        } else {
            Self::Plain
        }
    }

    /// The ending of the extension of which [`tail`] names these bytes.
    pub fn of(tail: &[u8]) -> Self {
        match tail.last_chunk().map_or(Self::Plain, Self::parse) {
            // Behind this pickle stood a seal: nobody writes anything else.
            Self::Plain if tail.len() > SEAL_LEN && tail.starts_with(EMPTY) => Self::Broken,
            ending => ending,
        }
    }
}

/// Where the seal of a transaction stands, if its extension is long enough.
pub(crate) fn seal_at(position: u64, header: &TxnHeader) -> Option<u64> {
    let fits = usize::from(header.meta_lens[2]) >= SEAL_LEN;
    let end = position.saturating_add(header.header_len());
    fits.then(|| end.saturating_sub(SEAL_LEN as u64))
}

/// What to read of an extension that is long enough for a seal, position and
/// length: the seal, and what stands before it if that may be [`EMPTY`].
pub(crate) fn tail(position: u64, header: &TxnHeader) -> Option<(u64, usize)> {
    let at = seal_at(position, header)?;
    let before = match usize::from(header.meta_lens[2]) - SEAL_LEN {
        length if length == EMPTY.len() => length,
        _ => 0,
    };
    Some((at.saturating_sub(before as u64), before + SEAL_LEN))
}

fn check(bytes: &[u8; SEAL_LEN]) -> u32 {
    xxh3_64(&bytes[..33]) as u32
}

/// What is written before the seal, for an extension without one.
pub(crate) fn before_seal(extension: &[u8]) -> &[u8] {
    match extension {
        [] => EMPTY,
        some => some,
    }
}

/// Length of an extension with its seal; `None` when it is too long for one.
pub(crate) fn sealed_len(extension: &[u8]) -> Option<usize> {
    let length = before_seal(extension).len().saturating_add(SEAL_LEN);
    (length <= META_MAX).then_some(length)
}

/// True unless an extension is too long for a seal and ends in one, or in
/// half of one.
pub(crate) fn can_stand(extension: &[u8]) -> bool {
    let last = extension.last_chunk().map(Ending::parse);
    sealed_len(extension).is_some() || last.is_none_or(|ending| ending == Ending::Plain)
}

/// An extension without its seal, if it has one.
pub(crate) fn unsealed(mut extension: Vec<u8>) -> Vec<u8> {
    if let Some((before, last)) = extension.split_last_chunk()
        && let Ending::Sealed(_) = Ending::parse(last)
    {
        let left = if before == EMPTY { 0 } else { before.len() };
        extension.truncate(left);
    }
    extension
}

/// The checksum of a transaction that is written here from front to back,
/// over all that a seal covers.
pub(crate) struct Sum {
    hasher: Xxh3,
    at: u64,
    /// Where checksum and check stand.
    skipped: std::ops::Range<u64>,
}

impl Sum {
    /// For a transaction with this length of its header, texts included.
    pub fn new(header_len: u64) -> Self {
        let from_end = |length| header_len.saturating_sub(length);
        Self {
            hasher: Xxh3::new(),
            at: 0,
            skipped: from_end(16)..from_end(4),
        }
    }

    /// Adds the next bytes.
    pub fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (counts, until) = match self.at {
                at if at < STATUS_OFFSET => (true, STATUS_OFFSET),
                STATUS_OFFSET => (false, STATUS_OFFSET + 1),
                at if at < self.skipped.start => (true, self.skipped.start),
                at if at < self.skipped.end => (false, self.skipped.end),
                _ => (true, u64::MAX),
            };
            let room = usize::try_from(until.saturating_sub(self.at)).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if counts {
                self.hasher.update(now);
            }
            self.at = self.at.saturating_add(now.len() as u64);
            bytes = rest;
        }
    }

    /// The checksum of all that was added.
    pub fn finish(&self) -> u64 {
        self.hasher.digest()
    }
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a transaction with this status and checksum is not the one that was sealed;
/// `None` when it is.
pub(crate) fn compare(seal: &Seal, status: u8, sum: &Sum) -> Option<&'static str> {
    if sum.finish() != seal.checksum {
        Some("the transaction does not match its checksum")
    } else if status != seal.status {
        Some("the transaction's status has changed since it was written")
    } else {
        None
    }
}

/// What is wrong with an extension that ends in half a seal.
pub(crate) const BROKEN: &str = "the transaction's seal is incomplete";

/// Length of a transaction header with its texts, once it is sealed.
pub(crate) fn header_len(texts: [&[u8]; 2], extension: &[u8]) -> u64 {
    let extension = sealed_len(extension).unwrap_or(extension.len());
    let texts = texts.map(|text| text.len() as u64);
    TXN_HEADER_LEN + texts.iter().sum::<u64>() + extension as u64
}
