//! Checking all of a file, and going on behind damage: what `fstest` checks,
//! checksums, and where records lead to.

use std::ops::Range;

use zeo_proto::{Oid, Tid};

use super::data_file::DataFile;
use super::resync::next_transaction;
use super::transaction_reader::{Problem, Step, TransactionReader};
use crate::Result;
use crate::file_storage::format::verify::Sealed;
use crate::file_storage::format::walk::Txn;
use crate::file_storage::format::{DataHeader, FIRST};
use crate::file_storage::index::Index;
use crate::observer::{Cancelled, Observer};

/// What a check meets, in the order of the file.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckEvent<'a> {
    /// A record of the transaction that comes next.
    Record(u64, &'a DataHeader),
    /// A whole transaction.
    Transaction(&'a Txn),
    /// Something is wrong.
    Problem(Problem),
}

/// Hears of what a check meets, and may cancel it.
pub type OnEvent<'a> = &'a mut dyn FnMut(CheckEvent<'_>) -> std::result::Result<(), Cancelled>;

/// What there is in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Complete transactions.
    pub transactions: u64,
    /// Complete transactions with a valid checksum.
    pub sealed: u64,
    /// Complete transactions with the seal of another file, which proves nothing
    /// here.
    pub foreign_seals: u64,
    /// Their records.
    pub records: u64,
    /// Their objects.
    pub objects: u64,
    /// How often something was wrong.
    pub problems: u64,
    /// Where the last whole transaction ends.
    pub end: u64,
    /// A server was writing a transaction behind that.
    pub is_growing: bool,
}

/// Checks the file; `on_event` hears of all that is met. Reads the file only. Takes
/// 4 to 12 bytes of memory an object.
///
/// A file without problems opens under Python and here. Wrong are, in the
/// order of severity: transactions that are not whole, or not what their
/// checksum says; tids that do not grow and unknown statuses; records whose
/// previous record or back-pointer is no record of the object. Records that
/// don't lead to a previous one count for nothing: a pack leaves them.
///
/// # Errors
///
/// `Io` when the file can't be read, and `Cancelled`.
pub fn check(
    file: &DataFile,
    on_event: OnEvent<'_>,
    observer: &mut dyn Observer,
) -> Result<Checked> {
    observer.begin("testing", Some(file.size()));
    let mut check = Check {
        transactions: TransactionReader::new(file),
        index: Index::default(),
        lost: Vec::new(),
        records: Vec::new(),
        problems: Vec::new(),
        last: Tid::ZERO,
        found: Checked {
            end: FIRST.min(file.size()),
            ..Checked::default()
        },
        on_event,
    };
    if let Err(error) = file.check_magic() {
        check.tell(Problem::from(error)?)?;
        // What is no FileStorage has no other faults.
        if file.unreadable().is_empty() && next_transaction(&file.reader(), 0)?.is_none() {
            return Ok(check.found);
        }
    }
    loop {
        match check.transactions.step()? {
            Step::Whole { txn, sealed } => check.transaction(&txn, sealed)?,
            Step::Damaged(problem) => check.damage(problem)?,
            Step::End { is_growing } => {
                check.found.is_growing = is_growing;
                check.found.objects = check.index.len();
                return Ok(check.found);
            }
        }
        observer.set(check.transactions.position())?;
    }
}

struct Check<'a, 'w> {
    transactions: TransactionReader<'a>,
    /// The objects in whole transactions so far.
    index: Index,
    /// What can't be trusted, in order.
    lost: Vec<Range<u64>>,
    /// The records of one transaction.
    records: Vec<(Oid, u64)>,
    /// What is wrong with that transaction.
    problems: Vec<Problem>,
    last: Tid,
    found: Checked,
    on_event: OnEvent<'w>,
}

impl Check<'_, '_> {
    fn transaction(&mut self, txn: &Txn, sealed: Sealed) -> Result<()> {
        while let Some((position, header)) = self.transactions.record()? {
            (self.on_event)(CheckEvent::Record(position, &header))?;
            self.look_at_record(position, &header)?;
            self.records.push((header.oid, position));
        }
        self.look_at_txn(txn);
        self.found.transactions += 1;
        match sealed {
            Sealed::Holds => self.found.sealed += 1,
            Sealed::Fails(_) => self.found.foreign_seals += 1,
            Sealed::No => {}
        }
        self.found.records += self.records.len() as u64;
        self.found.end = txn.end();
        for (oid, position) in self.records.drain(..) {
            self.index.set(oid, position);
        }
        for problem in std::mem::take(&mut self.problems) {
            self.tell(problem)?;
        }
        (self.on_event)(CheckEvent::Transaction(txn))?;
        Ok(())
    }

    fn damage(&mut self, problem: Problem) -> Result<()> {
        self.lost.extend(problem.lost.clone());
        self.tell(problem)
    }

    fn look_at_txn(&mut self, txn: &Txn) {
        let (tid, last) = (txn.header.tid, self.last);
        let mut wrong = |what| self.problems.push(Problem::new(txn.position, what));
        if tid <= last {
            wrong(format!(
                "time-stamp reduction: {tid} is not later than {last}"
            ));
        }
        if !txn.header.is_finished() {
            let status = char::from(txn.header.status);
            wrong(format!("invalid status {status:?}"));
        }
        self.last = tid;
    }

    fn look_at_record(&mut self, position: u64, header: &DataHeader) -> Result<()> {
        let mut wrong = self.wrong_prev(header);
        if header.back != 0 && wrong.is_none() {
            wrong = self.wrong_back(header)?;
        }
        if let Some(what) = wrong {
            let what = format!("object {}: {what}", header.oid);
            self.problems.push(Problem::new(position, what));
        }
        Ok(())
    }

    fn wrong_prev(&self, header: &DataHeader) -> Option<String> {
        let prev = header.prev;
        if prev == 0 {
            return None;
        }
        let known = self.index.get(header.oid).unwrap_or(0);
        let is_lost = |range: &Range<u64>| range.contains(&prev);
        if prev == known || self.lost.iter().any(is_lost) {
            return None;
        }
        Some(format!(
            "the record gives {prev} for its previous record, which is at {known}"
        ))
    }

    fn wrong_back(&mut self, header: &DataHeader) -> Result<Option<String>> {
        let (oid, back) = (header.oid, header.back);
        let what = match self.transactions.older(back) {
            Ok(found) if found.oid == oid => return Ok(None),
            Ok(found) => format!("to a record of {}", found.oid),
            Err(error) => Problem::from(error)?.what,
        };
        Ok(Some(format!("the back-pointer points to {back}: {what}")))
    }

    fn tell(&mut self, problem: Problem) -> Result<()> {
        self.found.problems += 1;
        Ok((self.on_event)(CheckEvent::Problem(problem))?)
    }
}
