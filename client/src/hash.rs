//! A hash of oids, tids and ids that takes a few instructions.
//!
//! Its seeds are random for each table, and nobody outside sees what it makes: who chooses the
//! numbers can't choose which of them collide.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// The seeds of one table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeds {
    start: u64,
    factor: u64,
}

impl Default for Seeds {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            start: random.hash_one(0),
            // Never 0, and odd: so no number is lost in the product.
            factor: random.hash_one(1) | 1,
        }
    }
}

impl BuildHasher for Seeds {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded {
            state: self.start,
            factor: self.factor,
        }
    }
}

/// What was hashed so far.
#[derive(Debug)]
pub(crate) struct Folded {
    state: u64,
    factor: u64,
}

impl Hasher for Folded {
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.state ^ number) * u128::from(self.factor);
        self.state = (product as u64) ^ (product >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut eight = [0; 8];
            eight
                .iter_mut()
                .zip(part)
                .for_each(|(to, from)| *to = *from);
            self.write_u64(u64::from_le_bytes(eight));
        }
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn neighbours_are_spread_evenly() {
        for _ in 0..20 {
            let seeds = Seeds::default();
            let mut hashes = HashSet::new();
            let mut counts = [0_u32; 64];
            for oid in 0..64_000_u64 {
                let hash = seeds.hash_one(oid);
                counts[(hash >> 58) as usize] += 1;
                hashes.insert(hash >> 16);
            }
            assert_eq!(hashes.len(), 64_000);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least > 500 && *most < 2000, "{least} {most}");
        }
    }
}
