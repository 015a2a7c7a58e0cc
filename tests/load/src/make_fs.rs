//! Writes a FileStorage (`Data.fs`) with many objects quickly, without a
//! server. (Format: ZODB `FileStorage/format.py`.)

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use zeo_proto::{Oid, Tid};

use crate::error::{Error, Result};
use crate::record::record_with;

const MAGIC: &[u8] = b"FS30";
/// Objects in one transaction.
const TRANSACTION_OBJECTS: u64 = 100;
/// The time of the first transaction before now: a year.
const AGE: Duration = Duration::from_secs(365 * 86_400);

/// To how many others an object of a tree refers.
const BRANCHES: u64 = 10;

/// What the objects refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Links {
    /// Nothing.
    None,
    /// Two trees, of the even oids and of the odd ones: all objects of the
    /// first can be reached from object 0, those of the second are garbage.
    Half,
}

impl Links {
    /// What the object `number` of so many refers to.
    fn of(self, number: u64, objects: u64) -> Vec<Oid> {
        if self == Links::None {
            return Vec::new();
        }
        let first = (number / 2) * BRANCHES + 1;
        let children = (first..first + BRANCHES).map(|child| child * 2 + number % 2);
        let children = children.filter(|child| *child < objects);
        children.map(Oid::new).collect()
    }
}

/// Writes a new file with the objects 0 to `objects - 1`, each with one
/// record of `size` bytes and what its links take. No index is written.
pub fn make_fs(path: &Path, objects: u64, size: usize, links: Links) -> Result<Value> {
    let failed = || Error::io(format!("can't write {}", path.display()));
    let file = File::create_new(path).map_err(failed())?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut written = Written {
        position: 0,
        tid: Tid::from_time(SystemTime::now() - AGE),
    };
    let record = |number| record_with(Oid::new(number), 0, size, &links.of(number, objects));
    let done = written.file(&mut out, objects, &record);
    done.and_then(|()| out.flush()).map_err(failed())?;
    Ok(json!({"objects": objects, "bytes": written.position, "last_tid": written.tid.to_string()}))
}

struct Written {
    position: u64,
    tid: Tid,
}

impl Written {
    fn file(
        &mut self,
        out: &mut impl Write,
        objects: u64,
        record: &impl Fn(u64) -> Vec<u8>,
    ) -> io::Result<()> {
        out.write_all(MAGIC)?;
        self.position = MAGIC.len() as u64;
        for first in (0..objects).step_by(TRANSACTION_OBJECTS as usize) {
            let last = objects.min(first + TRANSACTION_OBJECTS);
            self.tid = Tid::new(self.tid.as_u64() + 1);
            let transaction = self.transaction(first..last, record);
            out.write_all(&transaction)?;
            self.position += transaction.len() as u64;
        }
        Ok(())
    }

    fn transaction(&self, oids: Range<u64>, record: &impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.tid.to_bytes());
        out.extend([0; 8]); // the length: see below
        out.push(b' ');
        out.extend([0; 6]); // no user, description or extension
        for oid in oids {
            let data = record(oid);
            out.extend(oid.to_be_bytes());
            out.extend(self.tid.to_bytes());
            out.extend([0; 8]); // no previous record
            out.extend(self.position.to_be_bytes());
            out.extend([0; 2]);
            out.extend((data.len() as u64).to_be_bytes());
            out.extend(data);
        }
        let length = (out.len() as u64).to_be_bytes();
        if let Some(space) = out.get_mut(8..16) {
            space.copy_from_slice(&length);
        }
        out.extend(length);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{MIN_SIZE, record};

    const TRANSACTION_HEADER: usize = 23;
    const RECORD_HEADER: usize = 42;

    #[test]
    fn transactions_have_their_lengths() {
        let mut written = Written {
            position: 0,
            tid: Tid::new(1),
        };
        let mut file = Vec::new();
        let record = |number| record(Oid::new(number), 0, 0);
        written
            .file(&mut file, TRANSACTION_OBJECTS + 1, &record)
            .expect("writes");
        assert_eq!(written.position, file.len() as u64);
        let mut at = MAGIC.len();
        for objects in [TRANSACTION_OBJECTS as usize, 1] {
            let length = TRANSACTION_HEADER + objects * (RECORD_HEADER + MIN_SIZE);
            let number = |at: usize| u64::from_be_bytes(file[at..at + 8].try_into().expect("8"));
            assert_eq!(number(at + 8), length as u64);
            assert_eq!(number(at + length), length as u64);
            let record = at + TRANSACTION_HEADER;
            assert_eq!(
                number(record + 24),
                at as u64,
                "where its transaction begins"
            );
            assert_eq!(number(record + 8), number(at), "its tid");
            at += length + 8;
        }
        assert_eq!(at, file.len());
    }

    #[test]
    fn half_of_the_objects_can_be_reached() {
        for objects in [1, 2, 3, 1000, 4321] {
            let (mut found, mut next) = (vec![0_u64], 0);
            while let Some(&number) = found.get(next) {
                let links = Links::Half.of(number, objects);
                found.extend(links.into_iter().map(Oid::as_u64));
                next += 1;
            }
            assert!(found.into_iter().eq((0..objects).step_by(2)), "{objects}");
        }
    }
}
