//! All transactions from front to back, also where some are damaged.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use zeo_proto::Tid;

use super::data_file::DataFile;
use super::resync::{next_transaction, transaction_at};
use crate::file_storage::format::verify::{Read, Sealed, read_verified};
use crate::file_storage::format::walk::Txn;
use crate::file_storage::format::window::Window;
use crate::file_storage::format::{DataHeader, FIRST, Reader};
use crate::file_storage::open::torn::{self, Wrong};
use crate::storage::TransactionMeta;
use crate::{Error, Result};

/// The file is read by pieces of this from front to back.
const READ_CHUNK_BYTES: usize = 1 << 16;
/// What back-pointers lead to is read by pieces of this.
const RECORD_CHUNK_BYTES: usize = 1 << 12;
/// How often the end of a file in use is looked at before it counts as torn.
const END_LOOKS_MAX: usize = 3;
/// The time between that.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// What is to be known of a torn end.
const TORN: &str = ", as a crash leaves it: a server cuts that off when it opens the file";

/// The same of a transaction that has another checksum and fits together.
const UNKNOWN: &str = ": damage, or the checksum of another file (see `fstool index --accept`)";

/// Reads a file from front to back. Each transaction is read whole, with all
/// checks, before it is handed out; then its records can be read one by one.
pub struct TransactionReader<'a> {
    file: &'a DataFile,
    window: Window<'a>,
    old: Window<'a>,
    /// Where the next transaction begins.
    position: u64,
    /// Where the next record of the current one begins.
    record_at: u64,
    txn: Option<Txn>,
    was_damaged: bool,
}

/// What comes next in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A whole transaction.
    Whole {
        /// The transaction.
        txn: Txn,
        /// What its seal says of it. If that does not hold, the index tells
        /// that it is from elsewhere.
        sealed: Sealed,
    },
    /// Something that can't be read. The next step goes on behind it.
    Damaged(Problem),
    /// The end of the file.
    End {
        /// A server is writing behind what was read.
        is_growing: bool,
    },
}

/// Something that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub position: u64,
    /// What, in words.
    pub what: String,
    /// The bytes that can't be trusted, if more than a reference is wrong.
    pub lost: Option<Range<u64>>,
}

/// Where the data of a record are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Position and length of the data; `None` when the object is gone.
    pub data: Option<(u64, u64)>,
    /// For a back-pointer, the transaction of the record that it leads to.
    /// (As in Python; that record may be a back-pointer itself.)
    pub data_txn: Option<Tid>,
}

impl<'a> TransactionReader<'a> {
    /// Begins with the first transaction. What the file begins with is not
    /// looked at.
    pub fn new(file: &'a DataFile) -> Self {
        let reader = file.reader();
        Self {
            file,
            window: Window::new(reader, READ_CHUNK_BYTES),
            old: Window::new(reader, RECORD_CHUNK_BYTES),
            position: FIRST,
            record_at: FIRST,
            txn: None,
            was_damaged: false,
        }
    }

    /// Where the next transaction begins: how much was read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes on to the next transaction.
    ///
    /// # Errors
    /// The file can't be read. (That it is damaged is a [`Step`].)
    pub fn step(&mut self) -> Result<Step> {
        self.txn = None;
        let (end, mut tries) = (self.window.reader().end, END_LOOKS_MAX);
        while self.position < end {
            let read = read_verified(&mut self.window, self.position, &mut |_, _| {});
            let (wrong, error) = match read {
                Ok(Read::Whole {
                    sealed: Sealed::Fails(why),
                    ..
                }) if self.position >= self.file.known().accepted => (
                    Wrong::Seal,
                    self.window.reader().corrupt(self.position, why),
                ),
                Ok(Read::Whole { txn, sealed }) => {
                    if let Some((hole, what)) = self.file.hole_in_txn(&mut self.window, &txn)? {
                        let problem = Problem::new(hole.start, what);
                        return self.not_whole(Wrong::Within, problem);
                    }
                    self.txn = Some(txn);
                    self.record_at = txn.records_start();
                    self.position = txn.end();
                    return Ok(Step::Whole { txn, sealed });
                }
                Ok(Read::Unfinished(fault)) => {
                    let what = fault.to_string();
                    let error = self.window.reader().corrupt(self.position, what);
                    (Wrong::Frame(fault), error)
                }
                Err(error) => (Wrong::Within, error),
            };
            let problem = Problem::from(error)?;
            if tries == 0 || self.was_damaged || !self.file.is_in_use() {
                return self.not_whole(wrong, problem);
            }
            // It may be written at this moment, or be taken back.
            tries -= 1;
            thread::sleep(END_LOOK_INTERVAL);
            self.window.forget();
        }
        Ok(Step::End { is_growing: false })
    }

