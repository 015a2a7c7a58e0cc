//! What the machine gives at best.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use crate::measured::{Failure, measured};

/// Bytes of a record.
const SIZE: u64 = 1000;
const READS: u64 = 100_000;
/// Bytes of a cache file's header, and of a record before its data.
const HEADER: u64 = 12;
const HEAD: u64 = 35;
/// How much of a cache file is read at a time.
const WINDOW: usize = 128 << 10;

/// Reads records at any places of a file.
pub fn pread(path: &Path) -> Result<Value, Failure> {
    let file = File::open(path)?;
    let room = file.metadata()?.len().saturating_sub(SIZE).max(1);
    measured(|| {
        for _ in 0..READS {
            // A record has an allocation of its own, as a load returns it.
            let mut record = vec![0; SIZE as usize];
            file.read_exact_at(&mut record, fastrand::u64(..room))?;
            black_box(record);
        }
        Ok(READS)
    })
}

/// Reads a cache file through, and keeps of each record what must be kept to read it later: where
/// it stands and how long it is, in 6 bytes.
pub fn heads(path: &Path) -> Result<Value, Failure> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut window = vec![0; WINDOW];
    let mut places: Vec<[u8; 6]> = Vec::new();
    measured(|| {
        let (mut at, mut start, mut filled) = (HEADER, 0, 0);
        while at + HEAD <= size {
            if start + filled < at + HEAD {
                start = at;
                filled = file.read_at(&mut window, start)? as u64;
            }
            let from = (at - start) as usize;
            let Some(&[b'a', a, b, c, d]) = window.get(from..from + 5) else {
                break;
            };
            let length = u32::from_be_bytes([a, b, c, d]);
            let [_, _, offset @ ..] = (at << 8).to_be_bytes();
            places.push(offset);
            at += u64::from(length.max(1));
        }
        Ok(places.len() as u64)
    })
}
