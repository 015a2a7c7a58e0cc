//! A disk whose power fails. What was written since the last sync is there
//! or not, sector by sector, as the dice have it.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use crate::disk::backend::Backend;

/// Dice that fall the same way for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Default)]
struct State {
    /// What any process reads.
    current: Vec<u8>,
    /// What would be there for certain after a power cut.
    durable: Vec<u8>,
    /// What happened since, in order.
    unsynced: Vec<Change>,
    /// Calls that still succeed; `None`: all.
    left: Option<u64>,
    /// How much of the write that fails is still done, in parts of 256.
    last_part: usize,
}

/// The disk. When its time has come, calls fail until
/// [`Disk::power_cut`] or [`Disk::process_killed`].
pub struct Disk {
    sector: usize,
    state: Mutex<State>,
}

impl Disk {
    pub fn new(sector: usize) -> Self {
        Self {
            sector,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets all calls that change something fail after some more.
    pub fn fail_after(&self, calls: u64, dice: &mut Dice) {
        let mut state = self.state();
        state.left = Some(calls);
        state.last_part = dice.below(257) as usize;
    }

    pub fn content(&self) -> Vec<u8> {
        self.state().current.clone()
    }

    /// The process is gone, but what it wrote is still in memory.
    pub fn process_killed(&self) {
        self.state().left = None;
    }

    /// The power was off: all that is left is what the disk has.
    pub fn power_cut(&self, dice: &mut Dice) {
        let mut state = self.state();
        let State {
            durable, unsynced, ..
        } = std::mem::take(&mut *state);
        // Mostly much is there, mostly little, or all is even.
        let kept = [8, 128, 248][dice.below(3) as usize];
        let (mut image, mut length) = (durable.clone(), durable.len());
        let mut ends = Vec::new();
        for change in unsynced {
            match change {
                Change::Truncate(to) if dice.once_in(2) => {
                    image.truncate(to);
                    length = length.min(to);
                    ends.retain(|&end| end <= to);
                }
                Change::Truncate(_) => {}
                Change::Write(position, bytes) => {
                    self.keep_some(&mut image, position, &bytes, kept, dice);
                    ends.push(position + bytes.len());
                    let within = position + dice.below(bytes.len() as u64 + 1) as usize;
                    ends.push(within);
                    ends.push(
                        within
                            .next_multiple_of(self.sector)
                            .min(position + bytes.len()),
                    );
                }
            }
        }
        if let Some(&end) = ends.get(dice.below(ends.len() as u64 * 2 + 1) as usize) {
            length = length.max(end);
        } else if dice.once_in(2) {
            length = ends.iter().fold(length, |length, &end| length.max(end));
        }
        image.resize(length, 0);
        state.current = image.clone();
        state.durable = image;
    }

    /// Of each sector, `kept` of 256 are written, and some in part.
    fn keep_some(
        &self,
        image: &mut Vec<u8>,
        position: usize,
        bytes: &[u8],
        kept: u64,
        dice: &mut Dice,
    ) {
        let end = position + bytes.len();
        let mut start = position;
        while start < end {
            let next = (start / self.sector + 1) * self.sector;
            let next = next.min(end);
            let (mut from, mut to) = (start, next);
            if dice.once_in(8) {
                let middle = start + dice.below((next - start) as u64 + 1) as usize;
                if dice.once_in(2) {
                    from = middle
                } else {
                    to = middle
                }
            } else if dice.below(256) >= kept {
                to = from;
            }
            if from < to {
                put(image, from, &bytes[from - position..to - position]);
            }
            start = next;
        }
    }

    /// Fails when the time has come; gives what of a write is done then.
    fn call(&self, state: &mut State) -> Result<(), usize> {
        match &mut state.left {
            None => Ok(()),
            Some(0) => Err(std::mem::take(&mut state.last_part)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

fn put(image: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[position..end].copy_from_slice(bytes);
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

impl Backend for Disk {
    fn path(&self) -> &Path {
        Path::new("disk")
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.state();
        let from = state.current.get(position as usize..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.state();
        let called = self.call(&mut state);
        let done = match called {
            Ok(()) => bytes,
            Err(part) => &bytes[..bytes.len() * part / 256],
        };
        if !done.is_empty() {
            put(&mut state.current, position as usize, done);
            let change = Change::Write(position as usize, done.to_vec());
            state.unsynced.push(change);
        }
        called.map_err(|_| off())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        self.call(&mut state).map_err(|_| off())?;
        state.durable = state.current.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        self.call(&mut state).map_err(|_| off())?;
        state.current.truncate(length as usize);
        state.unsynced.push(Change::Truncate(length as usize));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state().current.len() as u64)
    }

    fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
        let mut state = self.state();
        self.call(&mut state).map_err(|_| off())
    }
}