    /// The next record of the current transaction; those of an undone (`u`)
    /// transaction are left out.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: there is something else than a record of the transaction; or the file
    /// can't be read.
    pub fn record(&mut self) -> Result<Option<(u64, DataHeader)>> {
        let (position, txn) = (self.record_at, self.txn);
        let Some(txn) = txn.filter(|txn| txn.header.status != b'u' && position < txn.records_end())
        else {
            return Ok(None);
        };
        let header = self.window.record_of(position, &txn)?;
        self.record_at = position.saturating_add(header.record_len());
        Ok(Some((position, header)))
    }

    /// User, description and extension of a transaction.
    ///
    /// # Errors
    /// The file can't be read, or has become shorter.
    pub fn meta(&self, txn: &Txn) -> Result<TransactionMeta> {
        self.window.reader().txn_meta(txn.position, &txn.header)
    }

    /// The header of the record further to the front to which a back-pointer
    /// leads.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: there is no record; or the file can't be read.
    pub fn older(&mut self, back: u64) -> Result<DataHeader> {
        self.old.header(back)
    }

    /// Where the data of the record at `position` are.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: a back-pointer leads to something else than a record of the object; or
    /// the file can't be read.
    pub fn source(&mut self, position: u64, header: &DataHeader) -> Result<Source> {
        let data = self.old.data_of(position, header)?;
        let data_txn = match header.back {
            0 => None,
            back => Some(self.old.header(back)?.tid),
        };
        Ok(Source { data, data_txn })
    }

    /// Data, where they are; with `limit`, no more than that.
    ///
    /// # Errors
    /// The file can't be read, or ends before.
    pub fn data(&mut self, (position, length): (u64, u64), limit: Option<u64>) -> Result<&[u8]> {
        let length = length.min(limit.unwrap_or(u64::MAX));
        match self.txn {
            Some(txn) if position >= txn.position => self.window.bytes(position, length),
            _ => self.old.bytes(position, length),
        }
    }

    /// Judges what is no whole transaction, and goes on behind it.
    fn not_whole(&mut self, wrong: Wrong, mut problem: Problem) -> Result<Step> {
        let (reader, position) = (self.window.reader(), self.position);
        let hole = self.file.hole_at(position, problem.position)?;
        let is_torn = !self.was_damaged
            && hole.is_none()
            && match torn::damage(&reader, position, wrong, &self.file.known()) {
                Ok(damage) => damage.is_none(),
                // The file became shorter.
                Err(Error::Corrupt { .. }) => true,
                Err(error) => return Err(error),
            };
        let next = if is_torn {
            None
        } else {
            behind(&reader, position)?
        };
        self.position = next.unwrap_or(reader.end);
        if next.is_none() && self.file.is_in_use() {
            return Ok(Step::End { is_growing: true });
        }
        if is_torn {
            problem.what.push_str(TORN);
        } else if wrong == Wrong::Seal {
            problem.what.push_str(UNKNOWN);
        }
        if let Some((hole, what)) = hole {
            (problem.position, problem.what) = (hole.start, what);
        }
        self.was_damaged = true;
        problem.lost = Some(position..self.position);
        Ok(Step::Damaged(problem))
    }
}

/// Where the next transaction begins behind damage at `position`.
fn behind(reader: &Reader<'_>, position: u64) -> Result<Option<u64>> {
    if let Some(damaged) = transaction_at(reader, position)? {
        return Ok(Some(damaged.end()));
    }
    let next = next_transaction(reader, position.saturating_add(1))?;
    Ok(next.map(|txn| txn.position))
}

impl Problem {
    /// Something wrong that costs no more than itself.
    pub(crate) fn new(position: u64, what: String) -> Self {
        Self {
            position,
            what,
            lost: None,
        }
    }

    /// Damage as a problem; other errors are passed on.
    pub(crate) fn from(error: Error) -> Result<Self> {
        match error {
            Error::Corrupt { position, what, .. } => Ok(Self::new(position, what)),
            error => Err(error),
        }
    }
}
