//! Makes inputs out of a corpus: each from its seed alone.

use fastrand::Rng;

/// Numbers at which lengths, signs and tables change.
const INTERESTING: [u64; 22] = [
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    22,
    23,
    42,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];
/// Inputs do not grow beyond this.
const LONGEST: usize = 1 << 16;

/// The corpus, and the ways to change it.
pub struct Mutator {
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(mut corpus: Vec<Vec<u8>>) -> Self {
        corpus.push(Vec::new());
        Self { corpus }
    }

    /// The input of this seed: one of the corpus, changed in a few places,
    /// now and then not at all.
    pub fn input(&self, seed: u64) -> Vec<u8> {
        let mut rng = Rng::with_seed(seed);
        let mut input = self.any(&mut rng).to_vec();
        // Mostly few changes, so that decoders get far.
        let changes = match rng.u8(..8) {
            0 => 0,
            1..=4 => 1,
            5 | 6 => rng.usize(1..5),
            _ => rng.usize(1..40),
        };
        for _ in 0..changes {
            self.change(&mut input, &mut rng);
        }
        input.truncate(LONGEST);
        input
    }

    fn any(&self, rng: &mut Rng) -> &[u8] {
        self.corpus
            .get(rng.usize(..self.corpus.len()))
            .map_or(&[], Vec::as_slice)
    }

    fn change(&self, input: &mut Vec<u8>, rng: &mut Rng) {
        let length = input.len();
        let at = rng.usize(..=length);
        let reach = 1 << rng.u8(..12);
        let span = rng.usize(..=(length - at).min(reach));
        match rng.u8(..10) {
            0 => flip(input, at, 1 << rng.u8(..8)),
            1 => flip(input, at, rng.u8(..)),
            2 => drop(input.drain(at..at + span)),
            3 => input.truncate(at),
            4 => {
                let part = input.get(at..at + span).unwrap_or_default().to_vec();
                let most = 1 << rng.u8(..8);
                let times = rng.usize(1..=most).min(LONGEST / (part.len() + 1));
                input.splice(at..at, part.repeat(times));
            }
            5 => {
                let fresh: Vec<u8> = (0..rng.usize(..20)).map(|_| rng.u8(..)).collect();
                input.splice(at..at, fresh);
            }
            6 => {
                let other = self.any(rng);
                let from = rng.usize(..=other.len());
                let to = rng.usize(from..=other.len());
                let part = other.get(from..to).unwrap_or_default().to_vec();
                input.splice(at..at + span, part);
            }
            7 => {
                let other = self.any(rng);
                let from = rng.usize(..=other.len());
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            _ => number(input, at, rng),
        }
    }
}

fn flip(input: &mut [u8], at: usize, bits: u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= bits;
    }
}

/// Writes an interesting number over what is there, in either byte order, or
/// adds a little to it.
fn number(input: &mut [u8], at: usize, rng: &mut Rng) {
    let width = [1, 2, 4, 6, 8][rng.usize(..5)];
    let Some(place) = input.get_mut(at..at + width) else {
        return;
    };
    let old = place
        .iter()
        .fold(0_u64, |old, &byte| old << 8 | u64::from(byte));
    let new = match rng.u8(..3) {
        0 => INTERESTING[rng.usize(..INTERESTING.len())],
        1 => old.wrapping_add(rng.u64(..32)),
        _ => old.wrapping_sub(rng.u64(..32)),
    };
    let bytes = new.to_be_bytes();
    place.copy_from_slice(&bytes[8 - width..]);
    if rng.bool() {
        place.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_input_again() {
        let mutator = Mutator::new(vec![b"one".to_vec(), vec![7; 300]]);
        let inputs = |from: u64| (from..from + 2000).map(|seed| mutator.input(seed));
        assert!(inputs(0).eq(inputs(0)));
        assert!(inputs(0).all(|input| input.len() <= LONGEST));
        let same = inputs(0).zip(inputs(2000)).filter(|(a, b)| a == b).count();
        assert!(same < 1000, "seeds differ");
    }
}
