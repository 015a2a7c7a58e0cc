//! Reading the file from front to back to index it, with all checks that
//! Python makes, and telling a torn end from damage.

use std::time::{Duration, Instant};

use byteorder::{BE, ByteOrder};
use zeo_proto::{Oid, Tid};

use super::format::{DATA_HEADER_LEN, DataHeader, Reader, TXN_HEADER_LEN, TxnHeader};
use super::index::Index;
use super::walk::Backwards;
use crate::backend::Backend;
use crate::log::{Level, Log};
use crate::{Error, Result};

/// The file is read in pieces of this.
const PIECE: usize = 1 << 20;
/// How often a long scan says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);
/// How many oddities of one kind are told one by one.
const TOLD: u64 = 10;
const TRAILER_LEN: u64 = 8;

const CUT_HEADER: &str = "the file ends within a transaction's header";
const TOO_LONG: &str = "a transaction is longer than the file";
const MARKED: &str = "a transaction is marked as unfinished";
const TOO_SHORT: &str = "a transaction is shorter than its header";

/// What a scan found, besides the records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Where the last whole transaction ends.
    pub end: u64,
    /// The last transaction; what it was before if there is none.
    pub last_tid: Tid,
    /// Why the rest of the file is the torn end of a transaction, if there
    /// is a rest.
    pub torn: Option<&'static str>,
}

/// Adds all records from `start` on (where a transaction begins) to the
/// index. Fails with the position on damage before the end of the file; by
/// then, nothing has been changed.
pub(crate) fn scan(
    backend: &dyn Backend,
    index: &Index,
    start: u64,
    last_tid: Tid,
    log: &Log,
) -> Result<Scanned> {
    let size = backend.len().map_err(|source| Error::Io {
        doing: "reading the size of",
        file: backend.path().to_owned(),
        source,
    })?;
    let mut scan = Scan {
        reader: Reader { backend, end: size },
        index,
        window: Vec::new(),
        window_at: 0,
        log,
        told_at: Instant::now(),
        wrong_prevs: 0,
        records: Vec::new(),
    };
    let mut found = Scanned {
        end: start,
        last_tid,
        torn: None,
    };
    while found.end < size && found.torn.is_none() {
        scan.transaction(&mut found)?;
    }
    scan.tell_the_rest();
    Ok(found)
}

struct Scan<'a> {
    /// Of the whole file.
    reader: Reader<'a>,
    index: &'a Index,
    /// The piece of the file that begins at `window_at`.
    window: Vec<u8>,
    window_at: u64,
    log: &'a Log,
    told_at: Instant,
    wrong_prevs: u64,
    /// The records of one transaction.
    records: Vec<(Oid, u64)>,
}

