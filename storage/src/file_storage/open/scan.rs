//! Reading the file from front to back to index it, with all checks that
//! Python makes, and telling a torn end from damage.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeo_proto::{Oid, Tid};

use super::torn::{self, Known, Wrong};
use crate::file_storage::format::verify::{Read, Sealed, read_verified};
use crate::file_storage::format::walk::Txn;
use crate::file_storage::format::window::Window;
use crate::file_storage::format::{DataHeader, Reader};
use crate::file_storage::index::Index;
use crate::log::{Level, Log};
use crate::observer::{Cancelled, Observer};
use crate::{Error, Result};

/// The file is read in pieces of this.
const READ_CHUNK_BYTES: usize = 1 << 16;
/// How often the log hears of a long scan.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How many oddities of one kind are told one by one.
const TOLD_MAX: u64 = 10;

/// What a scan found, besides the records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Where the last whole transaction ends.
    pub end: u64,
    /// The last transaction; what it was before if there is none.
    pub last_tid: Tid,
    /// Where the first transaction was accepted whose seal does not hold, if
    /// one was.
    pub accepted: Option<u64>,
    /// Why the rest of the file is the torn end of a transaction, or of a
    /// batch of them, if there is a rest.
    pub torn: Option<String>,
}

/// Adds all records that `reader` sees from `start` on (where a transaction
/// begins) to the index. `observer` hears of each position.
///
/// Fails with the position on damage before the end of the file; by then,
/// nothing has been changed.
pub(crate) fn scan(
    reader: Reader<'_>,
    index: &Index,
    start: u64,
    last_tid: Tid,
    known: Known,
    log: &Log,
    observer: &mut dyn Observer,
) -> Result<Scanned> {
    reader.check_end()?;
    let mut scan = Scan {
        window: Window::new(reader, READ_CHUNK_BYTES),
        index,
        known,
        records: Vec::new(),
        oddities: Oddities {
            log,
            path: reader.backend.path(),
            wrong_prevs: 0,
        },
    };
    let mut found = Scanned {
        end: start,
        last_tid,
        accepted: None,
        torn: None,
    };
    while found.end < reader.end && found.torn.is_none() {
        scan.records.clear();
        scan.transaction(&mut found)?;
        observer.set(found.end)?;
    }
    scan.oddities.tell_the_rest();
    Ok(found)
}

/// Progress for the log: a line now and then.
pub(crate) struct LoggedProgress<'a> {
    log: &'a Log,
    path: PathBuf,
    size: u64,
    told_at: Instant,
    looked_at: u64,
}

impl<'a> LoggedProgress<'a> {
    /// The progress of a scan of `size` bytes.
    pub fn new(log: &'a Log, path: PathBuf, size: u64) -> Self {
        Self {
            log,
            path,
            size,
            told_at: Instant::now(),
            looked_at: 0,
        }
    }
}

impl Observer for LoggedProgress<'_> {
    fn begin(&mut self, _doing: &'static str, _total: Option<u64>) {}

    fn set(&mut self, done: u64) -> std::result::Result<(), Cancelled> {
        if done.saturating_sub(self.looked_at) < READ_CHUNK_BYTES as u64 {
            return Ok(());
        }
        self.looked_at = done;
        if self.told_at.elapsed() >= PROGRESS_INTERVAL {
            self.told_at = Instant::now();
            let percent = u128::from(done) * 100 / u128::from(self.size.max(1));
            let (path, megabytes) = (self.path.display(), self.size / 1_000_000);
            let what = format!("{path}: scanned {percent} % of {megabytes} MB");
            (self.log)(Level::Info, &what);
        }
        Ok(())
    }

    fn say(&mut self, level: Level, line: &str) {
        (self.log)(level, line);
    }
}

struct Scan<'a> {
    window: Window<'a>,
    index: &'a Index,
    known: Known,
    /// The records of one transaction.
    records: Vec<(Oid, u64)>,
    oddities: Oddities<'a>,
}

