//! Where a record stands in the file, and about how long it is, in 6 bytes.

/// Files are at most this large, in bytes (1 TiB): what 40 bits can hold.
pub(super) const MAX_FILE: u64 = 1 << 40;

/// Offset of a record (never 0, which is the header's), and its size rounded up by an eighth
/// at most, so that one read gets all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Place {
    /// The place of a block of `size` bytes, 32 to 2^32 - 1.
    pub fn new(offset: u64, size: u64) -> Self {
        Self(offset << 8 | u64::from(class(size)))
    }

    /// Where the record begins.
    pub fn offset(self) -> u64 {
        self.0 >> 8
    }

    /// The bytes to read for the whole record: its size or up to an eighth more.
    pub fn enough(self) -> u64 {
        let class = self.0 & 0xff;
        (8 + (class & 7)) << (class >> 3)
    }

    /// The same in 48 bits.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The power of two (times 8) in the upper five bits, eighths of it in the lower three.
fn class(size: u64) -> u8 {
    let size = size.clamp(32, u32::MAX.into());
    let shift = 63 - size.leading_zeros() - 3;
    // 8 to 16: 16 is the next power of two.
    let eighths = size.div_ceil(1 << shift);
    ((u64::from(shift) << 3) + eighths - 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_and_at_most_an_eighth_more() {
        let sizes = (43..5000).chain((5..31).flat_map(|power| {
            let power = 1_u64 << power;
            [power - 1, power, power + 1, power + power / 3]
        }));
        for size in sizes.filter(|&size| size >= 32) {
            let place = Place::new(MAX_FILE - 1, size);
            assert_eq!(place.offset(), MAX_FILE - 1);
            assert!(place.enough() >= size, "{size}");
            assert!(
                place.enough() <= size + size / 8,
                "{size}: {}",
                place.enough()
            );
            assert!(place.to_bits() < 1 << 48);
            assert_eq!(Place::from_bits(place.to_bits()), place);
        }
        assert!(Place::new(12, u32::MAX.into()).enough() >= u32::MAX.into());
    }
}