impl Scan<'_> {
    /// Reads the transaction at `found.end` and moves that behind it, or
    /// says that it is torn.
    fn transaction(&mut self, found: &mut Scanned) -> Result<()> {
        let position = found.end;
        let size = self.reader.end;
        let Some(bytes) = self.bytes::<{ TXN_HEADER_LEN as usize }>(position)? else {
            found.torn = Some(CUT_HEADER);
            return Ok(());
        };
        let header = TxnHeader::parse(&bytes);
        let records_end = position.saturating_add(header.length);
        let end = records_end.saturating_add(TRAILER_LEN);
        if let Some(why) = unfinished(&header, end, size) {
            self.check_torn(position, why)?;
            found.torn = Some(why);
            return Ok(());
        }
        if header.tid <= found.last_tid {
            self.warn(position, "the transaction's tid is not later than the last");
        }
        match header.status {
            b'u' => {}
            status => {
                if status != b' ' && status != b'p' {
                    self.warn(position, "the transaction has an unknown status");
                }
                self.read_records(position, &header, records_end)?;
            }
        }
        match self.bytes::<{ TRAILER_LEN as usize }>(records_end)? {
            Some(bytes) if BE::read_u64(&bytes) == header.length => {}
            _ => {
                let what = "the transaction's length differs between its two ends";
                return Err(self.reader.corrupt(position, what));
            }
        }
        for (oid, position) in self.records.drain(..) {
            self.index.set(oid, position);
        }
        found.end = end;
        found.last_tid = header.tid;
        Ok(())
    }

    /// Gathers the records of the transaction at `tloc`.
    fn read_records(&mut self, tloc: u64, header: &TxnHeader, end: u64) -> Result<()> {
        let mut position = tloc.saturating_add(header.header_len());
        while position < end {
            let room = end.saturating_sub(position);
            let bytes = match room < DATA_HEADER_LEN {
                true => None,
                false => self.bytes::<{ DATA_HEADER_LEN as usize }>(position)?,
            };
            let Some(bytes) = bytes else {
                let what = "the transaction ends within a record's header";
                return Err(self.reader.corrupt(position, what));
            };
            let Some(record) = DataHeader::parse(&bytes) else {
                let what = "the record belongs to a version";
                return Err(self.reader.corrupt(position, what));
            };
            if record.tloc != tloc {
                let what = format!("the record belongs to a transaction at {}", record.tloc);
                return Err(self.reader.corrupt(position, what));
            }
            if record.record_len() > room {
                let what = "the record is longer than its transaction";
                return Err(self.reader.corrupt(position, what));
            }
            if self.index.get(record.oid).unwrap_or(0) != record.prev {
                self.wrong_prevs += 1;
                if self.wrong_prevs <= TOLD {
                    self.warn(position, "the record does not lead to the one before it");
                }
            }
            self.records.push((record.oid, position));
            position = position.saturating_add(record.record_len());
        }
        Ok(())
    }

    /// A transaction that is not whole must be the last one, or it is damage.
    fn check_torn(&self, position: u64, why: &str) -> Result<()> {
        let damaged = match why {
            TOO_SHORT => self.ends_in_a_length(position)?,
            _ => self.goes_on_behind(position)?,
        };
        if damaged {
            let what = format!("{why}, but whole transactions seem to follow");
            return Err(self.reader.corrupt(position, what));
        }
        Ok(())
    }

    /// True when the file ends in a whole transaction that begins behind
    /// `position`. (Python does not look, and cuts it off.)
    fn goes_on_behind(&self, position: u64) -> Result<bool> {
        match Backwards::new(self.reader).next() {
            Some(Ok(last)) => Ok(last.position > position),
            Some(Err(error @ Error::Io { .. })) => Err(error),
            _ => Ok(false),
        }
    }

    /// True when the file ends in what can be the length of a transaction
    /// from `position` on: Python's own check.
    fn ends_in_a_length(&self, position: u64) -> Result<bool> {
        let size = self.reader.end;
        let length = self.reader.number(size.saturating_sub(TRAILER_LEN))?;
        let room = size.saturating_sub(position);
        Ok((TXN_HEADER_LEN..=room).contains(&length))
    }

    /// The bytes at `position`; `None` when the file ends before.
    fn bytes<const N: usize>(&mut self, position: u64) -> Result<Option<[u8; N]>> {
        if self.reader.end.saturating_sub(position) < N as u64 {
            return Ok(None);
        }
        if let Some(bytes) = self.in_window(position) {
            return Ok(Some(bytes));
        }
        self.read_window(position)?;
        match self.in_window(position) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(self.reader.corrupt(position, "the file became shorter")),
        }
    }

    fn in_window<const N: usize>(&self, position: u64) -> Option<[u8; N]> {
        let offset = usize::try_from(position.checked_sub(self.window_at)?).ok()?;
        self.window.get(offset..)?.first_chunk().copied()
    }

    fn read_window(&mut self, position: u64) -> Result<()> {
        self.tell_progress(position);
        let left = usize::try_from(self.reader.end.saturating_sub(position));
        self.window.resize(left.unwrap_or(PIECE).min(PIECE), 0);
        self.window_at = position;
        let backend = self.reader.backend;
        let got = backend
            .read_at(&mut self.window, position)
            .map_err(|source| Error::Io {
                doing: "reading",
                file: backend.path().to_owned(),
                source,
            })?;
        self.window.truncate(got);
        Ok(())
    }

    fn tell_progress(&mut self, position: u64) {
        if self.told_at.elapsed() >= PROGRESS {
            self.told_at = Instant::now();
            let size = self.reader.end;
            let percent = u128::from(position) * 100 / u128::from(size.max(1));
            let what = format!("scanned {percent} % of {} MB", size / 1_000_000);
            self.say(Level::Info, &what);
        }
    }

    fn tell_the_rest(&self) {
        if self.wrong_prevs > TOLD {
            let what = format!(
                "{} records in all do not lead to the one before them",
                self.wrong_prevs
            );
            self.say(Level::Warning, &what);
        }
    }

    fn warn(&self, position: u64, what: &str) {
        self.say(Level::Warning, &format!("{what} (at {position})"));
    }

    fn say(&self, level: Level, what: &str) {
        let path = self.reader.backend.path().display();
        (self.log)(level, &format!("{path}: {what}"));
    }
}

/// Why a transaction that would end at `end` was not written to its end, if
/// it looks so.
fn unfinished(header: &TxnHeader, end: u64, size: u64) -> Option<&'static str> {
    if end > size {
        Some(TOO_LONG)
    } else if header.status == b'c' {
        Some(MARKED)
    } else if header.length < header.header_len() {
        Some(TOO_SHORT)
    } else {
        None
    }
}