impl Scan<'_> {
    /// Reads the transaction at `found.end` and moves that behind it, or
    /// says that it is torn.
    fn transaction(&mut self, found: &mut Scanned) -> Result<()> {
        let (position, reader) = (found.end, self.window.reader());
        let (at, wrong, what) = match self.read(position) {
            Ok(Read::Whole {
                sealed: Sealed::Fails(why),
                ..
            }) if position >= self.known.accepted => (position, Wrong::Seal, why.to_owned()),
            Ok(Read::Whole { txn, sealed }) => {
                if let Sealed::Fails(_) = sealed {
                    found.accepted.get_or_insert(position);
                }
                self.take(&txn, found);
                return Ok(());
            }
            Ok(Read::Unfinished(fault)) => (position, Wrong::Frame(fault), fault.to_string()),
            Err(Error::Corrupt { position, what, .. }) => (position, Wrong::Within, what),
            Err(error) => return Err(error),
        };
        match torn::damage(&reader, position, wrong, &self.known)? {
            Some(why) => Err(reader.corrupt(at, format!("{what}; {why}"))),
            None => {
                found.torn = Some(what);
                Ok(())
            }
        }
    }

    /// Reads the transaction at `position`, and gathers its records.
    fn read(&mut self, position: u64) -> Result<Read> {
        let (index, records, oddities) = (self.index, &mut self.records, &mut self.oddities);
        read_verified(&mut self.window, position, &mut |at, record| {
            oddities.look_at_record(at, record, index);
            records.push((record.oid, at));
        })
    }

    /// Enters a whole transaction.
    fn take(&mut self, txn: &Txn, found: &mut Scanned) {
        self.oddities.look_at_txn(txn, found.last_tid);
        for (oid, position) in self.records.drain(..) {
            self.index.set(oid, position);
        }
        found.end = txn.end();
        found.last_tid = txn.header.tid;
    }
}

/// What should not be, and does no harm.
struct Oddities<'a> {
    log: &'a Log,
    path: &'a Path,
    wrong_prevs: u64,
}

impl Oddities<'_> {
    fn look_at_txn(&self, txn: &Txn, last_tid: Tid) {
        if txn.header.tid <= last_tid {
            self.warn(
                txn.position,
                "the transaction's tid is not later than the last",
            );
        }
        if !txn.header.is_finished() {
            self.warn(txn.position, "the transaction has an unknown status");
        }
    }

    fn look_at_record(&mut self, position: u64, record: &DataHeader, index: &Index) {
        if index.get(record.oid).unwrap_or(0) != record.prev {
            self.wrong_prevs += 1;
            if self.wrong_prevs <= TOLD_MAX {
                self.warn(
                    position,
                    "the record does not point to the previous record of its object",
                );
            }
        }
    }

    fn tell_the_rest(&self) {
        if self.wrong_prevs > TOLD_MAX {
            let count = self.wrong_prevs;
            self.say(&format!(
                "{count} records in total do not point to the previous record of their object"
            ));
        }
    }

    fn warn(&self, position: u64, what: &str) {
        self.say(&format!("{what} (at {position})"));
    }

    fn say(&self, what: &str) {
        (self.log)(Level::Warning, &format!("{}: {what}", self.path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::backend::MemoryBackend;
    use crate::file_storage::format::END_MAX;
    use crate::log::silent;

    #[test]
    fn no_file_is_longer_than_an_index_can_tell() {
        let backend = MemoryBackend::default();
        let scan = |end| {
            let reader = Reader {
                backend: &backend,
                end,
            };
            let (index, log) = (Index::default(), silent());
            let known = Known::default();
            scan(reader, &index, END_MAX, Tid::ZERO, known, &log, &mut ())
        };
        assert_eq!(scan(END_MAX).unwrap().end, END_MAX);
        let error = scan(END_MAX + 1).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("longer than a FileStorage can be"),
            "{error}"
        );
    }
}
