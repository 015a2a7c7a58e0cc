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

/// Reads the head of each block of a cache file.
pub fn heads(path: &Path) -> Result<Value, Failure> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    measured(|| {
        let (mut at, mut heads) = (12, 0);
        let mut head = [0; 35];
        while at + 35 <= size {
            file.read_exact_at(&mut head, at)?;
            let length = u64::from(u32::from_be_bytes([head[1], head[2], head[3], head[4]]));
            if head[0] != b'a' || length == 0 {
                break;
            }
            at += length;
            heads += 1;
        }
        Ok(heads)
    })
}
