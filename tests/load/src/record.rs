//! The records that are stored: real ones, of the class PersistentMapping,
//! so that Python and pack can read them. Each names its oid and who wrote
//! it.

use zeo_proto::Oid;

const CLASS: &[u8] = b"\x80\x03cpersistent.mapping\nPersistentMapping\n.";
/// `{'data': {'x': ...`, then bytes with a length of 4 bytes.
const STATE: &[u8] = b"\x80\x03}X\x04\0\0\0data}X\x01\0\0\0xB";
/// The end of the state.
const STATE_END: &[u8] = b"ss.";
/// In the place of the end: `'r': [`, and behind the references `]`.
const LINKS: &[u8] = b"sX\x01\0\0\0r](";
const LINKS_END: &[u8] = b"ess.";
const HEAD: usize = CLASS.len() + STATE.len() + 4;
/// The oid and the stamp.
const MARKS: usize = 16;

/// The size of the smallest record.
pub const MIN_SIZE: usize = HEAD + MARKS + STATE_END.len();

/// A record of `size` bytes (or [`MIN_SIZE`], if that is more) for this
/// object, with a number that tells who wrote it and when.
pub fn record(oid: Oid, stamp: u64, size: usize) -> Vec<u8> {
    let length = size.max(MIN_SIZE) - HEAD - STATE_END.len();
    let mut out = Vec::with_capacity(size.max(MIN_SIZE));
    out.extend_from_slice(CLASS);
    out.extend_from_slice(STATE);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&oid.to_bytes());
    out.extend_from_slice(&stamp.to_be_bytes());
    // Not all the same, so that a misplaced piece is noticed.
    out.extend((MARKS..length).map(|at| (at as u64 ^ stamp) as u8));
    out.extend_from_slice(STATE_END);
    out
}

/// The same, and references to these objects.
pub fn record_with(oid: Oid, stamp: u64, size: usize, links: &[Oid]) -> Vec<u8> {
    let mut out = record(oid, stamp, size);
    if links.is_empty() {
        return out;
    }
    out.truncate(out.len() - STATE_END.len());
    out.extend_from_slice(LINKS);
    for link in links {
        out.extend_from_slice(b"C\x08");
        out.extend_from_slice(&link.to_bytes());
        out.extend_from_slice(b"cpersistent.mapping\nPersistentMapping\n\x86Q");
    }
    out.extend_from_slice(LINKS_END);
    out
}

/// The stamp of a record, if it is exactly what [`record`] makes for this
/// object.
pub fn stamp(oid: Oid, data: &[u8]) -> Option<u64> {
    let stamp = data.get(HEAD + 8..)?.first_chunk::<8>()?;
    let stamp = u64::from_be_bytes(*stamp);
    (record(oid, stamp, data.len()) == data).then_some(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_tell_whose_they_are() {
        for size in [0, 200, 1000] {
            let oid = Oid::new(0x1234);
            let data = record(oid, 77, size);
            assert_eq!(data.len(), size.max(MIN_SIZE));
            assert_eq!(stamp(oid, &data), Some(77));
            assert_eq!(stamp(Oid::new(1), &data), None, "another object's");
            let mut torn = data.clone();
            *torn.last_mut().expect("has bytes") ^= 1;
            assert_eq!(stamp(oid, &torn), None);
            assert_eq!(stamp(oid, &data[..data.len() - 1]), None);
        }
        assert_eq!(stamp(Oid::ZERO, b""), None);
    }
}
