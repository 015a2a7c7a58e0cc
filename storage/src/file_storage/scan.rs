//! Reading the file from front to back to index it, with all checks that
//! Python makes, and telling a torn end from damage.

use std::time::{Duration, Instant};

use byteorder::{BE, ByteOrder};
use zeo_proto::{Oid, Tid};

use super::format::{DATA_HEADER_LEN, DataHeader, Reader, TXN_HEADER_LEN, TxnHeader};
use super::index::Index;
use super::seal::{self, Ending, SEAL_LEN, Sum};
use super::torn::{self, CUT_HEADER, MARKED, TOO_LONG, TOO_SHORT};
use crate::backend::Backend;
use crate::log::{Level, Log};
use crate::{Error, Result};

/// The file is read in pieces of this.
const PIECE: usize = 1 << 20;
/// How often a long scan says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);
/// How many oddities of one kind are told one by one.
const TOLD: u64 = 10;
/// The length behind a transaction.
const LENGTH_LEN: u64 = 8;

/// What a scan found, besides the records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Where the last whole transaction ends.
    pub end: u64,
    /// The last transaction; what it was before if there is none.
    pub last_tid: Tid,
    /// Why the rest of the file is the torn end of a transaction, or of a
    /// batch of them, if there is a rest.
    pub torn: Option<String>,
}

/// Adds all records from `start` on (where a transaction begins) to the
/// index. All before `durable` was synced, if what is known of that is right.
/// Fails with the position on damage before the end of the file; by then,
/// nothing has been changed.
pub(crate) fn scan(
    backend: &dyn Backend,
    index: &Index,
    start: u64,
    last_tid: Tid,
    durable: u64,
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
        durable,
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
        scan.records.clear();
        scan.transaction(&mut found)?;
    }
    scan.tell_the_rest();
    Ok(found)
}

/// What stands where a transaction belongs.
enum Read {
    Whole(TxnHeader),
    /// One that was not written to its end, and why it looks so.
    Torn(&'static str),
}

struct Scan<'a> {
    /// Of the whole file.
    reader: Reader<'a>,
    index: &'a Index,
    durable: u64,
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
        let (torn, what) = match self.read(position, found.last_tid) {
            Ok(Read::Whole(header)) => {
                for (oid, position) in self.records.drain(..) {
                    self.index.set(oid, position);
                }
                let length = header.length.saturating_add(LENGTH_LEN);
                found.end = position.saturating_add(length);
                found.last_tid = header.tid;
                return Ok(());
            }
            Ok(Read::Torn(why)) => (Some(why), self.reader.corrupt(position, why)),
            Err(error) => (None, error),
        };
        let Error::Corrupt {
            position: at, what, ..
        } = what
        else {
            return Err(what);
        };
        match torn::damage(&self.reader, position, torn, self.durable)? {
            Some(why) => Err(self.reader.corrupt(at, format!("{what}; {why}"))),
            None => {
                found.torn = Some(what);
                Ok(())
            }
        }
    }

    fn read(&mut self, position: u64, last_tid: Tid) -> Result<Read> {
        let size = self.reader.end;
        let Some(bytes) = self.bytes::<{ TXN_HEADER_LEN as usize }>(position)? else {
            return Ok(Read::Torn(CUT_HEADER));
        };
        let header = TxnHeader::parse(&bytes);
        let records_end = position.saturating_add(header.length);
        let end = records_end.saturating_add(LENGTH_LEN);
        if let Some(why) = unfinished(&header, end, size) {
            return Ok(Read::Torn(why));
        }
        self.check_seal(position, &header, end)?;
        if header.tid <= last_tid {
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
        match self.bytes::<{ LENGTH_LEN as usize }>(records_end)? {
            Some(bytes) if BE::read_u64(&bytes) == header.length => Ok(Read::Whole(header)),
            _ => {
                let what = "the transaction's length differs between its two ends";
                Err(self.reader.corrupt(position, what))
            }
        }
    }

    /// Fails unless the transaction is what was sealed, if it was.
    fn check_seal(&mut self, position: u64, header: &TxnHeader, end: u64) -> Result<()> {
        let Some(at) = seal::seal_at(position, header) else {
            return Ok(());
        };
        let ending = match self.bytes::<SEAL_LEN>(at)? {
            Some(bytes) => Ending::parse(&bytes),
            None => Ending::Broken,
        };
        let seal = match ending {
            Ending::Sealed(seal) if seal.belongs_to(position, header) => seal,
            Ending::Broken => return Err(seal::broken(&self.reader, position)),
            _ => return Ok(()),
        };
        let mut sum = Sum::new(header.header_len());
        let mut at = position;
        while at < end {
            if self.piece(at).is_empty() {
                self.read_window(at)?;
            }
            let piece = self.piece(at);
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let piece = piece.get(..left).unwrap_or(piece);
            if piece.is_empty() {
                return Err(self.reader.corrupt(at, "the file became shorter"));
            }
            sum.add(piece);
            at = at.saturating_add(piece.len() as u64);
        }
        seal::check_seal(&self.reader, &seal, header.status, &sum)
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
        self.piece(position).first_chunk().copied()
    }

    /// What the window has from `position` on.
    fn piece(&self, position: u64) -> &[u8] {
        let offset = position.checked_sub(self.window_at);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        offset
            .and_then(|offset| self.window.get(offset..))
            .unwrap_or_default()
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
    } else if matches!(header.status, b'c' | 0) {
        // 0 where the status was never written.
        Some(MARKED)
    } else if header.length < header.header_len() {
        Some(TOO_SHORT)
    } else {
        None
    }
}
